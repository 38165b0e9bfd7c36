"""Reading telemetry: whatever arrives is an envelope, or is rejected in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.envelopes import Rejected, read_envelope
from boardherd_shared.messages import MAX_PAYLOAD, digest
from support.telemetry import NOW, STREAM, host, payload


def rejection(body: bytes, agent: str = "pc-01") -> Rejected:
    with pytest.raises(Rejected) as caught:
        read_envelope(agent, body, NOW)
    return caught.value


def test_an_envelope_is_read_with_its_fingerprint() -> None:
    body = payload(7, host())
    envelope = read_envelope("pc-01", body, NOW)
    assert (envelope.agent, envelope.stream, envelope.seq, envelope.digest) == (
        "pc-01",
        STREAM,
        7,
        digest(body),
    )
    assert envelope.records == ((0, host()),)
    assert envelope.bad == ()


def test_another_agents_name_in_it_is_rejected() -> None:
    """SEC-1: who sent it is told by the topic, which the broker guards."""
    found = rejection(payload(7, host(), agent="pc-02"))
    assert (found.code, found.seq) == ("invalid", 7)
    assert found.text == "it came from pc-01 and says that it is from pc-02"


def test_another_version_is_unsupported() -> None:
    found = rejection(payload(7, host(), v=2))
    assert (found.code, found.stream, found.seq) == ("unsupported", STREAM, 7)


def test_too_large_is_said_so() -> None:
    found = rejection(payload(7, "x" * MAX_PAYLOAD))
    assert (found.code, found.stream, found.seq) == ("too_large", STREAM, 7)


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00\xff", b"null", b"[" * 100_000, b'{"v":1}', payload(0, host()), payload(1), b"9" * 5000],
)
def test_garbage_is_invalid(body: bytes) -> None:
    """SEC-2: no payload does harm."""
    assert rejection(body).code == "invalid"


@pytest.mark.parametrize(
    "record",
    [
        None,
        7,
        "host",
        [],
        {},
        {"kind": "cake"},
        {"kind": "host", "at": -1, "up": 0, "status": "HEALTHY"},
        {"kind": "host", "at": 2**70, "up": 0, "status": "HEALTHY"},
        {"kind": "host", "at": 1, "up": 1, "status": "HEALTHY", "load_1m": float("nan")},
        {"kind": "event", "at": 1, "up": 1, "event": "fault", "subject": "x", "text": "a\x00b"},
        {"kind": "board", "at": 1, "up": 1, "board": "../etc", "verdict": "alive", "since": 1},
    ],
)
def test_a_bad_record_is_set_aside_with_its_place(record: object) -> None:
    envelope = read_envelope("pc-01", payload(7, host(), record, host()), NOW)
    assert [place for place, _ in envelope.records] == [0, 2]
    assert [bad.position for bad in envelope.bad] == [1]
    assert envelope.bad[0].reason


def test_a_long_bad_record_is_kept_in_part() -> None:
    envelope = read_envelope("pc-01", payload(7, host(), {"kind": "x" * 100_000}), NOW)
    assert len(envelope.bad[0].payload) < 5000


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_else_ever_comes_out(body: bytes) -> None:
    """SEC-2: anything is an envelope or rejected."""
    assert rejection(body).code in {"invalid", "unsupported"}


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(
        ["kind", "at", "up", "status", "event", "subject", "text", "command", "loss", "boot"]), inner, max_size=6),
    max_leaves=20,
))  # fmt: skip
def test_any_record_is_good_or_bad(record: object) -> None:
    """SEC-2: its neighbour is read in any case."""
    envelope = read_envelope("pc-01", payload(7, host(), record), NOW)
    assert len(envelope.records) + len(envelope.bad) == 2
    assert envelope.records[0] == (0, host())
