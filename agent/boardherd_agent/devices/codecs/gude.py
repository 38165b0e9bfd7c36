"""The status interface of Gude Expert Power Control devices: a query switches, JSON tells.

Facts: the maker's description of the HTTP interface and its example program, and clients of other tools. Outputs
count from 1. Firmware versions name the resource differently, see :data:`PATHS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from boardherd_agent.devices.codecs.json_replies import bad, hardware_address, parse_table, rows, table, word

PATHS = ("/status.json", "/statusjsn.js")
"""Where the status is, the usual place first."""

MAX_PULSE_S = 65535.0
"""The longest wait of a batch, in whole seconds."""

_OUTPUTS, _MISC = 1, 16
"""Parts of the status that can be asked for, as bits of ``components``."""
_SWITCH, _CANCEL, _BATCH = 1, 2, 5


@dataclass(frozen=True)
class Misc:
    """What a device says of itself; empty where it does not."""

    product: str
    firmware: str
    mac: str


def ask() -> dict[str, str | int]:
    """Return the query for the outputs."""
    return {"components": _OUTPUTS}


def ask_all() -> dict[str, str | int]:
    """Return the query for the outputs and what the device is."""
    return {"components": _OUTPUTS | _MISC}


def switch(output: int, *, energised: bool) -> dict[str, str | int]:
    """Return the query that sets one output; the answer tells the outputs."""
    return {"components": _OUTPUTS, "cmd": _SWITCH, "p": output, "s": int(energised)}


def cancel(output: int) -> dict[str, str | int]:
    """Return the query that ends a batch of one output where it stands; the answer tells the outputs."""
    return {"components": _OUTPUTS, "cmd": _CANCEL, "p": output}


def batch(output: int, *, energised: bool, seconds: float) -> dict[str, str | int]:
    """Return the query that holds a state for a while, then takes the opposite one.

    The device counts whole seconds; a time between two is rounded up, because a board is off at least as long as
    was asked. Raises ValueError unless 0 < seconds <= 65535.
    """
    if not 0 < seconds <= MAX_PULSE_S:
        raise ValueError(f"the device times up to {MAX_PULSE_S:g} s, not {seconds:g} s")
    first, then = int(energised), int(not energised)
    wait = math.ceil(seconds)
    return {"components": _OUTPUTS, "cmd": _BATCH, "p": output, "a1": first, "a2": then, "s": wait}


def parse_outputs(body: bytes) -> dict[int, bool]:
    """Return for each output whether it is energised; raises BadReply."""
    outputs: dict[int, bool] = {}
    for output, row in enumerate(rows(parse_table(body).get("outputs")), 1):
        state = table(row).get("state")
        if state not in (0, 1):
            raise bad(body)
        outputs[output] = state == 1
    if not outputs:
        raise bad(body)
    return outputs


def parse_misc(body: bytes) -> Misc:
    """Return what the device says it is; raises BadReply."""
    misc = table(parse_table(body).get("misc"))
    return Misc(
        word(misc.get("product_name")) or word(misc.get("prod")),
        word(misc.get("firm_v")),
        hardware_address(misc.get("mac_addr") or misc.get("mac")),
    )
