"""Payloads: what is written is read back, and what is wrong is refused in a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_shared import messages
from boardherd_shared.command import Action, Command, fingerprint, parse_command
from boardherd_shared.messages import Envelope, EnvelopeHeader, ProtocolError, Status, decode, encode
from boardherd_shared.records import RECORD, BoardRecord, HostRecord, Verdict

STREAM = "0123456789abcdef" * 2


def envelope(**more: object) -> dict[str, object]:
    host = {"kind": "host", "at": 1, "up": 1, "status": "HEALTHY", "cpu_percent": 12.5}
    return {
        "v": 1, "agent": "pc-01", "stream": STREAM, "seq": 1, "class": "samples", "boot": "b", "records": [host],
    } | more  # fmt: skip


def test_an_envelope_survives_the_wire() -> None:
    sent = Envelope.model_validate(envelope())
    assert decode(Envelope, encode(sent)) == sent
    assert b'"class":"samples"' in encode(sent)


def test_unknown_fields_are_ignored() -> None:
    assert decode(Envelope, json.dumps(envelope(colour="red")).encode()).seq == 1


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"", "invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"[]", "input should be an object"),
        (json.dumps(envelope(v=2)).encode(), "version 2 of the contract is not understood here, only 1"),
        (json.dumps(envelope(seq=0)).encode(), "seq: input should be greater than or equal to 1"),
        (
            json.dumps(envelope(seq=2**70)).encode(),
            "seq: input should be less than or equal to 9223372036854775807",
        ),
        (json.dumps(envelope(agent="PC 1")).encode(), "agent: string should match pattern"),
        (b" " * (messages.MAX_PAYLOAD + 1), f"{messages.MAX_PAYLOAD + 1} bytes are more than the 262144"),
        (b"[" * 100_000, "invalid JSON: recursion limit exceeded"),
    ],
    ids=["empty", "list", "version", "zero", "huge", "slug", "large", "deep"],
)
def test_what_is_wrong_is_refused_in_words(payload: bytes, sentence: str) -> None:
    """SEC-2: no payload crashes anything."""
    with pytest.raises(ProtocolError) as caught:
        decode(Envelope, payload)
    assert sentence in str(caught.value)


@given(st.binary(max_size=300))
def test_garbage_is_only_ever_a_protocol_error(payload: bytes) -> None:
    """SEC-2: no payload crashes anything."""
    for model in (Status, Envelope, EnvelopeHeader, messages.Hello, messages.Ack, messages.Resume):
        with pytest.raises(ProtocolError):
            decode(model, payload)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(ProtocolError):
        decode(Envelope, json.dumps(envelope()).replace("12.5", value).encode())


@pytest.mark.parametrize("text", ["a\x00b", "two\nlines", "\x1b[31mred"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        BoardRecord(at=1, up=1, board="evm-07", verdict=Verdict.ALIVE, since=1, reason=text)


def test_one_record_is_told_by_its_kind() -> None:
    record = HostRecord(at=1, up=2, status="HEALTHY")  # type: ignore[arg-type]
    assert RECORD.validate_json(record.model_dump_json()) == record


def test_a_bare_word_is_a_command() -> None:
    assert parse_command(b" cycle\n") == Command(action=Action.CYCLE)


def test_a_misspelt_key_of_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="off_tme"):
        parse_command(b'{"action":"cycle","off_tme":9}')


def test_durations_are_numbers_or_text() -> None:
    assert parse_command(b'{"action":"cycle","off_time":"1.5m","wait_alive":60}').off_time == 90


@pytest.mark.parametrize("payload", [b"explode", b"", b"[]", b'"cycle"', b"\xff\xfe"])
def test_other_words_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="neither a JSON object nor one of the words on, off, toggle, cycle"):
        parse_command(payload)


def test_relay_and_port_go_together() -> None:
    with pytest.raises(ValueError, match="relay and port go together"):
        parse_command(b'{"action":"on","relay":"eth-1"}')


def test_the_deadline_counts_from_sending() -> None:
    command = parse_command(b'{"action":"on","sent_at":100,"valid_for":"10s"}')
    assert command.deadline(received_at=500) == 110
    assert parse_command(b"on").deadline(received_at=500) == 530
    assert parse_command(b'{"action":"on","expires_at":7}').deadline(received_at=500) == 7


def test_a_fingerprint_ignores_identity_and_time_only() -> None:
    one = parse_command(b'{"action":"on","board":"a","id":"1","sent_at":1}')
    two = parse_command(b'{"action":"on","board":"a","id":"2","sent_at":2}')
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(parse_command(b'{"action":"off","board":"a"}'))
