"""Helpers for tests of the agent's delivery: a clock by hand, records with a tag, a database that remembers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from boardherd_agent.delivery.ranges import Range, contains
from boardherd_shared.messages import Envelope, StreamInfo, decode
from boardherd_shared.records import EventRecord, Health, HostRecord, LostRange


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    boot: str = "boot-1"
    now: int = 1_000_000_000

    def wall(self) -> int:
        return 1_700_000_000_000_000 + self.now

    def up(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1e6)


def event(tag: str, clock: HandClock | None = None, *, padding: int = 0) -> EventRecord:
    """Return an event that is recognised by its subject."""
    clock = clock or HandClock()
    return EventRecord(
        at=clock.wall(), up=clock.up(), event="lifecycle", subject=tag, text="x" * min(padding, 500)
    )


def host(number: int, clock: HandClock | None = None) -> HostRecord:
    """Return a sample that is recognised by its thread count."""
    clock = clock or HandClock()
    return HostRecord(at=clock.wall(), up=clock.up(), status=Health.HEALTHY, thread_count=number)


@dataclass
class Database:
    """The collector's side as far as delivery is concerned: stores once, learns of losses."""

    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    losses: list[LostRange] = field(default_factory=list)

    def take(self, payload: bytes) -> Envelope:
        """Store an envelope; a second copy changes nothing, other bytes under its key are a bug."""
        envelope = decode(Envelope, payload)
        key = (envelope.stream, envelope.seq)
        assert self.stored.setdefault(key, payload) == payload, f"{key} came with other bytes"
        return envelope

    def tags(self) -> Counter[str]:
        """Return how often each record of a test was stored."""
        tags: Counter[str] = Counter()
        for payload in self.stored.values():
            for record in decode(Envelope, payload).records:
                if isinstance(record, EventRecord) and record.event == "lifecycle":
                    tags[record.subject] += 1
                elif isinstance(record, HostRecord):
                    tags[str(record.thread_count)] += 1
        return tags

    def learned(self) -> list[LostRange]:
        """Return the losses that were told, each range once."""
        told: dict[tuple[str, int, int], LostRange] = {}
        for payload in self.stored.values():
            for record in decode(Envelope, payload).records:
                if isinstance(record, EventRecord) and record.loss:
                    loss = record.loss
                    told[loss.stream, loss.first, loss.last] = loss
        return list(told.values())

    def missing(self, stream: StreamInfo) -> list[Range]:
        """Return the retained numbers of a stream that are not stored."""
        return [
            (seq, seq)
            for first, last in stream.retained
            for seq in range(first, last + 1)
            if (stream.stream, seq) not in self.stored
        ]

    def is_lost(self, stream: str, seq: int) -> bool:
        """Tell whether a number was declared lost."""
        return any(o.stream == stream and contains([(o.first, o.last)], seq) for o in self.learned())
