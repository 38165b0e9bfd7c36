"""Envelopes as the spool sees them: what names one, how records are packed into one, what a loss looks like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from boardherd_shared.clock import Clock
from boardherd_shared.messages import MAX_PAYLOAD, Envelope, digest, encode
from boardherd_shared.records import EventRecord, LostRange, Record

MAX_RECORDS = 2000
"""Records in one envelope, by the wire contract."""

Class = Literal["samples", "events"]


class Key(NamedTuple):
    """What names an envelope for ever, here and in the database."""

    stream: str
    seq: int


@dataclass(frozen=True)
class Spooled:
    """An envelope as it will be sent: these bytes, and no others."""

    key: Key
    payload: bytes


@dataclass(frozen=True)
class Draft:
    """An envelope that is about to be written."""

    class_: Class
    seq: int
    payload: bytes
    records: int
    oldest: int
    newest: int

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return digest(self.payload)


@dataclass(frozen=True)
class StoredEnvelope:
    """An envelope on its way from one spool to another, with what the first one knows of it."""

    stream: str
    seq: int
    class_: str
    state: str
    code: str | None
    records: int
    oldest: int
    newest: int
    payload: bytes
    digest: str
    """As it was written down with the bytes, so that damage on the way shows."""
    age: int = 0
    """For how long it has been kept, in microseconds of running time."""
    losses: tuple[LostRange, ...] = ()
    """What it tells of."""


@dataclass(frozen=True)
class Origin:
    """What all envelopes of an agent's present life have in common."""

    agent: str
    boot: str


def pack(
    origin: Origin, stream: str, first: int, class_: Class, records: Sequence[Record], clock: Clock
) -> list[Draft]:
    """Pack ``records`` into as few envelopes as the size limits allow, numbered from ``first`` on.

    A single record too large for any envelope is replaced by an event that says so.
    """
    drafts: list[Draft] = []
    waiting = [list(records[at : at + MAX_RECORDS]) for at in range(0, len(records), MAX_RECORDS)]
    while waiting:
        group = waiting.pop(0)
        draft = _draft(origin, stream, first + len(drafts), class_, group)
        if len(draft.payload) <= MAX_PAYLOAD:
            drafts.append(draft)
        elif len(group) > 1:
            half = len(group) // 2
            waiting[:0] = [group[:half], group[half:]]
        else:
            waiting.insert(0, [_too_large(group[0], len(draft.payload), clock)])
    return drafts


def loss_event(loss: LostRange, clock: Clock) -> EventRecord:
    """Return the record that tells the database of ``loss``.

    Without a count of records nobody here knows what was in the envelopes, nor whether they were stored.
    """
    many = "envelope" if loss.first == loss.last else "envelopes"
    numbers = str(loss.first) if loss.first == loss.last else f"{loss.first} to {loss.last}"
    what = f"{many} {numbers} of stream {loss.stream[:8]}"
    if loss.records:
        text = f"lost {what}, {loss.records} records: {loss.reason}"
    else:
        text = f"{what} cannot be sent, and what the database lacks of it is lost: {loss.reason}"
    return EventRecord(
        at=clock.wall(), up=clock.up(), event="loss", subject="agent/spool", text=text, loss=loss
    )


def fault_event(text: str, clock: Clock) -> EventRecord:
    """Return a record that tells of a fault of the spool, with ``text`` made fit for one line."""
    line = "".join(char if char.isprintable() else " " for char in text)[:500]
    return EventRecord(at=clock.wall(), up=clock.up(), event="fault", subject="agent/spool", text=line)


def merge_losses(losses: Iterable[LostRange]) -> list[LostRange]:
    """Return ``losses`` with those that follow each other without a gap made one."""
    out: list[LostRange] = []
    for loss in sorted(losses, key=lambda loss: (loss.stream, loss.first)):
        if out and out[-1].stream == loss.stream and loss.first <= out[-1].last + 1:
            out[-1] = _join(out[-1], loss)
        else:
            out.append(loss)
    return out


def _join(one: LostRange, other: LostRange) -> LostRange:
    oldest = [at for at in (one.oldest, other.oldest) if at is not None]
    newest = [at for at in (one.newest, other.newest) if at is not None]
    return LostRange(
        stream=one.stream,
        first=one.first,
        last=max(one.last, other.last),
        records=one.records + other.records,
        reason=one.reason,
        oldest=min(oldest, default=None),
        newest=max(newest, default=None),
    )


def _draft(origin: Origin, stream: str, seq: int, class_: Class, records: Sequence[Record]) -> Draft:
    envelope = Envelope(
        agent=origin.agent,
        stream=stream,
        seq=seq,
        class_=class_,
        boot=origin.boot,
        records=tuple(records),
        v=1,
    )
    times = [record.at for record in records]
    return Draft(class_, seq, encode(envelope), len(records), min(times), max(times))


def _too_large(record: Record, size: int, clock: Clock) -> EventRecord:
    return fault_event(f"a {record.kind} record was left out: {size} bytes fit into no envelope", clock)
