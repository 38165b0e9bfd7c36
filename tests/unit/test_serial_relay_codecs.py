"""The codecs of USB and serial relays: bytes to values and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import denkovi, hid_relay, kmtronic, lcus, numato, usb_rly
from boardherd_agent.devices.codecs.replies import BadReply


def energised(states: dict[int, bool]) -> set[int]:
    return {port for port, on in states.items() if on}


def states_of(count: int) -> st.SearchStrategy[dict[int, bool]]:
    return st.lists(st.booleans(), min_size=count, max_size=count).map(lambda on: dict(enumerate(on, 1)))


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (lcus.set_channel(1, energised=True), "A0 01 01 A2"),
        (lcus.set_channel(1, energised=False), "A0 01 00 A1"),
        (lcus.set_channel(2, energised=True), "A0 02 01 A3"),
        (lcus.set_channel(4, energised=False), "A0 04 00 A4"),
        (lcus.set_channel(8, energised=True), "A0 08 01 A9"),
        (lcus.QUERY, "FF"),
        (kmtronic.set_relay(3, energised=True), "FF 03 01"),
        (kmtronic.set_relay(8, energised=False), "FF 08 00"),
        (kmtronic.query_relay(2), "FF 02 03"),
        (kmtronic.QUERY_ALL, "FF 09 00"),
        (usb_rly.IDENTIFY, "5A"),
        (usb_rly.STATES, "5B"),
        (usb_rly.set_relay(1, energised=True), "65"),
        (usb_rly.set_relay(3, energised=True), "67"),
        (usb_rly.set_relay(8, energised=True), "6C"),
        (usb_rly.set_relay(3, energised=False), "71"),
        (usb_rly.set_relay(8, energised=False), "76"),
        (numato.encode(numato.set_relay(3, 8, energised=True)), b"relay on 2\r".hex()),
        (numato.encode(numato.set_relay(16, 16, energised=False)), b"relay off F\r".hex()),
        (numato.encode(numato.read_relay(32, 32)), b"relay read V\r".hex()),
        (numato.encode(numato.read_relay(33, 64)), b"relay read 32\r".hex()),
        (numato.encode(numato.set_relay(1, 64, energised=True)), b"relay on 00\r".hex()),
        (denkovi.set_relay(5, energised=True), b"05+//".hex()),
        (denkovi.set_relay(16, energised=False), b"16-//".hex()),
        (denkovi.ASK, b"ask//".hex()),
        (hid_relay.set_report(2, energised=True), "00 FF 02 00 00 00 00 00 00"),
        (hid_relay.set_report(8, energised=False), "00 FD 08 00 00 00 00 00 00"),
    ],
)
def test_requests_are_these_bytes(request_: bytes, sent: str) -> None:
    assert request_ == bytes.fromhex(sent)


def numato_states(reply: bytes) -> dict[int, bool]:
    return numato.parse_states(numato.body(reply, numato.READ_ALL), 16)


@pytest.mark.parametrize(
    ("parse", "reply", "on"),
    [
        (lcus.parse_states, b"CH1: OFF\r\nCH2: ON\r\nCH3: OFF\r\nCH4: ON\r\n", {2, 4}),
        (lcus.parse_states, b"CH1:OFFCH2:ON", {2}),
        (lcus.parse_states, b"\x01\x00\x00\x01", {1, 4}),
        (lcus.parse_states, b"\x00", set()),
        (lambda reply: kmtronic.parse_all(reply, 4), b"\x01\x00\x00\x01", {1, 4}),
        (lambda reply: {2: kmtronic.parse_relay(reply, 2)}, b"\xff\x02\x01", {2}),
        (lambda reply: usb_rly.parse_states(reply, usb_rly.MODELS[9]), b"\x04", {3}),
        (lambda reply: usb_rly.parse_states(reply, usb_rly.MODELS[10]), b"\xff", {1, 2}),
        (numato_states, b"relay readall\n\r0004\n\r>", {3}),
        (numato_states, b"relay readall\n\r80a1\n\r>", {1, 6, 8, 16}),
        (numato_states, b"\n\r>relay readall\n\r0001\n\r>", {1}),
        (denkovi.parse_states, b"\x80\x00", {1}),
        (denkovi.parse_states, b"\x08\x01", {5, 16}),
        (lambda reply: hid_relay.parse_report(reply).states(8), b"HURTM\0\0\x81", {1, 8}),
        (lambda reply: hid_relay.parse_report(reply).states(8), b"\0HURTM\0\0\x81", {1, 8}),
        (lambda reply: hid_relay.parse_report(reply).states(2), b"HURTM\0\0\xfe\0", {2}),
    ],
)
def test_states_as_the_devices_tell_them(
    parse: Callable[[bytes], dict[int, bool]], reply: bytes, on: set[int]
) -> None:
    assert energised(parse(reply)) == on


PARSERS: dict[str, Callable[[bytes], object]] = {
    "lcus": lcus.parse_states,
    "kmtronic, one": lambda reply: kmtronic.parse_relay(reply, 1),
    "kmtronic, all": lambda reply: kmtronic.parse_all(reply, 8),
    "usb_rly identity": usb_rly.parse_identity,
    "usb_rly": lambda reply: usb_rly.parse_states(reply, usb_rly.MODELS[8]),
    "numato": numato_states,
    "numato, one": lambda reply: numato.parse_state(numato.body(reply, "relay read 1")),
    "denkovi": denkovi.parse_states,
    "denkovi echo": lambda reply: denkovi.check_echo(reply, denkovi.set_relay(1, energised=True)),
    "hid_relay": hid_relay.parse_report,
}


@pytest.mark.parametrize("name", list(PARSERS))
@pytest.mark.parametrize("reply", [b"", b"\x55\xaa\x55\xaa\x55"])
def test_nonsense_is_called_bad_and_shown(name: str, reply: bytes) -> None:
    with pytest.raises(BadReply, match=r"55 aa 55 aa 55|\(nothing\)"):
        PARSERS[name](reply)


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=40))
def test_any_reply_is_understood_or_called_bad(name: str, reply: bytes) -> None:
    """No reply leads to another exception than BadReply."""
    with contextlib.suppress(BadReply):
        PARSERS[name](reply)


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("lcus", b"CH1: OFF\r\nCH3: ON\r\n"),
        ("lcus", b"CH1: MAYBE\r\n"),
        ("lcus", b"\x00\x02"),
        ("kmtronic, one", b"\xff\x02\x01"),
        ("kmtronic, one", b"\xff\x01\x02"),
        ("kmtronic, all", b"\x00" * 7),
        ("numato", b"relay readall\n\r04\n\r>"),
        ("numato", b"relay readall\n\r0x04\n\r>"),
        ("numato", b"relay readall\n\r0004\n\r"),
        ("numato, one", b"relay read 1\n\r\n\r>"),
        ("hid_relay", b"HURTM\0\0"),
        ("hid_relay", b"HUR\0M\0\0\x01"),
    ],
)
def test_what_is_nearly_right_is_bad(name: str, reply: bytes) -> None:
    with pytest.raises(BadReply, match="makes no sense"):
        PARSERS[name](reply)


@given(st.integers(1, 8).flatmap(states_of), st.sampled_from(["CH{}: {}\r\n", "CH{}:{}"]))
def test_lcus_states_survive_the_round_trip(states: dict[int, bool], form: str) -> None:
    reply = "".join(form.format(channel, "ON" if on else "OFF") for channel, on in states.items()).encode()
    assert lcus.parse_states(reply) == states
    assert lcus.has_channels(reply, len(states))
    assert set(reply) <= set(lcus.ALPHABET)
    last = len(states)
    assert not any(lcus.has_channels(reply[:cut], last) for cut in range(reply.rindex(b"CH") + 4))


@given(st.sampled_from([8, 16, 32, 64]).flatmap(states_of))
def test_numato_states_survive_the_round_trip(states: dict[int, bool]) -> None:
    mask = sum(1 << (relay - 1) for relay, on in states.items() if on)
    assert numato.parse_states(f"{mask:0{len(states) // 4}x}", len(states)) == states


@given(states_of(16))
def test_denkovi_states_survive_the_round_trip(states: dict[int, bool]) -> None:
    bits = "".join("1" if on else "0" for on in states.values())
    assert denkovi.parse_states(int(bits, 2).to_bytes(2, "big")) == states


@given(st.text("ABCDEFGHIJ0123456789", min_size=5, max_size=5), states_of(8), st.booleans())
def test_hid_reports_survive_the_round_trip(serial: str, states: dict[int, bool], id_first: bool) -> None:
    mask = sum(1 << (relay - 1) for relay, on in states.items() if on)
    data = b"\0" * id_first + serial.encode() + b"\0\0" + bytes([mask])
    report = hid_relay.parse_report(data)
    assert (report.serial, report.states(8)) == (serial, states)


@given(st.integers(1, 8), st.booleans())
def test_an_lcus_frame_sums_up(channel: int, on: bool) -> None:
    frame = lcus.set_channel(channel, energised=on)
    assert frame[3] == sum(frame[:3]) & 0xFF


@pytest.mark.parametrize("relay", [0, 9])
def test_no_byte_that_sets_all_relays_of_a_usb_rly_is_ever_made(relay: int) -> None:
    with pytest.raises(ValueError, match="relays 1 to 8"):
        usb_rly.set_relay(relay, energised=True)


@pytest.mark.parametrize("relays", numato.RELAY_COUNTS)
def test_numato_names_are_all_different(relays: int) -> None:
    names = {numato.relay_name(relay, relays) for relay in range(1, relays + 1)}
    assert len(names) == relays
    assert {len(name) for name in names} == {2 if relays == 64 else 1}


def test_the_answer_to_an_earlier_command_is_not_taken_for_this_one() -> None:
    assert not numato.is_complete(b"relay on 2\n\r>", numato.READ_ALL)
    assert numato.is_complete(b"relay on 2\n\r>relay readall\n\r04\n\r>", numato.READ_ALL)


@pytest.mark.parametrize(
    ("product", "relays"),
    [("USBRelay1", 1), ("USBRelay8", 8), ("USBRelay", None), ("HIDRelay", None), ("USBRelay9", None)],
)
def test_only_the_product_string_tells_a_relay_board(product: str, relays: int | None) -> None:
    assert hid_relay.relays_of(product) == relays


def test_an_unknown_usb_rly_is_taken_to_have_the_configured_relays() -> None:
    assert usb_rly.model_of(99, 4) == usb_rly.Model("module id 99 (unverified)", 4)
    assert usb_rly.model_of(99, 20).relays == 8
    assert usb_rly.model_of(10, 8).name == "USB-RLY02"
