"""What became of every record: the generator's ledger against plain counts in the database."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from boardherd_agent.delivery.ranges import contains
from faults.generator import SUBJECT
from faults.ledger import Account, Key

_SHOWN = 10
Losses = Mapping[str, list[tuple[int, int]]]
"""By stream, the ranges of envelopes that were reported as lost."""


@dataclass(frozen=True)
class Findings:
    """What a database holds of one agent."""

    stored: Counter[int] = field(default_factory=Counter)
    """How often each number is there."""
    dead: frozenset[int] = frozenset()
    """Numbers among the dead letters: not stored, and kept with the reason."""
    losses: Losses = field(default_factory=dict)


class Reader(Protocol):
    """Looks into a database without the product's help."""

    def findings(self, agent: str) -> Findings:
        """Return what is there of ``agent`` now."""
        ...

    def count(self) -> int:
        """Return how many records there are of all agents."""
        ...


@dataclass(frozen=True)
class Verdict:
    """The balance of one agent, or of several."""

    offered: int = 0
    accepted: int = 0
    stored: int = 0
    declared: int = 0
    """Accepted, not stored, and reported as lost or kept among the dead letters."""
    missing: tuple[int, ...] = ()
    """Accepted, and nowhere: on their way, or lost without a word."""
    volatile: int = 0
    """Taken into memory only, because the disk could not be written."""
    volatile_missing: int = 0
    doubled: tuple[int, ...] = ()
    invented: tuple[int, ...] = ()
    """Stored, and never handed over."""

    @property
    def settled(self) -> bool:
        """True when nothing is on its way, doubled or invented."""
        return not (self.missing or self.doubled or self.invented)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self) -> str:
        parts = [f"{self.accepted} accepted, {self.stored} stored, {self.declared} declared lost"]
        wrong = {name: getattr(self, name) for name in ("missing", "doubled", "invented")}
        parts += [f"{len(found)} {name} ({found[:_SHOWN]})" for name, found in wrong.items() if found]
        if self.volatile_missing:
            parts.append(f"{self.volatile_missing} of {self.volatile} lost with the memory they were in")
        return ", ".join(parts)


def judge(account: Account, found: Findings) -> Verdict:
    """Return the balance of one agent."""
    known = found.stored.keys() | found.dead
    absent = [number for number in account.accepted if number not in known]
    missing = [number for number in absent if not _declared(account.accepted[number], found.losses)]
    lost_volatile = [
        number
        for number, keys in account.volatile.items()
        if number not in known and not _declared(keys, found.losses)
    ]
    return Verdict(
        offered=len(account.offered),
        accepted=len(account.accepted),
        stored=sum(number in found.stored for number in account.accepted),
        declared=len(account.accepted.keys() & found.dead - found.stored.keys()) + len(absent) - len(missing),
        missing=tuple(missing),
        volatile=len(account.volatile),
        volatile_missing=len(lost_volatile),
        doubled=tuple(number for number, times in found.stored.items() if times > 1),
        invented=tuple(found.stored.keys() - account.offered),
    )


def _declared(keys: Iterable[Key], losses: Losses) -> bool:
    return any(contains(losses.get(stream, ()), seq) for stream, seq in keys)


class SqliteReader:
    """Reads the collector's SQLite file, which is at ``path``."""

    path: Path

    def findings(self, agent: str) -> Findings:
        """Return what is there of ``agent`` now."""
        if not self.path.exists():
            return Findings()
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            # One snapshot: a loss and what it is about must not be seen at two different times.
            db.execute("BEGIN")
            pc = _number_of(db, agent)
            if pc is None:
                return Findings()
            samples = db.execute(
                "SELECT process_count, count(*) FROM pc_stats WHERE test_pc = ? GROUP BY process_count", (pc,)
            )
            stored = Counter(dict(samples))
            events = db.execute("SELECT text FROM events WHERE test_pc = ? AND subject = ?", (pc, SUBJECT))
            stored.update(int(text.split()[-1]) for (text,) in events)
            dead = db.execute("SELECT payload FROM dead_letters WHERE test_pc = ?", (agent,))
            losses: dict[str, list[tuple[int, int]]] = {}
            for stream, first, last in db.execute("SELECT stream, first, last FROM losses"):
                losses.setdefault(stream, []).append((first, last))
            return Findings(stored, frozenset(numbers(text for (text,) in dead)), losses)

    def count(self) -> int:
        """Return how many records there are of all agents."""
        if not self.path.exists():
            return 0
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            (samples,) = db.execute("SELECT count(*) FROM pc_stats").fetchone()
            (events,) = db.execute("SELECT count(*) FROM events WHERE subject = ?", (SUBJECT,)).fetchone()
            return int(samples + events)


def _number_of(db: sqlite3.Connection, agent: str) -> int | None:
    """Return the key of a PC, None if it, or even its table, is not there yet."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'test_pcs'").fetchone():
        return None
    row = db.execute("SELECT number FROM test_pcs WHERE id = ?", (agent,)).fetchone()
    return int(row[0]) if row else None


def numbers(letters: Iterable[str]) -> Iterable[int]:
    """Yield the numbers of the records among dead letters."""
    for letter in letters:
        record = json.loads(letter)
        if record.get("kind") == "host" and "process_count" in record:
            yield record["process_count"]
        elif record.get("subject") == SUBJECT:
            yield int(record["text"].split()[-1])
