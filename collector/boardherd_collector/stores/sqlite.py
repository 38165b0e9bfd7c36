"""The embedded store: one SQLite file, no server.

Two connections, each with a thread of its own: one writes, one answers questions from a consistent view
beside it. A transaction is one plain function that runs in the writer's thread from beginning to end, so
two can never interleave, and a task that is cancelled while it waits changes nothing about what is stored.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from boardherd_collector.owners import Owners
from boardherd_collector.stores import (
    sqlite_ledger,
    sqlite_questions,
    sqlite_reader,
    sqlite_upkeep,
    sqlite_writer,
)
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
    ReportRow,
    Step,
    SummaryRow,
    TrendRow,
)
from boardherd_collector.stores.base import BoardFilter, Commit, Received, RollUp, Snapshot, StoreError
from boardherd_collector.stores.filelock import FileLock
from boardherd_collector.stores.migrations import Migration, migrate, migrations
from boardherd_collector.stores.sqlite_inventory import hear, set_setting, sync_inventory
from boardherd_collector.times import SECOND
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, Range

T = TypeVar("T")

_BUSY_MS = 5000
_FREED_PAGES = 250
"""Pages given back to the file system after each slice of pruning."""


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
        self._writer = _Connection(path, read_only=False)
        self._reader = _Connection(path, read_only=True)

    async def __aenter__(self) -> Self:
        """Open the file and bring its schema up to date; StoreError in one sentence if that cannot be."""
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
            book = sqlite_ledger.read_book(db, stream)
            return sqlite_ledger.missing(book, agent, ranges)

        return await self._writer.run(ask)

    async def hear(self, agent: str, hello: Hello, now: int) -> None:
        """Keep what an agent says of itself and of its PC."""
        await self._writer.transact(lambda db: hear(db, agent, hello, now))

    async def learn_clock(self, agent: str, boot: str, offset: int, now: int) -> int:
        """Keep the offset of a boot's clock unless one is known, and return the one that holds."""
        return await self._writer.transact(lambda db: sqlite_ledger.learn_clock(db, agent, boot, offset, now))

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        return await self._reader.run(sqlite_reader.snapshot)

    async def events(self, subject: str | None = None, limit: int = 100) -> list[EventRow]:
        """Return events, newest first; those about ``subject`` or anything below it."""
        return await self._reader.run(lambda db: sqlite_reader.events(db, subject, limit))

    async def commands(self, target: str | None = None, limit: int = 100) -> list[CommandRow]:
        """Return commands, newest first; those for ``target``."""
        return await self._reader.run(lambda db: sqlite_reader.commands(db, target, limit))

    async def boots(self, board: str | None = None, limit: int = 100) -> list[BootRow]:
        """Return boots, newest first."""
        return await self._reader.run(lambda db: sqlite_reader.boots(db, board, limit))

    async def losses(self, limit: int = 100) -> list[LossRow]:
        """Return reported losses, newest first."""
        return await self._reader.run(lambda db: sqlite_reader.losses(db, limit))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetterRow]:
        """Return records that could not be stored, newest first."""
        return await self._reader.run(lambda db: sqlite_reader.dead_letters(db, limit))

    async def host_history(self, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
        """Return the newest ``limit`` samples of ``pc`` after ``since``, oldest of them first."""
        return await self._reader.run(lambda db: sqlite_reader.host_history(db, pc, since, limit))

    async def counts(self) -> Counts:
        """Return how much is stored."""
        return await self._reader.run(sqlite_reader.counts)

    async def boards(self, wanted: BoardFilter) -> list[BoardRow]:
        """Return everything about the boards that are wanted, as it is now, by id."""
        return await self._reader.run(lambda db: sqlite_questions.boards(db, wanted))

    async def board_history(self, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
        """Return the newest entries of a board's history after ``since``, and what held then."""
        return await self._reader.run(lambda db: sqlite_questions.board_history(db, board, since, limit))

    async def switches(self, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
        """Return the commands that switched a port, newest first."""
        return await self._reader.run(lambda db: sqlite_questions.switches(db, relay, port, limit))

    async def host_trend(self, pc: str, since: int, step: Step, limit: int = 10_000) -> list[TrendRow]:
        """Return the newest rollups of ``pc`` since ``since``, oldest of them first."""
        return await self._reader.run(lambda db: sqlite_questions.host_trend(db, pc, since, step, limit))

    async def summary(self, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
        """Return how the boards of each group are, by the name of the group."""
        return await self._reader.run(lambda db: sqlite_questions.summary(db, by))

    async def report(self, since: int, until: int) -> list[ReportRow]:
        """Return use, reachability and power cycles of every board, by id."""
        return await self._reader.run(lambda db: sqlite_questions.report(db, since, until))

    async def disks(self, within_s: float, since: int) -> list[DiskRow]:
        """Return the PCs whose disk fills in time, soonest first."""
        return await self._reader.run(lambda db: sqlite_questions.disks(db, within_s, since))

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for, as many as the budget allows."""
        return await self._writer.transact(lambda db: sqlite_upkeep.roll_up(db, window_from, budget_s))

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` rows of each series older than ``before``; return how many went."""
        return await self._shrink(lambda db: sqlite_upkeep.prune(db, before, limit))

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went."""
        return await self._shrink(lambda db: sqlite_upkeep.prune_rollups(db, before, limit))

    async def forget_deleted(self, limit: int) -> int:
        """Delete up to ``limit`` rows of each series of what a person deleted; return how many went."""
        return await self._shrink(lambda db: sqlite_upkeep.forget_deleted(db, limit))

    async def _shrink(self, delete: Callable[[sqlite3.Connection], int]) -> int:
        gone = await self._writer.transact(delete)
        if gone:
            # Only executescript steps through this pragma to its end: elsewhere it frees a single page.
            await self._writer.run(lambda db: db.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})"))
        return gone


def _nothing(db: sqlite3.Connection) -> None:
    """Prepare nothing."""


class _Connection:
    """A connection that lives in its own thread."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def open(self, prepare: Callable[[sqlite3.Connection], None] = _nothing) -> None:
        """Open it and call ``prepare`` with it; raises StoreError."""
        self._thread = ThreadPoolExecutor(1, "sqlite-reader" if self._read_only else "sqlite-writer")
        await self._in_thread(lambda: self._open(prepare))

    def _open(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        mode = "ro" if self._read_only else "rwc"
        self._db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
        )
        self._db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self._db.execute("PRAGMA foreign_keys = ON")
        prepare(self._db)

    async def close(self) -> None:
        """Close it, after what is under way; does nothing if it is not open."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(thread, self._close)
        try:
            await asyncio.shield(closing)
        finally:
            thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` with the connection; raises StoreError for whatever SQLite says."""

        def call() -> T:
            if self._db is None:
                raise StoreError(f"{self._path} is not open")
            return work(self._db)

        return await self._in_thread(call)

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` in a transaction, which is kept when it returns and undone when it raises."""

        def call(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            return result

        return await self.run(call)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError(f"{self._path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error


def _now() -> int:
    return round(time.time() * SECOND)
