"""The JSON interface of NETIO power sockets (``/netio.json``), for reading and writing the same document.

Facts: the maker's manuals and application notes, and clients of other tools. Outputs count from 1. The answer to
a write is the document as it is afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boardherd_agent.devices.codecs.json_replies import (
    Readings,
    bad,
    hardware_address,
    number,
    parse_table,
    rows,
    table,
    word,
)

MIN_PULSE_S, MAX_PULSE_S = 0.1, 3600.0
"""The short time is given in milliseconds; its limits are not documented, an hour is ours."""

_OFF, _ON, _SHORT_OFF, _SHORT_ON = 0, 1, 2, 3


@dataclass(frozen=True)
class Agent:
    """What a device says of itself; empty where it does not."""

    model: str
    firmware: str
    mac: str


def set_output(output: int, *, energised: bool) -> dict[str, Any]:
    """Return the document that sets one output and leaves the others alone."""
    return {"Outputs": [{"ID": output, "Action": _ON if energised else _OFF}]}


def pulse_output(output: int, *, energised: bool, seconds: float) -> dict[str, Any]:
    """Return the document that holds a state for a while, then takes the opposite one; ValueError for the time."""
    if not MIN_PULSE_S <= seconds <= MAX_PULSE_S:
        raise ValueError(f"the device times {MIN_PULSE_S:g} to {MAX_PULSE_S:g} s, not {seconds:g} s")
    action = _SHORT_ON if energised else _SHORT_OFF
    return {"Outputs": [{"ID": output, "Action": action, "Delay": round(seconds * 1000)}]}


def parse_agent(body: bytes) -> Agent:
    """Return what the document says about the device; raises BadReply."""
    agent = table(parse_table(body).get("Agent"))
    return Agent(word(agent.get("Model")), word(agent.get("Version")), hardware_address(agent.get("MAC")))


def parse_outputs(body: bytes) -> Readings:
    """Return the outputs of the document; raises BadReply."""
    document = parse_table(body)
    outputs: dict[int, bool] = {}
    watts: dict[int, float] = {}
    for row in rows(document.get("Outputs")):
        output, state = table(row).get("ID"), table(row).get("State")
        if type(output) is not int or state not in (0, 1):
            raise bad(body)
        outputs[output] = state == 1
        load = number(table(row).get("Load"))
        watts |= {output: load} if load is not None else {}
    if not outputs:
        raise bad(body)
    return Readings(outputs, watts, number(table(document.get("Agent")).get("Uptime")))
