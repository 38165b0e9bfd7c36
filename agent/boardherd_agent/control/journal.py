"""The journal: what was asked, and how far it got, on disk before any hardware is touched.

One SQLite file (``control.db``) with one connection, WAL and ``synchronous=FULL``: when a method returns, what
it wrote has been fsynced. The journal is what makes a command happen at most once: an id that is known is
answered from here, and what was under way at a crash is found here at the next start.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiosqlite

from boardherd_shared.clock import Clock
from boardherd_shared.command import Command, CommandStep, fingerprint
from boardherd_shared.records import Power

KEEP_DAYS = 7
KEEP_COMMANDS = 10_000
"""Ids are remembered for a week, and never fewer than this many of them."""

REDELIVERY_US = 10_000_000
"""An identical command without an id, from the same operator within this time, is a redelivery."""

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
CREATE INDEX IF NOT EXISTS commands_repeat ON commands (operator, fingerprint, intent_at);
CREATE INDEX IF NOT EXISTS commands_open ON commands (final) WHERE final = 0;
"""


@dataclass(frozen=True)
class Entry:
    """A journalled command."""

    command: Command
    operator: str
    fingerprint: str
    intent_at: int
    intent_up: int
    boot: str
    off_up: int | None
    off_at: int | None
    last_step: CommandStep


@dataclass(frozen=True)
class PortMemory:
    """What outlives the process of a relay port."""

    asked: Power
    switch_count: int
    switched_at: int | None
    switched_by: str | None


class JournalAway(Exception):  # noqa: N818
    """The journal cannot be read or written now: a full disk, a directory that is not ours. Trying again may help."""


class Journal:
    """The journal file; an async context manager.

    Every method may raise JournalAway, and opens the file again when it is called next.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Name the file; it is opened, and made if missing, on entering."""
        self._path = path
        self._clock = clock
        self._db: aiosqlite.Connection | None = None

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
        db = await aiosqlite.connect(self._path, isolation_level=None)
        try:
            await db.executescript(
                f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=1048576; {_SCHEMA}"
            )
        except BaseException:
            await db.close()
            raise
        return db

    async def find(self, command_id: str) -> Entry | None:
        """Return what is known of a command id."""
        return await self._one("WHERE id = ?", (command_id,))

    async def find_repeat(self, operator: str, command: Command) -> Entry | None:
        """Return the command without an id that ``command`` repeats, if there is one."""
        since = self._clock.wall() - REDELIVERY_US
        return await self._one(
            "WHERE operator = ? AND fingerprint = ? AND named = 0 AND intent_at >= ? ORDER BY intent_at DESC LIMIT 1",
            (operator, fingerprint(command), since),
        )

    async def unfinished(self) -> list[Entry]:
        """Return the commands that have no final step: after a start, what a crash interrupted."""
        async with self._open() as db:
            rows = await db.execute_fetchall(f"{_SELECT} WHERE final = 0 ORDER BY intent_at")
        return [_entry(tuple(row)) for row in rows]

    async def intend(self, command: Command, step: CommandStep, *, named: bool) -> None:
        """Write down that ``command`` will be carried out; nothing may be touched before this returns."""
        await self._write(
            "INSERT INTO commands (id, operator, fingerprint, command, named, intent_at, intent_up, boot, last_step)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                step.id,
                step.operator,
                fingerprint(command),
                command.model_dump_json(exclude_none=True),
                named,
                self._clock.wall(),
                self._clock.up(),
                self._clock.boot,
                step.model_dump_json(exclude_none=True),
            ),
        )

    async def note(self, step: CommandStep) -> None:
        """Write down a step of a command that was intended before."""
        await self._write(
            "UPDATE commands SET last_step = ?, final = ? WHERE id = ?",
            (step.model_dump_json(exclude_none=True), step.final, step.id),
        )

    async def note_off(self, command_id: str) -> None:
        """Write down that the board of a cycle is off since now."""
        await self._write(
            "UPDATE commands SET off_up = ?, off_at = ? WHERE id = ?",
            (self._clock.up(), self._clock.wall(), command_id),
        )

    async def prune(self) -> None:
        """Forget finished commands that are older than a week, beyond the newest ten thousand."""
        before = self._clock.wall() - KEEP_DAYS * 86_400_000_000
        await self._write(
            "DELETE FROM commands WHERE final = 1 AND intent_at < ? AND id NOT IN"
            " (SELECT id FROM commands ORDER BY intent_at DESC LIMIT ?)",
            (before, KEEP_COMMANDS),
        )

    async def remember_port(self, relay: str, port: int, memory: PortMemory) -> None:
        """Keep what was asked of a port, and how often it was switched."""
        await self._write(
            "INSERT OR REPLACE INTO ports VALUES (?, ?, ?, ?, ?, ?)",
            (relay, port, memory.asked, memory.switch_count, memory.switched_at, memory.switched_by),
        )

    async def ports(self) -> dict[tuple[str, int], PortMemory]:
        """Return what is remembered of each port, by relay and number."""
        async with self._open() as db:
            rows = await db.execute_fetchall(
                "SELECT relay, port, asked, switch_count, switched_at, switched_by FROM ports"
            )
        return {(relay, port): PortMemory(Power(asked), *rest) for relay, port, asked, *rest in rows}

    async def _write(self, statement: str, values: tuple[object, ...]) -> None:
        async with self._open() as db:
            await db.execute(statement, values)

    async def _one(self, where: str, values: tuple[str | int, ...]) -> Entry | None:
        async with self._open() as db, db.execute(f"{_SELECT} {where}", values) as cursor:
            row = await cursor.fetchone()
        return _entry(tuple(row)) if row else None


_SELECT = "SELECT command, operator, fingerprint, intent_at, intent_up, boot, off_up, off_at, last_step FROM commands"


def _entry(row: tuple[object, ...]) -> Entry:
    command, operator, print_, intent_at, intent_up, boot, off_up, off_at, last_step = row
    return Entry(
        command=Command.model_validate_json(str(command)),
        operator=str(operator),
        fingerprint=str(print_),
        intent_at=int(str(intent_at)),
        intent_up=int(str(intent_up)),
        boot=str(boot),
        off_up=None if off_up is None else int(str(off_up)),
        off_at=None if off_at is None else int(str(off_at)),
        last_step=CommandStep.model_validate_json(str(last_step)),
    )
