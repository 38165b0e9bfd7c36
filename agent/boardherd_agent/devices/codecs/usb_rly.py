"""The protocol of Devantech USB-RLY modules: single bytes over a virtual serial port.

Facts: the vendor's manuals of USB-RLY02, -08, -16 and -16L. Set commands are never answered. The module of
the serial class ignores the speed of the port. Relays count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boardherd_agent.devices.codecs.replies import BadReply

IDENTIFY = b"\x5a"
STATES = b"\x5b"
IDENTITY_LENGTH, STATES_LENGTH = 2, 1
MAX_RELAYS = 8

_ENERGISE_ALL, _RELEASE_ALL = 0x64, 0x6E
"""The bytes that set all relays; the one of relay n comes n later."""


@dataclass(frozen=True)
class Model:
    """What one type of module has."""

    name: str
    relays: int


MODELS: Mapping[int, Model] = {
    8: Model("USB-RLY08", 8),
    9: Model("USB-RLY16", 8),  # eight relays of 16 A
    10: Model("USB-RLY02", 2),
    15: Model("USB-RLY16L", 8),  # latching relays
}
"""The modules known, by the id that they report."""


def model_of(module_id: int, port_count: int) -> Model:
    """Return the model with ``module_id``; an unknown one is taken to have ``port_count`` relays, at most 8."""
    unknown = Model(f"module id {module_id} (unverified)", min(port_count, MAX_RELAYS))
    return MODELS.get(module_id, unknown)


def set_relay(relay: int, *, energised: bool) -> bytes:
    """Return the command to set one relay; ValueError unless 1 to 8, for 0 would set all."""
    if not 1 <= relay <= MAX_RELAYS:
        raise ValueError(f"a USB-RLY module has relays 1 to {MAX_RELAYS}, not {relay}")
    return bytes([(_ENERGISE_ALL if energised else _RELEASE_ALL) + relay])


def parse_identity(reply: bytes) -> tuple[int, int]:
    """Return module id and software version; raises BadReply."""
    if len(reply) != IDENTITY_LENGTH:
        raise BadReply(reply)
    return reply[0], reply[1]


def parse_states(reply: bytes, model: Model) -> dict[int, bool]:
    """Return for each relay whether it is energised, bit 0 being relay 1; raises BadReply."""
    if len(reply) != STATES_LENGTH:
        raise BadReply(reply)
    return {relay: bool(reply[0] >> (relay - 1) & 1) for relay in range(1, model.relays + 1)}
