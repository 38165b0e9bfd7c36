"""Modbus: the few functions that relay boards need, framed for TCP or as RTU.

Facts: the Modbus application protocol and its TCP and serial framings. A request names a unit and a function;
the reply repeats both, or sets the highest bit of the function and gives a reason in one byte. Over TCP a
header counts the bytes that follow and numbers the transactions; as RTU a checksum ends each frame.
Addresses are those on the wire, from 0. The flash commands are Waveshare's own: a write to one coil, moved by
0x0200 or 0x0400, whose value is a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from boardherd_agent.devices.codecs.replies import BadReply

COIL_ON, COIL_OFF = 0xFF00, 0x0000

MAX_PULSE_S = 3276.7
"""The longest time that a flash command can carry, 0x7FFF tenths of a second."""

_READ_COILS, _READ_REGISTERS, _WRITE_COIL, _WRITE_REGISTER = 0x01, 0x03, 0x05, 0x06
_ERROR = 0x80
_FLASH_ON, _FLASH_OFF = 0x0200, 0x0400
_HEADER = 6
"""Bytes of the TCP header before those that its length counts."""
_LONGEST = 254
"""The most that the length in a TCP header may say: a unit and 253 bytes."""

_REASONS = {
    1: "it does not know the function",
    2: "it has no such address",
    3: "it does not take the value",
    4: "it has failed",
    5: "it is still working on it",
    6: "it is busy",
    10: "the gateway has no path to the unit",
    11: "the unit behind the gateway does not answer",
}
_PASSING = frozenset({5, 6, 10, 11})


class ErrorReply(Exception):  # noqa: N818 - this is what the protocol calls it
    """The unit, or the gateway before it, said no; the message says why."""

    def __init__(self, code: int) -> None:
        super().__init__(_REASONS.get(code, f"its reason is {code}"))
        self.code = code
        self.passing = code in _PASSING
        """Whether the same request may succeed later."""


@dataclass(frozen=True)
class Request:
    """One function and its data, without a frame."""

    data: bytes
    reply_length: int
    """How long the reply is, unless it is an error."""


@dataclass(frozen=True)
class Frame:
    """What a request and its reply travel in."""

    kind: Literal["tcp", "rtu"]
    unit: int
    transaction: int = 0
    """Number of the exchange, for TCP only."""

    def wrap(self, request: Request) -> bytes:
        """Return the bytes to send."""
        body = bytes([self.unit]) + request.data
        if self.kind == "rtu":
            return body + crc(body)
        return self._transaction + len(body).to_bytes(2, "big") + body

    def is_whole(self, request: Request, reply: bytes) -> bool:
        """Return whether ``reply`` is all there is to come, be it a reply or nonsense."""
        if self.kind == "tcp":
            if not self._transaction.startswith(reply[:4]) or len(reply) < _HEADER:
                return not self._transaction.startswith(reply[:4])
            length = int.from_bytes(reply[4:6], "big")
            return length > _LONGEST or len(reply) >= _HEADER + length
        head = bytes([self.unit, request.data[0]])
        if reply[:1] == head[:1] and reply[1:2] == bytes([request.data[0] | _ERROR]):
            return len(reply) >= 5
        return not head.startswith(reply[:2]) or len(reply) >= 1 + request.reply_length + 2

    def unwrap(self, request: Request, reply: bytes) -> bytes:
        """Return the function and data of a reply; raises BadReply, or ErrorReply if the answer is no."""
        body = self._body(reply)
        function = request.data[0]
        if body[:1] != bytes([self.unit]) or len(body) < 3:
            raise BadReply(reply)
        if body[1] == function | _ERROR and len(body) == 3:
            raise ErrorReply(body[2])
        if body[1] != function or len(body) != 1 + request.reply_length:
            raise BadReply(reply)
        return body[1:]

    @property
    def _transaction(self) -> bytes:
        return self.transaction.to_bytes(2, "big") + b"\x00\x00"

    def _body(self, reply: bytes) -> bytes:
        """Return the unit and what follows it."""
        if self.kind == "rtu":
            if len(reply) < 3 or crc(reply[:-2]) != reply[-2:]:
                raise BadReply(reply)
            return reply[:-2]
        body = reply[_HEADER:]
        if reply[:4] != self._transaction or reply[4:6] != len(body).to_bytes(2, "big"):
            raise BadReply(reply)
        return body


def read_coils(first: int, count: int) -> Request:
    """Return the question for ``count`` coils from address ``first``."""
    return Request(_words(_READ_COILS, first, count), 2 + (count + 7) // 8)


def read_registers(first: int, count: int) -> Request:
    """Return the question for ``count`` holding registers from address ``first``."""
    return Request(_words(_READ_REGISTERS, first, count), 2 + 2 * count)


def write_coil(address: int, value: int) -> Request:
    """Return the command to set one coil; the protocol knows the values 0xFF00 and 0, some boards others."""
    return Request(_words(_WRITE_COIL, address, value), 5)


def write_register(address: int, value: int) -> Request:
    """Return the command to set one holding register."""
    return Request(_words(_WRITE_REGISTER, address, value), 5)


def flash(relay: int, *, energised: bool, seconds: float) -> Request:
    """Return Waveshare's command to hold a state for 0.1 to 3276.7 s and then take the opposite one.

    A time between two tenths is rounded up. ``relay`` counts from 0. Raises ValueError for a time that the
    command cannot carry.
    """
    tenths = math.ceil(round(seconds * 10, 6))
    if not 1 <= tenths <= round(MAX_PULSE_S * 10):
        raise ValueError(f"a flash lasts 0.1 to {MAX_PULSE_S:g} s, not {seconds:g} s")
    return write_coil((_FLASH_ON if energised else _FLASH_OFF) + relay, tenths)


def parse_coils(reply: bytes, count: int) -> list[bool]:
    """Return the states of ``count`` coils out of the unwrapped reply to :func:`read_coils`."""
    mask = int.from_bytes(_counted(reply), "little")
    return [bool(mask >> number & 1) for number in range(count)]


def parse_registers(reply: bytes) -> list[int]:
    """Return the values of registers out of the unwrapped reply to :func:`read_registers`."""
    data = _counted(reply)
    return [int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2)]


def check_echo(reply: bytes, request: Request) -> None:
    """Raise BadReply unless a write was answered by its repetition, as the protocol has it."""
    if reply != request.data:
        raise BadReply(reply)


def crc(frame: bytes) -> bytes:
    """Return the checksum that ends an RTU frame, two bytes, low byte first."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def _counted(reply: bytes) -> bytes:
    """Return the data behind the byte that counts them."""
    data = reply[2:]
    if reply[1] != len(data):
        raise BadReply(reply)
    return data


def _words(function: int, first: int, second: int) -> bytes:
    return bytes([function]) + first.to_bytes(2, "big") + second.to_bytes(2, "big")
