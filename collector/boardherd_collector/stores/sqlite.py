"""The embedded store: one SQLite file, no server.

Two connections, each with a thread of its own: one writes, one answers questions from a consistent view
beside it. A transaction is one plain function that runs in the writer's thread from beginning to end, so
two can never interleave, and a task that is cancelled while it waits changes nothing about what is stored.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from boardherd_collector.marks import Done, Order
from boardherd_collector.owners import Owners
from boardherd_collector.stores import (
    sqlite_ledger,
    sqlite_orders,
    sqlite_past,
    sqlite_questions,
    sqlite_reader,
    sqlite_upkeep,
    sqlite_writer,
)
from boardherd_collector.stores.base import (
    Closed,
    Commit,
    Greeted,
    Greeting,
    Received,
    RollUp,
    Unanswered,
)
from boardherd_collector.stores.filelock import FileLock
from boardherd_collector.stores.intake import missing
from boardherd_collector.stores.migrations import Migration, migrate, migrations
from boardherd_collector.stores.sqlite_connection import Connection
from boardherd_collector.stores.sqlite_inventory import set_setting, sync_inventory
from boardherd_collector.times import SECOND
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Range

P = ParamSpec("P")
T = TypeVar("T")

_FREED_PAGES = 250
"""Pages given back to the file system after each slice of pruning."""


def _asks(
    question: Callable[Concatenate[sqlite3.Connection, P], T],
) -> Callable[Concatenate[SqliteStore, P], Coroutine[Any, Any, T]]:
    """Make a method of the store of a function that asks a connection; the reader answers it."""

    @functools.wraps(question)
    async def ask(self: SqliteStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reader.run(lambda db: question(db, *args, **kwargs))

    return ask


class SqliteStore:
    """A :class:`~boardherd_collector.stores.base.Store` in a SQLite file; of one process at a time."""

    upkeep = "the collector rolls up and deletes what is old"

    def __init__(self, path: Path, steps: Sequence[Migration] | None = None) -> None:
        """Use the file at ``path``, which is made if it is missing; ``steps`` are the migrations."""
        self.name = f"sqlite {path}"
        self._path = path
        self._steps = migrations() if steps is None else steps
        self._owners = Owners()
        self._inventory: Inventory | None = None
        self._lock = FileLock(path.with_name(path.name + ".lock"))
        self._writer = Connection(path, read_only=False)
        self._reader = Connection(path, read_only=True)

    async def __aenter__(self) -> Self:
        """Open the file and bring its schema up to date.

        Raises StoreError in one sentence if that cannot be: NotYet while another program locks the file, or
        its disk is full.
        """
        try:
            self._lock.acquire()
            await self._writer.open(self._prepare)
            await self._reader.open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it, after what is under way."""
        await self._close()

    async def _close(self) -> None:
        await self._reader.close()
        await self._writer.close()
        self._lock.release()

    async def reopen(self) -> None:
        """Close both connections, open them again, and see that the file can be written."""
        await self._reader.close()
        await self._writer.close()
        await self._writer.open(self._prepare)
        await self._reader.open()
        await self._writer.transact(self._begin_again)

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        migrate(db, self._steps, _now())

    def _begin_again(self, db: sqlite3.Connection) -> None:
        """Write something, to see that it can be done; and the inventory, should the file be a new one."""
        set_setting(db, "reopened_at", str(_now()))
        if self._inventory is not None:
            sync_inventory(db, self._inventory, _now())

    async def sync_inventory(self, inventory: Inventory, now: int) -> None:
        """Make PCs, relays, boards and capabilities those of ``inventory``; what left it is retired."""
        self._owners, self._inventory = Owners(inventory), inventory
        await self._writer.transact(lambda db: sync_inventory(db, inventory, now))

    async def commit(self, group: Sequence[Received]) -> Commit:
        """Store the envelopes that are new, in one transaction, and return when it is fsynced."""
        return await self._writer.transact(lambda db: sqlite_writer.commit(db, group, self._owners, _now()))

    async def missing(self, agent: str, stream: str, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``ranges`` are neither stored nor declared lost."""

        def ask(db: sqlite3.Connection) -> tuple[Range, ...]:
            return missing(sqlite_ledger.read_book(db, stream), agent, ranges)

        return await self._writer.run(ask)

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        """Take hellos in, in one transaction, and tell what the ledger lacks."""
        return await self._writer.transact(lambda db: sqlite_ledger.greet(db, greetings))

    async def administer(self, order: Order) -> Done | None:
        """Keep a command to the collector, and what it changes, in one transaction."""
        return await self._writer.transact(lambda db: sqlite_orders.administer(db, order))

    async def note_open(self, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
        """Keep commands that wait for an answer, and forget others."""
        await self._writer.transact(lambda db: sqlite_orders.note_open(db, seen, gone))

    async def close_unanswered(self, closed: Sequence[Unanswered]) -> Closed:
        """Write down that commands were not answered, unless it is known that they were."""
        return await self._writer.transact(lambda db: sqlite_orders.close_unanswered(db, closed))

    open_commands = _asks(sqlite_orders.open_commands)
    snapshot = _asks(sqlite_reader.snapshot)
    events = _asks(sqlite_reader.events)
    commands = _asks(sqlite_reader.commands)
    boots = _asks(sqlite_reader.boots)
    losses = _asks(sqlite_reader.losses)
    dead_letters = _asks(sqlite_reader.dead_letters)
    host_history = _asks(sqlite_reader.host_history)
    counts = _asks(sqlite_reader.counts)
    boards = _asks(sqlite_questions.boards)
    board_history = _asks(sqlite_questions.board_history)
    switches = _asks(sqlite_questions.switches)
    port_history = _asks(sqlite_past.port_history)
    usage = _asks(sqlite_past.usage)
    host_trend = _asks(sqlite_questions.host_trend)
    summary = _asks(sqlite_questions.summary)
    report = _asks(sqlite_questions.report)
    disks = _asks(sqlite_questions.disks)

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for, as many as the budget allows."""
        return await self._writer.transact(lambda db: sqlite_upkeep.roll_up(db, window_from, budget_s))

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` samples, verdicts and states of each series older than ``before``."""
        return await self._shrink(lambda db: sqlite_upkeep.prune(db, before, limit))

    async def prune_audit(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``."""
        return await self._shrink(lambda db: sqlite_upkeep.prune_audit(db, before, limit))

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went."""
        return await self._shrink(lambda db: sqlite_upkeep.prune_rollups(db, before, limit))

    async def prune_digests(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` digests of streams that are done with; return how many went."""
        return await self._shrink(lambda db: sqlite_ledger.prune_digests(db, before, limit))

    async def forget_deleted(self, limit: int) -> int:
        """Delete up to ``limit`` rows of each series of what a person deleted; return how many went."""
        return await self._shrink(lambda db: sqlite_upkeep.forget_deleted(db, limit))

    async def _shrink(self, delete: Callable[[sqlite3.Connection], int]) -> int:
        gone = await self._writer.transact(delete)
        if gone:
            # Only executescript steps through this pragma to its end: elsewhere it frees a single page.
            await self._writer.run(lambda db: db.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})"))
        return gone


def _now() -> int:
    return round(time.time() * SECOND)
