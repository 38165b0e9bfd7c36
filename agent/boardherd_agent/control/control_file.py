"""``control.db``: the one file that keeps what a crash must not take with it: commands, locks, interlocks, ports.

One SQLite connection, WAL and ``synchronous=FULL``: when a write returns, it has been fsynced.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite
import structlog

log = structlog.get_logger()

Values = tuple[object, ...]

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
CREATE INDEX IF NOT EXISTS commands_repeat ON commands (operator, fingerprint, intent_at);
CREATE INDEX IF NOT EXISTS commands_open ON commands (final) WHERE final = 0;
CREATE INDEX IF NOT EXISTS moves_subject ON moves (subject, what);
"""


_SETTLED = 1
"""In SQLite's user_version: the file was not begun just now."""


class JournalAway(Exception):  # noqa: N818
    """The file cannot be read or written now: a full disk, a directory that is not ours. Trying again may help."""


_NORMAL, _FULL = 1, 2
"""Levels of ``synchronous``: with the first, the WAL is synced by whoever uses the second next."""


class ControlFile:
    """The open file; an async context manager.

    Every method may raise JournalAway, and opens the file again when it is called next. A file that SQLite
    cannot make sense of is put aside under another name and a new one begun.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened, and made if missing, on entering."""
        self.unsettled = True
        """Whether nobody has confirmed yet that nothing is missing: so it is for a file that was begun anew."""
        self._path = path
        self._db: aiosqlite.Connection | None = None
        self._synchronous = _FULL
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open the file where that is possible; else every call says JournalAway until it is."""
        with contextlib.suppress(JournalAway):
            async with self._open():
                pass
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._db is not None:
            await self._db.close()

    async def write(self, statement: str, values: Values = ()) -> None:
        """Execute one statement; what it wrote is on the disk when this returns."""
        await self._execute(statement, values, _FULL)

    async def jot(self, statement: str, values: Values = ()) -> None:
        """Execute one statement; what it wrote outlives this process, and a loss of power after the next :meth:`write`.

        For what may be missing after a loss of power without harm: a sync takes longer than all the rest.
        """
        await self._execute(statement, values, _NORMAL)

    async def _execute(self, statement: str, values: Values, synchronous: int) -> None:
        async with self._open() as db, self._writing:
            if self._synchronous != synchronous:
                await db.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            await db.execute(statement, values)

    async def settle(self) -> None:
        """Note that the file holds what it should; lasts as long as the file."""
        await self.write(f"PRAGMA user_version = {_SETTLED}")
        self.unsettled = False

    async def rows(self, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        async with self._open() as db:
            return [tuple(row) for row in await db.execute_fetchall(query, values)]

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[aiosqlite.Connection]:
        """Give the connection, opened if need be; raises JournalAway for what SQLite or the system says."""
        try:
            if self._db is None:
                self._db = await self._connect()
            yield self._db
        except (OSError, sqlite3.Error) as error:
            raise JournalAway(f"the journal {self._path} cannot be used: {error}") from error

    async def _connect(self) -> aiosqlite.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = await _opened(self._path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._put_aside(error)
            db = await _opened(self._path)
        self._synchronous = _FULL
        version = [row[0] for row in await db.execute_fetchall("PRAGMA user_version")]
        self.unsettled = version != [_SETTLED]
        return db

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a file that is no database any more, with what belongs to it."""
        suffix = f".corrupt-{time.time_ns() // 1_000_000_000}"
        for path in self._path.parent.glob(f"{self._path.name}*"):
            if ".corrupt-" not in path.name:
                path.rename(path.with_name(path.name + suffix))
        log.error("the journal could not be read and was put aside", as_suffix=suffix, why=str(error))


async def _opened(path: Path) -> aiosqlite.Connection:
    db = await aiosqlite.connect(path, isolation_level=None)
    try:
        await db.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous={_FULL}; PRAGMA journal_size_limit=1048576; {_SCHEMA}"
        )
        await _check(db)
    except BaseException:
        await db.close()
        raise
    return db


async def _check(db: aiosqlite.Connection) -> None:
    found = [str(row[0]) for row in await db.execute_fetchall("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise sqlite3.DatabaseError(found[0])
