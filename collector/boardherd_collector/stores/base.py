"""The contract of a store, in the words of the domain.

A store keeps three things that change together in one transaction: the ledger (which envelopes are in), the
records that were in them, and the current state that follows from these. What every store does with an
envelope is the same and lives in :mod:`boardherd_collector.stores.intake`; a store only keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Literal, Protocol, Self

from boardherd_collector.stores.answers import (
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    EventRow,
    LossRow,
    PcStatsRow,
)
from boardherd_collector.times import AnyRecord
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, Range
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord

DIGESTS_KEPT = 1000
"""For so many of the newest envelopes of a stream a changed content is noticed."""

MAX_UNDECLARED = 200
"""So many PCs, boards and relays that the inventory does not name get a row; records of more are set aside."""


class StoreError(Exception):
    """The store cannot do what it was asked. Whether a commit took place is then unknown.

    The message is one sentence for the operator. Trying again after :meth:`Store.reopen` may help.
    """


@dataclass(frozen=True)
class BadRecord:
    """A record that makes no sense; its neighbours do."""

    position: int
    reason: str
    payload: str


@dataclass(frozen=True)
class Received:
    """An envelope whose sender is known and whose header makes sense."""

    agent: str
    stream: str
    seq: int
    class_: Literal["samples", "events"]
    boot: str
    digest: str
    received_at: int
    """Microseconds since 1970 UTC, by the collector's clock."""
    records: tuple[tuple[int, AnyRecord], ...]
    """The records that make sense, each with its position in the envelope."""
    bad: tuple[BadRecord, ...] = ()


class Outcome(StrEnum):
    """What became of an envelope."""

    COMMITTED = "committed"
    DUPLICATE = "duplicate"
    """It was in already, or its number was declared lost before it came."""
    CONFLICT = "conflict"
    """Its number is taken by other content, or its stream by another agent. It was not stored."""
    INVALID = "invalid"
    """Its stream has too many holes to be one, or it comes from one unknown PC too many. It was not stored."""


@dataclass
class Commit:
    """What one transaction did."""

    outcomes: list[Outcome] = field(default_factory=list)
    """In the order of the envelopes."""
    records: Counter[str] = field(default_factory=Counter)
    """Records taken by kind, refreshes included."""
    dead_letters: int = 0
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Commands that were not finished before, by PC and outcome."""


@dataclass(frozen=True)
class PcNow:
    """The newest that the store knows of a PC."""

    agent: str
    declared: bool
    heard_at: int | None
    hello: Hello | None
    sample: HostRecord | None
    """With its times corrected."""
    clock: int | None
    """What to add to a time since boot, in the boot of ``hello``, to get microseconds since 1970 UTC."""


@dataclass(frozen=True)
class BoardNow:
    """The newest verdict on a board, with its times corrected."""

    agent: str
    record: BoardRecord


@dataclass(frozen=True)
class PortNow:
    """The newest state of a relay port, with its times corrected."""

    agent: str
    record: RelayRecord


@dataclass(frozen=True)
class Snapshot:
    """The current state that the store remembers, to begin with after a restart."""

    pcs: tuple[PcNow, ...] = ()
    boards: tuple[BoardNow, ...] = ()
    ports: tuple[PortNow, ...] = ()
    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Finished commands by PC and outcome."""


class Store(Protocol):
    """Everything the collector asks of a database. Every method may raise :class:`StoreError`.

    Times given and taken are microseconds since 1970 UTC unless the name says otherwise.
    """

    name: str
    """What it is and where, for a person; without anything secret."""

    async def __aenter__(self) -> Self:
        """Open it, and bring its schema up to date."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it, after what is under way."""
        ...

    async def reopen(self) -> None:
        """Close what is broken and open it again."""
        ...

    async def sync_inventory(self, inventory: Inventory, now: int) -> None:
        """Make PCs, relays, boards and capabilities those of ``inventory``; what left it is retired."""
        ...

    async def commit(self, group: Sequence[Received]) -> Commit:
        """Store the envelopes that are new, in one transaction.

        When it returns, everything it calls committed or duplicate has been fsynced. A record that the
        database refuses goes to the dead letters with the reason; its neighbours are stored.
        """
        ...

    async def missing(self, agent: str, stream: str, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``ranges`` are neither stored nor declared lost.

        All of them, for a stream that nobody has used or that belongs to another agent: whatever is not
        returned here counts as stored, and its agent may forget it.
        """
        ...

    async def hear(self, agent: str, hello: Hello, now: int) -> None:
        """Keep what an agent says of itself and of its PC."""
        ...

    async def learn_clock(self, agent: str, boot: str, offset: int, now: int) -> int:
        """Keep the offset of a boot's clock unless one is known, and return the one that holds.

        Offset plus time since boot is the time. What is known is never changed, so that a resent record
        gets the same time.
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        ...

    async def events(self, subject: str | None = None, limit: int = 100) -> list[EventRow]:
        """Return events, newest first; those about ``subject`` or anything below it."""
        ...

    async def commands(self, target: str | None = None, limit: int = 100) -> list[CommandRow]:
        """Return commands, newest first; those for ``target``, such as ``board/evm-07``."""
        ...

    async def boots(self, board: str | None = None, limit: int = 100) -> list[BootRow]:
        """Return boots, newest first."""
        ...

    async def losses(self, limit: int = 100) -> list[LossRow]:
        """Return reported losses, newest first."""
        ...

    async def dead_letters(self, limit: int = 100) -> list[DeadLetterRow]:
        """Return records that could not be stored, newest first."""
        ...

    async def host_history(self, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
        """Return the newest ``limit`` samples of ``pc`` after ``since``, oldest of them first."""
        ...

    async def counts(self) -> Counts:
        """Return how much is stored."""
        ...

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` rows of each series older than ``before``; return how many went."""
        ...
