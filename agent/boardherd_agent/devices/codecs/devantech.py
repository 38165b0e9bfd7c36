"""The binary protocol of Devantech ETH and WIFI relay modules.

Facts: the vendor's manuals of ETH008, ETH008-B and ETH8020, the vendor's own module table, and measurements
on an ETH008-B. There is no framing and no checksum; every request has an answer of known length, and an
opcode that a module does not know has none. Outputs count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boardherd_agent.devices.codecs.replies import BadReply

MAX_PULSE_S = 25.5
"""The longest pulse that fits the time byte, 255 tenths of a second."""

INFO = b"\x10"
STATES = b"\x24"
MAC = b"\x77"
VOLTS = b"\x78"
UNLOCKED_FOR = b"\x7a"
LOGOUT = b"\x7b"

INFO_LENGTH, ACK_LENGTH, MAC_LENGTH, VOLTS_LENGTH = 3, 1, 6, 1

NO_PASSWORD = 255
"""What :func:`parse_unlocked_for` returns when the module asks for no password."""

_ENERGISE, _RELEASE, _UNLOCK = 0x20, 0x21, 0x79


@dataclass(frozen=True)
class Model:
    """What one type of module has."""

    name: str
    outputs: tuple[int, ...]
    """Numbers of the outputs that exist: relays, and digital outputs where they share the numbering."""
    mask_bytes: int
    """Length of the reply to :data:`STATES`."""


_ETH002 = Model("ETH002", (1, 2), 1)
_ETH008 = Model("ETH008", tuple(range(1, 9)), 1)
_ETH484 = Model("ETH484", (*range(1, 5), *range(9, 17)), 2)
_ETH8020 = Model("ETH8020", tuple(range(1, 21)), 3)

MODELS: Mapping[int, Model] = {
    18: _ETH002,
    19: _ETH008,  # ETH008-B answers the same; only its hardware version may differ
    20: _ETH484,  # numbers 5 to 8 do not exist
    21: _ETH8020,
    22: Model("WIFI484", _ETH484.outputs, _ETH484.mask_bytes),
    23: Model("ETH0621", (1, 2, 9, 10), 3),
    24: Model("WIFI8020", _ETH8020.outputs, _ETH8020.mask_bytes),
    26: Model("WIFI002", _ETH002.outputs, _ETH002.mask_bytes),
    28: Model("WIFI008", _ETH008.outputs, _ETH008.mask_bytes),
    29: Model("ETH044", tuple(range(1, 5)), 2),
    51: Model("ETH1620", tuple(range(1, 21)), 3),
    52: Model("ETH1610", tuple(range(1, 11)), 2),
    54: Model("ETH24V008", tuple(range(1, 9)), 1),
}
"""The modules known, by the id that they report."""


@dataclass(frozen=True)
class Info:
    """Reply to :data:`INFO`."""

    module_id: int
    hardware: int
    firmware: int


def model_of(module_id: int, port_count: int) -> Model:
    """Return the model with ``module_id``; an unknown one is taken to have ``port_count`` plain outputs."""
    if module_id in MODELS:
        return MODELS[module_id]
    return Model(
        f"module id {module_id} (unverified)", tuple(range(1, port_count + 1)), (port_count + 7) // 8
    )


def parse_info(reply: bytes) -> Info:
    """Return module id, hardware and firmware version; raises BadReply."""
    if len(reply) != INFO_LENGTH:
        raise BadReply(reply)
    return Info(*reply)


def set_output(output: int, *, energised: bool, tenths: int = 0) -> bytes:
    """Return the request to set one output; answered by one byte, see :func:`parse_ack`.

    Args:
        output: number of the output, 1 to 255.
        energised: the state to set.
        tenths: 0 to stay; else the output goes to the opposite state after so many tenths of a second.
    """
    return bytes([_ENERGISE if energised else _RELEASE, output, tenths])


def pulse_tenths(seconds: float) -> int:
    """Return ``seconds`` in the unit of :func:`set_output`; ValueError unless 0.1 to 25.5."""
    tenths = round(seconds * 10)
    if not 1 <= tenths <= 255:
        raise ValueError(f"the module times pulses from 0.1 to {MAX_PULSE_S:g} s, not {seconds:g} s")
    return tenths


def parse_ack(reply: bytes) -> bool:
    """Return True if a set command was carried out, False if it was refused; raises BadReply."""
    if reply not in {b"\x00", b"\x01"}:
        raise BadReply(reply)
    return reply == b"\x00"


def parse_states(reply: bytes, model: Model) -> dict[int, bool]:
    """Return for each output whether it is energised; raises BadReply.

    The least significant bit of the first byte is output 1. Bits of outputs that do not exist are ignored.
    """
    if len(reply) != model.mask_bytes:
        raise BadReply(reply)
    mask = int.from_bytes(reply, "little")
    return {output: bool(mask >> (output - 1) & 1) for output in model.outputs}


def unlock(password: str) -> bytes:
    """Return the login request; the password goes as plain ASCII, without a terminator. Raises ValueError."""
    if not password or not password.isascii():
        raise ValueError("the password of a Devantech module consists of ASCII characters")
    return bytes([_UNLOCK]) + password.encode("ascii")


def parse_unlock(reply: bytes) -> bool:
    """Return True if the password was right; here 1 is good and 2 is bad. Raises BadReply."""
    if reply not in {b"\x01", b"\x02"}:
        raise BadReply(reply)
    return reply == b"\x01"


def parse_unlocked_for(reply: bytes) -> int:
    """Return the seconds (0 to 30) that the connection stays unlocked, or NO_PASSWORD; raises BadReply."""
    if len(reply) != ACK_LENGTH or 30 < reply[0] < NO_PASSWORD:
        raise BadReply(reply)
    return reply[0]


def parse_mac(reply: bytes) -> str:
    """Return the hardware address as ``00:04:A3:12:34:56``; raises BadReply."""
    if len(reply) != MAC_LENGTH:
        raise BadReply(reply)
    return reply.hex(":").upper()


def parse_volts(reply: bytes) -> float:
    """Return the supply voltage, in volts; raises BadReply."""
    if len(reply) != VOLTS_LENGTH:
        raise BadReply(reply)
    return reply[0] / 10
