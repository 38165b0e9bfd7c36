"""The contract of a store, in the words of the domain.

A store keeps three things that change together in one transaction: the ledger (which envelopes are in), the
records that were in them, and the current state that follows from these. What every store does with an
envelope is the same and lives in :mod:`boardherd_collector.stores.intake`; a store only keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Literal, Protocol, Self

from boardherd_collector.marks import Done, Marks, Order, Thing
from boardherd_collector.stores.answers import (
    BoardRow,
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    DiskRow,
    EventRow,
    LivenessRow,
    LossRow,
    PcStatsRow,
    PortStateRow,
    ReportRow,
    Step,
    SummaryRow,
    TrendRow,
    UsageRow,
)
from boardherd_collector.times import AnyRecord
from boardherd_shared.command import CommandStep
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


class NotYet(StoreError):  # noqa: N818 - a state of the world that passes
    """The database cannot be used now, and may be later: it is away, full or locked, or another collector writes."""


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


@dataclass(frozen=True)
class Greeting:
    """A hello that was just said, and what is asked of the ledger to answer it."""

    agent: str
    hello: Hello
    received_at: int
    """Microseconds since 1970 UTC, by the collector's clock."""
    asked: Mapping[str, Sequence[Range]] = field(default_factory=dict)
    """Numbers that the agent has given out, by stream."""

    @property
    def clock(self) -> int:
        """What to add to a time since boot to get microseconds since 1970 UTC, as far as this hello tells."""
        return self.received_at - self.hello.up


@dataclass(frozen=True)
class Greeted:
    """What the database says to a hello."""

    clock: int
    """The offset that holds for the boot of the hello; see :attr:`Greeting.clock`."""
    missing: Mapping[str, tuple[Range, ...]]
    """Which of the numbers asked about the ledger lacks, by stream."""
    refused: str = ""
    """Why the database would not keep the hello; empty when it has."""


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
    marks: Mapping[Thing, Marks] = field(default_factory=dict)
    """What people decided, of everything about which they decided anything."""


@dataclass(frozen=True)
class Unanswered:
    """A command that was seen, and to which no agent has said anything in time."""

    step: CommandStep
    """What is said of it; its agent is the one who should have answered, or the collector."""
    named: bool
    """Whether it had an id of its own."""
    received_at: int
    """When it was seen, microseconds since 1970 UTC."""


