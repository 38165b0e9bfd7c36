"""Telnet with the COM-PORT option, the client's side."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs.rfc2217 import TelnetPort

BINARY_BOTH = b"\xff\xfb\x00\xff\xfd\x00"


def test_it_offers_the_options_and_sets_the_port_once_the_server_wants_it() -> None:
    port = TelnetPort(115200)
    assert port.greeting() == b"\xff\xfb\x00\xff\xfb\x03\xff\xfb\x2c\xff\xfd\x00\xff\xfd\x03"
    text, answer = port.received(b"\xff\xfd\x2cready")
    assert text == b"ready"
    assert answer == (
        b"\xff\xfa\x2c\x01\x00\x01\xc2\x00\xff\xf0"  # SET-BAUDRATE 115200
        b"\xff\xfa\x2c\x02\x08\xff\xf0"  # SET-DATASIZE 8
        b"\xff\xfa\x2c\x03\x01\xff\xf0"  # SET-PARITY none
        b"\xff\xfa\x2c\x04\x01\xff\xf0"  # SET-STOPSIZE 1
    )
    assert port.received(b"\xff\xfd\x2c") == (b"", b""), "two sides that answer each other never stop"
    assert not port.refused


def test_a_baud_rate_with_a_byte_255_in_it_is_escaped() -> None:
    assert b"\x00\x00\xff\xff\x01\xff\xf0" in TelnetPort(0xFF01).received(b"\xff\xfd\x2c")[1]


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (b"\xff\xfb\x01", b"\xff\xfd\x01"),  # WILL ECHO: DO
        (b"\xff\xfb\x22", b"\xff\xfe\x22"),  # WILL LINEMODE: DONT
        (b"\xff\xfd\x18", b"\xff\xfc\x18"),  # DO TERMINAL-TYPE: WONT
        (b"\xff\xfb\x00", b""),  # WILL BINARY: that is what we asked for
        (b"\xff\xfd\x03", b""),  # DO SUPPRESS-GO-AHEAD: that is what we offered
        (b"\xff\xfe\x2c", b""),
        (b"\xff\xf1", b""),  # NOP
    ],
)
def test_options(said: bytes, answered: bytes) -> None:
    assert TelnetPort(9600).received(said) == (b"", answered)


def test_a_server_without_the_option_is_noted() -> None:
    port = TelnetPort(9600)
    port.received(b"\xff\xfe\x2c")
    assert port.refused


def test_bytes_pass_in_binary_mode() -> None:
    port = TelnetPort(9600)
    port.received(BINARY_BOTH)
    assert port.received(b"a\xff\xffb\r\x00\r\n")[0] == b"a\xffb\r\x00\r\n"
    assert port.sent(b"a\xffb\r") == b"a\xff\xffb\r"


def test_without_binary_mode_a_carriage_return_brings_a_nul() -> None:
    port = TelnetPort(9600)
    assert port.received(b"a\r\x00b\r")[0] + port.received(b"\x00c\r\n")[0] == b"a\rb\rc\r\n"
    assert port.sent(b"a\r") == b"a\r\x00"


def test_notifications_of_the_server_are_no_text() -> None:
    notice = b"\xff\xfa\x2c\x6b\xb0\xff\xf0"  # NOTIFY-MODEMSTATE
    strange = b"\xff\xfa\x2c\x65\xff\xff\xff\xf0"  # a value 255
    assert TelnetPort(9600).received(b"a" + notice + b"b" + strange + b"c") == (b"abc", b"")


def test_an_endless_suboption_is_garbage_and_what_follows_is_text() -> None:
    port = TelnetPort(9600)
    port.received(b"\xff\xfa\x2c" + b"x" * 5000)
    assert len(port._rest) < 5000
    assert port.received(b"yz")[0] == b"yz"


PIECES = st.sampled_from([
    b"text", b"\xff\xff", b"\r\x00", b"\r", b"\x00", b"\xff\xfb\x00", b"\xff\xfd\x2c", b"\xff\xfb\x01", b"\xff",
    b"\xff\xfa\x2c\x65\x03\xff\xf0", b"\xff\xfa", b"\xff\xf0", b"\n",
])  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join), st.lists(st.integers(0, 999)))
def test_chunking_never_changes_the_outcome(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    whole, cut = TelnetPort(9600), TelnetPort(9600)
    found = [cut.received(data[begin:end]) for begin, end in itertools.pairwise(edges)]
    assert (b"".join(text for text, _ in found), b"".join(answer for _, answer in found)) == whole.received(
        data
    )
