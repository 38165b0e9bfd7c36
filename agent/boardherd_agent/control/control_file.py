"""``control.db``: the one file that keeps what a crash must not take with it: commands, locks, interlocks, ports.

One SQLite connection, WAL, in one thread of its own. Every operation runs whole, in the order in which it was asked
for: whoever reads sees all that was to be written before, whether or not somebody has waited for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

log = structlog.get_logger()

Values = tuple[object, ...]
Rows = list[tuple[Any, ...]]
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands (
    id          TEXT PRIMARY KEY,
    operator    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,           -- what was asked, whatever the id
    command     TEXT NOT NULL,           -- the command as JSON, target filled in
    named       INTEGER NOT NULL,        -- 1 when the operator chose the id
    intent_at   INTEGER NOT NULL,        -- wall clock, microseconds
    intent_up   INTEGER NOT NULL,        -- CLOCK_BOOTTIME, microseconds
    boot        TEXT NOT NULL,
    off_up      INTEGER,                 -- cycle: when the board went off, CLOCK_BOOTTIME
    off_at      INTEGER,                 -- the same by the wall clock
    last_step   TEXT NOT NULL,           -- the newest step as JSON
    final       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS ports (
    relay        TEXT NOT NULL,
    port         INTEGER NOT NULL,
    asked        TEXT NOT NULL,          -- what was last asked of it: on, off, unknown
    switch_count INTEGER NOT NULL,
    switched_at  INTEGER,                -- wall clock, microseconds
    switched_by  TEXT,
    PRIMARY KEY (relay, port)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locks (
    board TEXT PRIMARY KEY,
    lock  TEXT NOT NULL                  -- as JSON
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moves (       -- what the interlocks count
    what    TEXT NOT NULL,               -- off, on: of a port; cycle: of a board
    subject TEXT NOT NULL,               -- "eth-1:3" or "evm-07"
    boot    TEXT NOT NULL,
    up      INTEGER NOT NULL,
    wall    INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS wiring (
    board TEXT PRIMARY KEY,
    entry TEXT NOT NULL                  -- as JSON: what its power cycles have shown, and the ports it had then
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS commands_repeat ON commands (operator, fingerprint, intent_at);
CREATE INDEX IF NOT EXISTS commands_open ON commands (final) WHERE final = 0;
CREATE INDEX IF NOT EXISTS moves_subject ON moves (subject, what);
"""


_SETTLED = 1
"""In SQLite's user_version: the file was not begun just now."""

_NORMAL, _FULL = 1, 2
"""Levels of ``synchronous``: with the first, the WAL is synced by whoever uses the second next."""


class JournalAway(Exception):  # noqa: N818
    """The file cannot be read or written now: a full disk, a directory that is not ours. Trying again may help."""


Failed = Callable[[JournalAway], None]
"""Told that something could not be written down."""


class ControlFile:
    """The open file; an async context manager.

    Every coroutine may raise JournalAway, and opens the file again when it is called next. A caller that is
    cancelled leaves nothing half done. A file that SQLite cannot make sense of is put aside under another name and
    a new one begun.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened, and made if missing, on entering."""
        self.unsettled = True
        """Whether nobody has confirmed yet that nothing is missing: so it is for a file that was begun anew."""
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._synchronous = _FULL
        self._thread = _Thread("control file")

    async def __aenter__(self) -> Self:
        """Open the file where that is possible; else every call says JournalAway until it is."""
        self._thread.start()
        try:
            with contextlib.suppress(JournalAway):
                await self.rows("SELECT 1")
        except BaseException:  # a stop in the middle of it: a thread that waits for more keeps the process
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Finish what was asked for and close the file."""
        try:
            await asyncio.shield(self._thread.do(self._close))
        finally:
            self._thread.end()

    async def write(self, statement: str, values: Values = ()) -> int:
        """Execute one statement and return how many rows it changed; they are on the disk when this returns."""
        changed, _ = await self._ask(statement, values, _FULL)
        return changed

    async def jot(self, statement: str, values: Values = ()) -> None:
        """Execute one statement; what it wrote outlives this process, and a loss of power after the next :meth:`write`.

        For what may be missing after a loss of power without harm: a sync takes longer than all the rest.
        """
        await self._ask(statement, values, _NORMAL)

    def jot_later(self, statement: str, values: Values, failed: Failed) -> None:
        """Have one statement executed as by :meth:`jot`, and do not wait; ``failed`` hears of it if it cannot be."""

        def look(done: asyncio.Future[tuple[int, Rows]]) -> None:
            try:
                done.result()
            except JournalAway as away:
                failed(away)

        self._ask(statement, values, _NORMAL).add_done_callback(look)

    async def settle(self) -> None:
        """Note that the file holds what it should; lasts as long as the file."""
        await self.write(f"PRAGMA user_version = {_SETTLED}")
        self.unsettled = False

    async def rows(self, query: str, values: Values = ()) -> Rows:
        """Return the rows of a query."""
        _, rows = await self._ask(query, values, None)
        return rows

    def _ask(
        self, statement: str, values: Values, synchronous: int | None
    ) -> asyncio.Future[tuple[int, Rows]]:
        return self._thread.do(lambda: self._execute(statement, values, synchronous))

    # what follows runs in the thread

    def _execute(self, statement: str, values: Values, synchronous: int | None) -> tuple[int, Rows]:
        """Return how many rows a statement changed, and those that it found."""
        try:
            if self._db is None:
                self._db = self._connect()
            if synchronous not in {None, self._synchronous}:
                self._db.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            cursor = self._db.execute(statement, values)
            return cursor.rowcount, cursor.fetchall()
        except (OSError, sqlite3.Error) as error:
            raise JournalAway(f"the journal {self._path} cannot be used: {error}") from error

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = _opened(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._put_aside(error)
            db = _opened(self._path)
        self._synchronous = _FULL
        self.unsettled = db.execute("PRAGMA user_version").fetchone() != (_SETTLED,)
        return db

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a file that is no database any more, with what belongs to it."""
        suffix = f".corrupt-{time.time_ns() // 1_000_000_000}"
        for path in self._path.parent.glob(f"{self._path.name}*"):
            if ".corrupt-" not in path.name:
                path.rename(path.with_name(path.name + suffix))
        log.error("the journal could not be read and was put aside", as_suffix=suffix, why=str(error))


class _Thread:
    """Runs calls one after the other, in the order in which they come.

    An executor of the standard library would take twice as long to wake, which every command would wait for.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def do(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Hand over a call; the future has what it returns or raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever waits meets it
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_answer, done, result)

        self._calls.put(work)
        return done

    def end(self) -> None:
        """Return when everything that was handed over is done."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while work := self._calls.get():
            work()


def _answer(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous={_FULL}; PRAGMA journal_size_limit=1048576; {_SCHEMA}"
        )
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
        raise sqlite3.DatabaseError(found[0])
