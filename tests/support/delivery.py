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
    told: dict[tuple[str, int, int], LostRange] = field(default_factory=dict)
    foreign: set[tuple[str, int]] = field(default_factory=set)
    """Numbers that somebody else's envelopes took before."""

    def take(self, payload: bytes) -> Envelope:
        """Store an envelope; a second copy changes nothing, other bytes under its key are a bug."""
        envelope = decode(Envelope, payload)
        key = (envelope.stream, envelope.seq)
        assert self.stored.setdefault(key, payload) == payload, f"{key} came with other bytes"
        for record in envelope.records:
            if isinstance(record, EventRecord) and (loss := record.loss):
                self.told[loss.stream, loss.first, loss.last] = loss
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
        return list(self.told.values())

    def missing(self, stream: StreamInfo) -> list[Range]:
        """Return the numbers given out by a stream that are neither stored nor declared lost."""
        told = [(o.first, o.last) for o in self.learned() if o.stream == stream.stream]
        known = self.stored.keys() | self.foreign
        return [
            (seq, seq)
            for seq in range(1, stream.last + 1)
            if (stream.stream, seq) not in known and not contains(told, seq)
        ]

    def is_lost(self, stream: str, seq: int) -> bool:
        """Tell whether a number was declared lost."""
        return any(o.stream == stream and contains([(o.first, o.last)], seq) for o in self.learned())
