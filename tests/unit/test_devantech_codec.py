"""The Devantech codec: bytes to values and back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import devantech as codec
from boardherd_agent.devices.codecs.replies import BadReply

MODELS = st.sampled_from(sorted(codec.MODELS.items()))


@pytest.mark.parametrize(
    ("request_", "sent", "reply", "parse", "value"),
    [
        (codec.INFO, "10", "13 02 1C", codec.parse_info, codec.Info(19, 2, 28)),
        (codec.UNLOCKED_FOR, "7A", "FF", codec.parse_unlocked_for, codec.NO_PASSWORD),
        (codec.set_output(8, energised=True), "20 08 00", "00", codec.parse_ack, True),
        (codec.set_output(8, energised=False, tenths=20), "21 08 14", "00", codec.parse_ack, True),
        (codec.set_output(9, energised=True), "20 09 00", "01", codec.parse_ack, False),
        (codec.VOLTS, "78", "77", codec.parse_volts, 11.9),
        (codec.MAC, "77", "00 04 A3 12 34 56", codec.parse_mac, "00:04:A3:12:34:56"),
        (codec.unlock("apple"), "79 61 70 70 6C 65", "01", codec.parse_unlock, True),
        (codec.unlock("apple"), "79 61 70 70 6C 65", "02", codec.parse_unlock, False),
        (codec.UNLOCKED_FOR, "7A", "1E", codec.parse_unlocked_for, 30),
        (codec.UNLOCKED_FOR, "7A", "00", codec.parse_unlocked_for, 0),
        (codec.LOGOUT, "7B", "00", codec.parse_ack, True),
    ],
)
def test_the_worked_session_of_an_eth008(request_, sent, reply, parse, value) -> None:  # type: ignore[no-untyped-def]
    assert request_ == bytes.fromhex(sent)
    assert parse(bytes.fromhex(reply)) == value


@pytest.mark.parametrize(
    ("module_id", "reply", "energised"),
    [
        (19, "0D", {1, 3, 4}),
        (19, "8D", {1, 3, 4, 8}),
        (21, "60 80 0C", {6, 7, 16, 19, 20}),
        (20, "01 80", {1, 16}),
        (20, "F1 00", {1}),  # numbers 5 to 8 do not exist
    ],
)
def test_states_of_real_modules(module_id: int, reply: str, energised: set[int]) -> None:
    states = codec.parse_states(bytes.fromhex(reply), codec.MODELS[module_id])
    assert {output for output, on in states.items() if on} == energised


def test_outputs_that_do_not_exist_are_not_reported() -> None:
    assert set(codec.MODELS[20].outputs) == {1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16}


@given(MODELS, st.data())
def test_states_survive_the_round_trip(model: tuple[int, codec.Model], data: st.DataObject) -> None:
    outputs = model[1].outputs
    states = {output: data.draw(st.booleans()) for output in outputs}
    mask = sum(1 << (output - 1) for output, energised in states.items() if energised)
    assert codec.parse_states(mask.to_bytes(model[1].mask_bytes, "little"), model[1]) == states


@given(st.integers(1, 255), st.booleans(), st.integers(0, 255))
def test_a_set_request_is_always_three_bytes(output: int, energised: bool, tenths: int) -> None:
    request = codec.set_output(output, energised=energised, tenths=tenths)
    assert list(request) == [0x20 if energised else 0x21, output, tenths]


@given(st.integers(1, 255))
def test_pulse_lengths_survive_the_round_trip(tenths: int) -> None:
    assert codec.pulse_tenths(tenths / 10) == tenths


@pytest.mark.parametrize("seconds", [0.0, 0.04, 25.56, -1.0])
def test_a_pulse_that_does_not_fit_is_refused_in_words(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"from 0\.1 to 25\.5 s"):
        codec.pulse_tenths(seconds)


@given(st.binary(min_size=6, max_size=6))
def test_macs_survive_the_round_trip(raw: bytes) -> None:
    assert bytes.fromhex(codec.parse_mac(raw).replace(":", "")) == raw


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=30))
def test_a_password_goes_as_it_is(password: str) -> None:
    assert codec.unlock(password) == b"\x79" + password.encode()


@pytest.mark.parametrize("password", ["", "grün"])
def test_a_password_that_cannot_be_sent_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        codec.unlock(password)


@given(st.binary(max_size=8))
def test_any_reply_is_understood_or_called_bad(reply: bytes) -> None:
    """No reply leads to another exception than BadReply."""
    eth008 = codec.MODELS[19]
    for parse in (
        codec.parse_info,
        codec.parse_ack,
        codec.parse_unlock,
        codec.parse_unlocked_for,
        codec.parse_mac,
        codec.parse_volts,
        lambda raw: codec.parse_states(raw, eth008),
    ):
        with contextlib.suppress(BadReply):
            parse(reply)


@pytest.mark.parametrize(
    ("parse", "reply"),
    [
        (codec.parse_ack, b"\x02"),
        (codec.parse_unlock, b"\x00"),
        (codec.parse_unlocked_for, b"\x1f"),
        (codec.parse_info, b"\x13\x02"),
        (codec.parse_mac, b"\x00"),
        (codec.parse_volts, b""),
    ],
)
def test_nonsense_is_called_bad(parse, reply: bytes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadReply, match="makes no sense"):
        parse(reply)


@pytest.mark.parametrize(("ports", "mask_bytes"), [(8, 1), (9, 2), (16, 2), (20, 3)])
def test_an_unknown_module_is_taken_to_have_the_configured_ports(ports: int, mask_bytes: int) -> None:
    model = codec.model_of(99, ports)
    assert (model.outputs, model.mask_bytes) == (tuple(range(1, ports + 1)), mask_bytes)
    assert "unverified" in model.name