@dataclass(frozen=True)
class Closed:
    """What a database made of commands that seemed to be unanswered."""

    unanswered: tuple[bool, ...]
    """Of each, whether that is so: false when the database knows of an answer."""
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those that were not known before, by PC and outcome."""


@dataclass(frozen=True)
class BoardFilter:
    """Which boards are asked for; what is None or empty does not matter. Retired boards never count."""

    available: bool = False
    """Only those that can run a test now."""
    locked: bool = False
    """Only those that somebody has locked, with a deadline to come."""
    dead_for_s: float | None = None
    """Only those that somebody or something is to blame for, and that have not been alive for so long."""
    platform: str | None = None
    test_farm: str | None = None
    pc: str | None = None
    capabilities: tuple[str, ...] = ()
    """Only those that have all of these, and they are active."""
    board: str | None = None
    """Only the one with this id."""


@dataclass(frozen=True)
class RollUp:
    """What one slice of rolling up did."""

    hours: int
    """Hours of a PC or of a board that were worked out anew."""
    left: int
    """Hours that still wait."""


class Store(Protocol):
    """Everything the collector asks of a database. Every method may raise :class:`StoreError`.

    Times given and taken are microseconds since 1970 UTC unless the name says otherwise.
    """

    name: str
    """What it is and where, for a person; without anything secret."""
    upkeep: str
    """Who makes the rollups and deletes what is old, for a person: the collector or the database."""

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

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        """Take hellos in, in one transaction, and tell what the ledger lacks; in the order of the greetings.

        What each agent says of itself is kept. So is the clock of its boot, unless one is known: that is never
        changed, so that a resent record gets the same time. What the ledger lacks is as of that transaction, so
        it takes in every commit that has returned; :meth:`missing` tells how it is found. A hello that the
        database refuses costs its neighbours nothing and is answered all the same, but not kept.
        """
        ...

    async def administer(self, order: Order) -> Done | None:
        """Keep a command to the collector, and what it changes, in one transaction.

        When the id of it is known, nothing is changed, and what became of that command is returned.
        """
        ...

    async def note_open(self, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
        """Keep commands that wait for an answer (id, time, text), and forget others by their ids."""
        ...

    async def open_commands(self) -> list[str]:
        """Return the texts of the commands that are kept as waiting for an answer, oldest first."""
        ...

    async def close_unanswered(self, closed: Sequence[Unanswered]) -> Closed:
        """Write down that commands were not answered, unless it is known that they were; they are kept no longer.

        What an agent says of one later replaces what is written here. One that had no id is told by operator,
        action, target and time.
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        ...

    async def events(self, subject: str | None = None, limit: int = 100, since: int = 0) -> list[EventRow]:
        """Return events after ``since``, newest first; those about ``subject`` or anything below it."""
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

    async def boards(self, wanted: BoardFilter) -> list[BoardRow]:
        """Return everything about the boards that are wanted, as it is now by the database's clock, by id.

        What ages is worked out from the times of the last confirmation: a board is unknown, and its agent to
        blame, once nobody has confirmed it for 3 min, or the PC that told it is silent: not heard for three of
        the intervals at which it samples, by its own hello, and for 5 s at least.
        """
        ...

    async def board_history(self, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
        """Return the newest ``limit`` entries of a board's history after ``since``, oldest of them first.

        The one that held at ``since`` comes before them when it is known, so that nothing is left open.
        """
        ...

    async def switches(self, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
        """Return the commands that switched a port, newest first.

        Those for the port itself, and those for the board that the inventory feeds from it.
        """
        ...

    async def port_history(
        self, ports: Sequence[tuple[str, int]], since: int, limit: int = 1000
    ) -> list[PortStateRow]:
        """Return the newest ``limit`` states of ports (relay, number) from the one that held at ``since`` on."""
        ...

    async def usage(self, board: str, since: int, limit: int = 1000) -> list[UsageRow]:
        """Return the newest ``limit`` uses of a board that had not ended by ``since``, oldest of them first."""
        ...

    async def host_trend(self, pc: str, since: int, step: Step, limit: int = 10_000) -> list[TrendRow]:
        """Return the newest ``limit`` rollups of ``pc`` that begin at or after ``since``, oldest of them first."""
        ...

    async def summary(self, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
        """Return how many boards there are in each group, and how they are now; by the name of the group."""
        ...

    async def report(self, since: int, until: int) -> list[ReportRow]:
        """Return use, reachability and power cycles of every board that is not retired, by id.

        ``since`` and ``until`` count as the beginning of the hour they are in, for the hours of the verdicts.
        """
        ...

    async def disks(self, within_s: float, since: int) -> list[DiskRow]:
        """Return the PCs whose disk is full within ``within_s`` if it goes on as since ``since``, soonest first.

        A straight line (least squares) through the hourly averages of what is used tells how fast it fills, of
        at least three hours; the newest sample tells what is free. PCs whose use does not grow are left out.
        """
        ...

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for since the last time, oldest first, in one transaction.

        :meth:`commit` notes, in its own transaction, the hour of each sample of a PC and of each record about a
        board (for a change also the two hours after it that have begun by then). Here such an hour is worked out
        from all its raw rows and taken off the list, at least one hour and then as many as ``budget_s`` allows,
        so that the writer is not held for long. It must not run beside a commit whose rows it cannot see.

        A rollup is never deleted. Of hours before ``window_from``, whose raw rows may be gone in part, it is only
        made when there is none yet. A database that keeps some rollups by itself lists no hours for them.
        """
        ...

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` samples, verdicts and states of each series older than ``before``.

        Return how many went. Dead letters and clocks of ended boots go by the same age.
        """
        ...

    async def prune_audit(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``.

        Return how many went.
        """
        ...

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went.

        The hourly ones stay for ever.
        """
        ...

    async def prune_digests(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` digests of streams to which nothing came since ``before``; return how many went.

        Only of streams that lack nothing, or whose PC is retired. Digests are nearly all that a stream takes. What
        the ledger says of it never goes: however late a copy of a spool comes, its envelopes must be known as
        stored, and nothing but the ledger can tell. Their times cannot, for a PC's clock may have been wrong by
        any span; and an agent that is asked for what was stored long ago would declare it lost.
        """
        ...

    async def forget_deleted(self, limit: int) -> int:
        """Delete up to ``limit`` rows of each series of a PC, relay or board that a person deleted from its table.

        Return how many went. The number of what was deleted is not given out again before all of it is gone.
        """
        ...
