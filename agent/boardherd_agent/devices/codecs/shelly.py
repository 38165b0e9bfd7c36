"""What Shelly devices say and are told over HTTP: two generations with different words.

Facts: the maker's interface descriptions of both generations, and clients of other tools. Generation 2 (and 3
and 4, which speak the same) takes remote procedure calls; generation 1 takes plain GET requests. Both number
their switches from 0; here they count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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

_SWITCH = re.compile(r"switch:(\d{1,3})")


@dataclass(frozen=True)
class Device:
    """The answer to ``GET /shelly``, which both generations give without a login."""

    generation: int
    """1, or 2 and above for devices with remote procedure calls."""
    model: str
    firmware: str
    mac: str


def parse_device(body: bytes) -> Device:
    """Return what the device says it is; raises BadReply when it is no Shelly."""
    said = parse_table(body)
    generation = number(said.get("gen"))
    if generation is not None and generation >= 2:
        model = word(said.get("model")) or word(said.get("app"))
        return Device(int(generation), model, word(said.get("ver")), hardware_address(said.get("mac")))
    if not word(said.get("type")):
        raise bad(body)
    return Device(1, word(said["type"]), word(said.get("fw")), hardware_address(said.get("mac")))


def call(method: str, **params: Any) -> dict[str, Any]:
    """Return the frame of a remote procedure call, to be posted to ``/rpc``."""
    return {"id": 1, "method": method} | ({"params": params} if params else {})


def set_switch(port: int, *, energised: bool, hold: float = 0.0) -> dict[str, Any]:
    """Return the call that sets one switch; after ``hold`` seconds, if given, it flips by itself."""
    timer = {"toggle_after": _seconds(hold)} if hold else {}
    return call("Switch.Set", id=port - 1, on=energised, **timer)


def parse_result(body: bytes) -> dict[str, Any]:
    """Return the result of a call.

    An error is recognised in a frame (``error``) and bare (``code`` and ``message``), since firmware versions
    differ. Raises Refusal with the device's own message, or BadReply.
    """
    frame = parse_table(body)
    error = table(frame.get("error")) or (frame if "code" in frame else {})
    if error:
        raise Refusal(word(error.get("message")) or f"error {word(error.get('code'))}")
    if not isinstance(frame.get("result"), dict):
        raise bad(body)
    result: dict[str, Any] = frame["result"]
    return result


def parse_set(body: bytes) -> None:
    """See that a switch was set; raises Refusal or BadReply."""
    if not isinstance(parse_result(body).get("was_on"), bool):
        raise bad(body)


def parse_status(body: bytes) -> Readings:
    """Return the readings in the result of ``Shelly.GetStatus``; raises Refusal or BadReply."""
    status = parse_result(body)
    outputs: dict[int, bool] = {}
    watts: dict[int, float] = {}
    for name, switch in status.items():
        if not (match := _SWITCH.fullmatch(name)):
            continue
        port = int(match[1]) + 1
        outputs[port] = _state(table(switch), "output", body)
        power = number(table(switch).get("apower"))
        watts |= {port: power} if power is not None else {}
    if not outputs:
        raise bad(body)
    return Readings(outputs, watts, number(table(status.get("sys")).get("uptime")))


def relay_path(port: int) -> str:
    """Return the path of one relay of generation 1."""
    return f"/relay/{port - 1}"


def turn(*, energised: bool, hold: float = 0.0) -> dict[str, str | float]:
    """Return the query that sets a relay of generation 1; after ``hold`` seconds, if given, it flips back."""
    return {"turn": "on" if energised else "off"} | ({"timer": _seconds(hold)} if hold else {})


def parse_relay(body: bytes) -> bool:
    """Return the state in the answer about one relay of generation 1; raises BadReply."""
    return _state(parse_table(body), "ison", body)


def parse_first_status(body: bytes) -> Readings:
    """Return the readings in the answer to ``GET /status`` of generation 1; raises BadReply."""
    status = parse_table(body)
    relays = rows(status.get("relays"))
    if not relays:
        raise bad(body)
    outputs = {port: _state(table(relay), "ison", body) for port, relay in enumerate(relays, 1)}
    powers = {
        port: number(table(meter).get("power")) for port, meter in enumerate(rows(status.get("meters")), 1)
    }
    watts = {port: power for port, power in powers.items() if power is not None and port in outputs}
    return Readings(outputs, watts, number(status.get("uptime")))


def _state(said: Mapping[str, Any], key: str, body: bytes) -> bool:
    state = said.get(key)
    if not isinstance(state, bool):
        raise bad(body)
    return state


def _seconds(hold: float) -> int | float:
    return int(hold) if hold == int(hold) else round(hold, 3)
