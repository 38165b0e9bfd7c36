"""A test PC's spool and the central database with nothing in between, and the balance of the two."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from boardherd_agent.delivery.envelopes import Key as EnvelopeKey
from boardherd_agent.delivery.ranges import contains
from boardherd_agent.delivery.store import Limits, SpoolStore
from support.delivery import Database, HandClock, event

Key = tuple[str, int]
LIMITS = Limits(max_bytes=8 * 1024**2, ballast_bytes=0)


@dataclass
class Pc:
    """An agent's spool and the central database, without anything in between; and who has seen what."""

    place: Path
    database: Database
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        self.clock = HandClock()
        self.accepted: dict[str, Key] = {}

    def open(self) -> SpoolStore:
        """Start the agent, as far as its spool is concerned."""
        return SpoolStore(self.place, agent="pc-01", clock=self.clock, limits=self.limits, machine="m")

    def write(self, store: SpoolStore, count: int) -> None:
        """Have the spool accept events, one in an envelope, of very different sizes."""
        for _ in range(count):
            tag = f"record {len(self.accepted)}"
            keys = store.append("events", [event(tag, self.clock, padding=37 * len(self.accepted) % 500)])
            self.accepted[tag] = keys[0]
            self.clock.advance(1)

    def deliver(self, store: SpoolStore, count: int = 10**6) -> None:
        """Send what is pending to the database, and tell the spool."""
        told: set[EnvelopeKey] = set()
        while len(told) < count and (envelope := store.oldest(told)):
            told.add(envelope.key)
            self.database.take(envelope.payload)
        store.acknowledge(told)

    def meet(self, store: SpoolStore) -> None:
        """Say hello, answer it as the collector does, and send what that calls for."""
        told = self.database.learned()
        missing: dict[str, list[tuple[int, int]]] = {}
        for info in store.describe():
            lost = [(loss.first, loss.last) for loss in told if loss.stream == info.stream]
            missing[info.stream] = [
                (seq, seq)
                for seq in range(1, info.last + 1)
                if (info.stream, seq) not in self.database.stored and not contains(lost, seq)
            ]
        store.resume(missing)
        self.deliver(store)

    def unaccounted(self, reason: str = "") -> list[str]:
        """Return the records that are neither stored nor within a range that was reported as lost.

        With a ``reason`` only the losses count that were reported with it.
        """
        tags = self.database.tags()
        told = [loss for loss in self.database.learned() if reason in {"", loss.reason}]
        return [
            tag
            for tag, (stream, seq) in self.accepted.items()
            if not tags[tag] and not any(t.stream == stream and t.first <= seq <= t.last for t in told)
        ]

    def doubled(self) -> dict[str, int]:
        """Return the records that were stored more than once."""
        return {tag: times for tag, times in self.database.tags().items() if times > 1}

    def said(self, *words: str) -> bool:
        """Tell whether an envelope that the database has says one of ``words``."""
        return any(word.encode() in payload for payload in self.database.stored.values() for word in words)

    def copy(self, place: Path) -> Pc:
        """Return another one with copies of the same files and of the same database, some time later."""
        shutil.copytree(self.place, place)
        one = Pc(place, Database(dict(self.database.stored)), self.limits)
        one.accepted = dict(self.accepted)
        one.clock.advance(1000)
        return one
