"""Commands of Tasmota devices and their answers, the same over HTTP and MQTT.

Facts: the project's command reference, and clients and test doubles of other tools. A device with a single
relay calls it ``POWER``, one with several ``POWER1`` and so on, and an option makes a single one ``POWER1`` too.
A relay number that does not exist is not always refused, so callers only use the numbers that the device
listed. The words ON and OFF can be changed in a device; then its answers make no sense here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from boardherd_agent.devices.codecs.json_replies import (
    Readings,
    Refusal,
    bad,
    hardware_address,
    number,
    parse_table,
    rows,
    table,
    word,
)

STATUS_FIRMWARE, STATUS_NETWORK, STATUS_SENSORS, STATUS_STATE = "2", "5", "8", "11"
"""Arguments of the command ``Status``; over MQTT each is answered on a topic of its own, ``STATUS11``."""

ABORT = ("Backlog", "")
"""Command and argument that throw away what still waits in the device, for whichever relay."""

MIN_PULSE_S, MAX_PULSE_S = 0.2, 360.0
"""``Delay`` counts tenths of a second, from 2 to 3600."""

_STATES: Mapping[object, bool] = {"ON": True, "OFF": False}
_POWER = re.compile(r"POWER(\d{0,2})", re.IGNORECASE)


def power(port: int, *, energised: bool) -> tuple[str, str]:
    """Return command and argument that set one relay."""
    return f"Power{port}", _word(energised)


def later(port: int, *, energised: bool, seconds: float) -> tuple[str, str]:
    """Return command and argument that set one relay after a while; ValueError unless 0.2 to 360 s."""
    tenths = round(seconds * 10)
    if not 2 <= tenths <= 3600:
        raise ValueError(f"the device times {MIN_PULSE_S:g} to {MAX_PULSE_S:g} s, not {seconds:g} s")
    return "Backlog", f"Delay {tenths}; Power{port} {_word(energised)}"


def parse_answer(body: bytes) -> dict[str, Any]:
    """Return an answer as an object; raises Refusal when it says no, BadReply when it makes no sense."""
    said = parse_table(body)
    if warning := word(said.get("WARNING")):
        raise Refusal(f"it wants a login: {warning}" if "user" in warning.lower() else warning)
    if (outcome := word(said.get("Command"))) in {"Unknown", "Error"}:
        raise Refusal(f'it answers "{outcome}"')
    return said


def parse_power(body: bytes, port: int) -> bool | None:
    """Return the state of a relay in an answer, None if the answer is about others; raises Refusal, BadReply."""
    said = parse_answer(body)
    states = {key: value for key, value in said.items() if _POWER.fullmatch(key)}
    return _outputs(states, body).get(port)


def parse_aborted(body: bytes) -> bool | None:
    """Return whether anything waited when it was thrown away, None if the answer is about something else.

    Raises Refusal or BadReply.
    """
    outcome = word(parse_answer(body).get("Backlog"))
    return outcome == "Aborted" if outcome else None


def parse_state(body: bytes) -> Readings:
    """Return the readings in the answer to ``Status 11``; raises Refusal or BadReply."""
    said = table(parse_answer(body).get("StatusSTS"))
    outputs = _outputs(said, body)
    if not outputs:
        raise bad(body)
    return Readings(outputs, uptime_s=number(said.get("UptimeSec")))


def parse_watts(body: bytes, ports: int) -> dict[int, float]:
    """Return the power at each relay in the answer to ``Status 8``; raises Refusal or BadReply.

    A device with one meter for several relays measures none of them: then nothing is returned.
    """
    said = table(table(parse_answer(body).get("StatusSNS")).get("ENERGY")).get("Power")
    measured = [number(value) for value in (rows(said) or [said])]
    if len(measured) != ports:
        return {}
    return {port: watts for port, watts in enumerate(measured, 1) if watts is not None}


def parse_firmware(body: bytes) -> tuple[str, str]:
    """Return firmware version and processor in the answer to ``Status 2``; raises Refusal or BadReply."""
    said = parse_answer(body).get("StatusFWR")
    if not isinstance(said, dict):
        raise bad(body)
    return word(said.get("Version")), word(said.get("Hardware"))


def parse_mac(body: bytes) -> str:
    """Return the hardware address in the answer to ``Status 5``, empty if it has none; Refusal, BadReply."""
    return hardware_address(table(parse_answer(body).get("StatusNET")).get("Mac"))


def _outputs(said: Mapping[str, Any], body: bytes) -> dict[int, bool]:
    outputs = {}
    for key, value in said.items():
        if not (match := _POWER.fullmatch(key)):
            continue
        if not isinstance(value, str) or value not in _STATES:
            raise bad(body)
        outputs[int(match[1] or 1)] = _STATES[value]
    return outputs


def _word(energised: bool) -> str:
    return "ON" if energised else "OFF"
