"""From the bytes of a telemetry message to an envelope that can be stored, record by record."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import ValidationError

from boardherd_collector.stores.base import BadRecord, Received
from boardherd_collector.times import AnyRecord
from boardherd_shared.messages import (
    MAX_PAYLOAD,
    EnvelopeHeader,
    ProtocolError,
    decode,
    digest,
    explain,
)
from boardherd_shared.records import RECORD
from boardherd_shared.values import MAX_INT

Code = Literal["conflict", "invalid", "unsupported", "too_large"]

_HEAD = 4096
"""The identity of an envelope stands at its beginning; this much is searched when the rest makes no sense."""
_STREAM = re.compile(rb'"stream"\s*:\s*"([0-9a-f]{16,64})"')
_SEQ = re.compile(rb'"seq"\s*:\s*([0-9]{1,19})')
_KEPT = 4000
"""So many characters of a bad record are kept."""


class Rejected(Exception):  # noqa: N818 - a judgement, not a fault of the program
    """A message that will never be stored.

    ``stream`` and ``seq`` are known when they could be read from it all the same.
    """

    def __init__(self, code: Code, text: str, payload: bytes) -> None:
        """Judge ``payload``."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.digest = digest(payload)
        self.stream, self.seq = _identity(payload)


def read_envelope(agent: str, payload: bytes, received_at: int) -> Received:
    """Return the envelope that ``agent`` sent; raises Rejected.

    Identity comes from the topic, which the broker guards: an envelope that claims to be another agent's is
    rejected. Records that make no sense are set aside, each with its reason.
    """
    if len(payload) > MAX_PAYLOAD:
        raise Rejected("too_large", f"{len(payload)} bytes are more than {MAX_PAYLOAD}", payload)
    try:
        header = decode(EnvelopeHeader, payload)
    except ProtocolError as error:
        raise Rejected(_code(error), str(error), payload) from error
    if header.agent != agent:
        raise Rejected("invalid", f"it came from {agent} and says that it is from {header.agent}", payload)
    records, bad = _sort(header.records)
    return Received(
        agent=agent,
        stream=header.stream,
        seq=header.seq,
        class_=header.class_,
        boot=header.boot,
        digest=digest(payload),
        received_at=received_at,
        records=records,
        bad=bad,
    )


def _sort(raw: list[Any]) -> tuple[tuple[tuple[int, AnyRecord], ...], tuple[BadRecord, ...]]:
    records: list[tuple[int, AnyRecord]] = []
    bad: list[BadRecord] = []
    for position, item in enumerate(raw):
        try:
            records.append((position, RECORD.validate_python(item)))
        except ValidationError as error:
            bad.append(BadRecord(position, explain(error)[:500], _shown(item)))
    return tuple(records), tuple(bad)


def _shown(item: Any) -> str:
    text = json.dumps(item, ensure_ascii=True, default=str)
    return text if len(text) <= _KEPT else text[:_KEPT] + "…"


def _code(error: ProtocolError) -> Code:
    cause = error.__cause__
    if isinstance(cause, ValidationError) and cause.errors(include_url=False)[0]["loc"] == ("v",):
        return "unsupported"
    return "invalid"


def _identity(payload: bytes) -> tuple[str | None, int | None]:
    head = payload[:_HEAD]
    stream, seq = _STREAM.search(head), _SEQ.search(head)
    if stream is None or seq is None or not 1 <= int(seq[1]) <= MAX_INT:
        return None, None
    return stream[1].decode(), int(seq[1])
