"""The Modbus codec: frames, functions and what is nonsense."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import modbus
from boardherd_agent.devices.codecs.modbus import ErrorReply, Frame, Request
from boardherd_agent.devices.codecs.replies import BadReply

RTU = Frame("rtu", 1)
TCP = Frame("tcp", 1, 7)
READ_8 = modbus.read_coils(0, 8)
KINDS = st.sampled_from(["tcp", "rtu"])
BYTES = st.integers(0, 0xFF)
WORDS = st.integers(0, 0xFFFF)


def relay_1(value: int) -> Request:
    return modbus.write_coil(0, value)


@pytest.mark.parametrize(
    ("frame", "request_", "sent"),
    [
        (RTU, relay_1(modbus.COIL_ON), "01 05 00 00 FF 00 8C 3A"),
        (RTU, relay_1(modbus.COIL_OFF), "01 05 00 00 00 00 CD CA"),
        (RTU, READ_8, "01 01 00 00 00 08 3D CC"),
        (RTU, modbus.flash(0, energised=True, seconds=0.7), "01 05 02 00 00 07 8D B0"),
        (RTU, modbus.flash(0, energised=False, seconds=0.7), "01 05 04 00 00 07 8D 38"),
        (RTU, modbus.write_coil(1, 0x0100), "01 05 00 01 01 00 9D 9A"),
        (Frame("rtu", 255), modbus.read_registers(1, 8), "FF 03 00 01 00 08 00 12"),
        (Frame("tcp", 1, 0), modbus.write_coil(2, modbus.COIL_ON), "00 00 00 00 00 06 01 05 00 02 FF 00"),
        (Frame("tcp", 1, 1), modbus.write_register(2, 0x0100), "00 01 00 00 00 06 01 06 00 02 01 00"),
    ],
)
def test_requests_are_these_bytes(frame: Frame, request_: Request, sent: str) -> None:
    assert frame.wrap(request_) == bytes.fromhex(sent)


def test_states_as_boards_tell_them() -> None:
    reply = bytes.fromhex("01 01 01 05 91 8B")
    assert RTU.is_whole(READ_8, reply)
    states = modbus.parse_coils(RTU.unwrap(READ_8, reply), 8)
    assert [relay for relay, on in enumerate(states, 1) if on] == [1, 3]


@pytest.mark.parametrize(
    ("frame", "reply", "words", "passing"),
    [
        (RTU, "01 81 02 C1 91", "no such address", False),
        (TCP, "00 07 00 00 00 03 01 81 02", "no such address", False),
        (TCP, "00 07 00 00 00 03 01 81 0B", "behind the gateway does not answer", True),
        (TCP, "00 07 00 00 00 03 01 81 06", "busy", True),
        (TCP, "00 07 00 00 00 03 01 81 63", "its reason is 99", False),
    ],
)
def test_a_no_is_said_in_words(frame: Frame, reply: str, words: str, passing: bool) -> None:
    assert frame.is_whole(READ_8, bytes.fromhex(reply))
    with pytest.raises(ErrorReply, match=words) as caught:
        frame.unwrap(READ_8, bytes.fromhex(reply))
    assert caught.value.passing is passing


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        (RTU, "55 AA 55 AA 55"),
        (RTU, "01 01 01 05 91 8C"),  # a wrong checksum
        (RTU, "02 01 01 05 91 CF"),  # another unit
        (RTU, "01 01 01 05 91 8B 00"),  # more than belongs there
        (TCP, "55 AA 55 AA 55"),
        (TCP, "00 06 00 00 00 04 01 01 01 05"),  # the transaction before
        (TCP, "00 07 00 01 00 04 01 01 01 05"),  # another protocol
        (TCP, "00 07 00 00 FF FF 01 01 01 05"),  # longer than a frame can be
        (TCP, "00 07 00 00 00 04 02 01 01 05"),  # another unit
        (TCP, "00 07 00 00 00 04 01 03 01 05"),  # another function
        (TCP, "00 07 00 00 00 05 01 01 02 05 00"),  # more coils than were asked for
        (TCP, "00 07 00 00 00 04 01 01 02 05"),  # miscounted
        (TCP, "00 07 00 00 00 00"),
    ],
)
def test_nonsense_is_called_bad_at_once_and_shown(frame: Frame, reply: str) -> None:
    assert frame.is_whole(READ_8, bytes.fromhex(reply)), "nobody waits for more of it"
    with pytest.raises(BadReply, match=r"the reply [0-9a-f]{2} "):
        modbus.parse_coils(frame.unwrap(READ_8, bytes.fromhex(reply)), 8)


def test_a_write_is_acknowledged_by_its_repetition_only() -> None:
    request = relay_1(modbus.COIL_ON)
    modbus.check_echo(request.data, request)
    with pytest.raises(BadReply):
        modbus.check_echo(relay_1(modbus.COIL_OFF).data, request)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3276.8])
def test_a_flash_that_no_command_can_carry_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="a flash lasts"):
        modbus.flash(0, energised=True, seconds=seconds)


@pytest.mark.parametrize(("seconds", "tenths"), [(0.1, 1), (0.3, 3), (0.31, 4), (3276.7, 0x7FFF)])
def test_a_flash_is_never_shorter_than_asked(seconds: float, tenths: int) -> None:
    assert modbus.flash(0, energised=True, seconds=seconds) == modbus.write_coil(0x0200, tenths)


def framed(frame: Frame, body: bytes) -> bytes:
    """Return what a unit sends, made by hand."""
    body = bytes([frame.unit]) + body
    if frame.kind == "rtu":
        return body + modbus.crc(body)
    return frame.transaction.to_bytes(2, "big") + b"\0\0" + len(body).to_bytes(2, "big") + body


@given(KINDS, BYTES, WORDS, st.lists(st.booleans(), min_size=1, max_size=100))
def test_states_survive_the_way(kind: str, unit: int, transaction: int, states: list[bool]) -> None:
    frame = Frame("rtu" if kind == "rtu" else "tcp", unit, transaction)
    mask = sum(on << place for place, on in enumerate(states)).to_bytes((len(states) + 7) // 8, "little")
    request = modbus.read_coils(0, len(states))
    reply = framed(frame, bytes([1, len(mask)]) + mask)
    assert [frame.is_whole(request, reply[:end]) for end in range(len(reply) + 1)] == [
        *[False] * len(reply),
        True,
    ]
    assert modbus.parse_coils(frame.unwrap(request, reply), len(states)) == states


@given(KINDS, BYTES, st.lists(WORDS, min_size=1, max_size=100))
def test_registers_survive_the_way(kind: str, unit: int, values: list[int]) -> None:
    frame = Frame("rtu" if kind == "rtu" else "tcp", unit)
    data = b"".join(value.to_bytes(2, "big") for value in values)
    reply = framed(frame, bytes([3, len(data)]) + data)
    request = modbus.read_registers(0, len(values))
    assert modbus.parse_registers(frame.unwrap(request, reply)) == values


@given(st.sampled_from([RTU, TCP]), st.binary(max_size=40))
def test_any_reply_is_understood_or_called_bad(frame: Frame, reply: bytes) -> None:
    """No reply leads to another exception than BadReply or ErrorReply."""
    frame.is_whole(READ_8, reply)
    with contextlib.suppress(BadReply, ErrorReply):
        modbus.parse_coils(frame.unwrap(READ_8, reply), 8)
