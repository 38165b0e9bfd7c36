"""The databases that the central side writes to, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from faults.generator import SUBJECT
from faults.oracle import Findings, Reader, SqliteReader, numbers
from support.postgres import Postgres, execute, has_timescale, query

_LOCK_TIMEOUT_S = 2.0


class Database(Reader, Protocol):
    """A database on trial."""

    kinds: frozenset[str]
    """The kinds of faults that can be inflicted on it."""

    def served(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return what has to be entered before anybody can use it."""
        ...

    def back_up(self) -> None:
        """Take a backup while it is in use, as every night."""
        ...

    async def inflict(self, kind: str, seconds: float) -> None:
        """Do it harm of a kind that is among :attr:`kinds`, and undo it after so long."""
        ...

    def restore(self) -> None:
        """Put the backup in its place; nobody may use it at the time."""
        ...


class SqliteFile:
    """The part that every SQLite database has in common."""

    kinds = frozenset({"database locked"})

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Have it ready: a file needs nothing."""
        yield

    @property
    def _backup(self) -> Path:
        return self.path.with_name("backup.db")

    def back_up(self) -> None:
        """Take a backup while it is in use."""
        self._backup.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self._backup)) as target:
            source.backup(target)

    def restore(self) -> None:
        """Put the backup in its place."""
        for companion in ("-wal", "-shm"):
            self.path.with_name(self.path.name + companion).unlink(missing_ok=True)
        shutil.copyfile(self._backup, self.path)

    async def inflict(self, kind: str, seconds: float) -> None:
        """Have somebody else hold the lock of the writer."""
        del kind
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=_LOCK_TIMEOUT_S)) as rival:
            try:
                rival.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:  # somebody else is quicker: locked it is
                return
            try:
                await asyncio.sleep(seconds)
            finally:
                rival.execute("ROLLBACK")


class SqliteDatabase(SqliteFile, SqliteReader):
    """The collector's SQLite file."""

    kinds = frozenset({"database locked", "database restored"})


class PostgresDatabase:
    """A PostgreSQL server of its own, with TimescaleDB where that is installed; as durable as it is by default."""

    kinds = frozenset(
        {"database locked", "database stopped", "database killed", "database frozen", "backend killed"}
    )

    def __init__(self) -> None:
        self._server = Postgres()
        self.url = ""

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Have the server run, with an empty database on it."""
        await asyncio.to_thread(self._server.__enter__)
        try:
            await execute(self._server.url, "CREATE DATABASE history")
            self.url = self._server.url.removesuffix("/postgres") + "/history"
            if has_timescale():
                await execute(self.url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
            yield
        finally:
            await asyncio.to_thread(self._server.__exit__, None, None, None)

    def back_up(self) -> None:
        """Do nothing: a restored database is tried with SQLite."""

    def restore(self) -> None:
        """Do nothing."""

    async def inflict(self, kind: str, seconds: float) -> None:
        """Lock the ledger, or hurt the server or those of its processes that work for somebody."""
        match kind:
            case "database locked":
                await self._lock(seconds)
            case "backend killed":
                await self._kill_backends(seconds)
            case "database frozen":
                await self._freeze(seconds)
            case _:
                how = signal.SIGQUIT if kind == "database killed" else signal.SIGINT
                await asyncio.to_thread(self._server.stop, how)
                await asyncio.sleep(seconds)
                await asyncio.to_thread(self._server.start)

    async def _lock(self, seconds: float) -> None:
        rival = await asyncpg.connect(self.url)
        try:
            async with rival.transaction():
                await rival.execute("LOCK TABLE streams")
                await asyncio.sleep(seconds)
        finally:
            await rival.close()

    async def _kill_backends(self, seconds: float) -> None:
        """Kill -9 whoever serves a client, in mid-commit if so it falls; PostgreSQL then begins anew by itself."""
        await asyncio.sleep(seconds)
        clients = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        _send([pid for (pid,) in await query(self.url, clients)], signal.SIGKILL)
        await asyncio.to_thread(self._server.wait)

    async def _freeze(self, seconds: float) -> None:
        pids = _family(self._server.pid)
        _send(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            _send(pids, signal.SIGCONT)

    def findings(self, agent: str) -> Findings:
        """Return what is there of ``agent`` now; not to be called from an event loop."""
        return asyncio.run(self._findings(agent))

    def count(self) -> int:
        """Return how many records there are of all agents; not to be called from an event loop."""
        sql = (
            "SELECT (SELECT count(*) FROM pc_stats) + (SELECT count(*) FROM events WHERE subject = $1)"
            " WHERE to_regclass('events') IS NOT NULL"
        )
        ((count,),) = asyncio.run(query(self.url, sql, SUBJECT))
        return int(count)

    async def _findings(self, agent: str) -> Findings:
        db = await asyncpg.connect(self.url)
        try:
            async with db.transaction(isolation="repeatable_read"):
                return await _look(db, agent)
        finally:
            await db.close()


async def _look(db: Any, agent: str) -> Findings:
    if await db.fetchval("SELECT to_regclass('dead_letters') IS NULL OR to_regclass('events') IS NULL"):
        return Findings()
    pc = await db.fetchval("SELECT number FROM test_pcs WHERE id = $1", agent)
    samples = await db.fetch(
        "SELECT process_count, count(*) FROM pc_stats WHERE test_pc = $1 GROUP BY process_count", pc
    )
    stored = Counter({int(number): int(times) for number, times in samples if number is not None})
    events = await db.fetch("SELECT text FROM events WHERE test_pc = $1 AND subject = $2", pc, SUBJECT)
    stored.update(int(row[0].split()[-1]) for row in events)
    dead = await db.fetch("SELECT payload FROM dead_letters WHERE test_pc = $1", agent)
    losses: dict[str, list[tuple[int, int]]] = {}
    for stream, first, last in await db.fetch("SELECT stream, first, last FROM losses"):
        losses.setdefault(stream, []).append((first, last))
    return Findings(stored, frozenset(numbers(row[0] for row in dead)), losses)


def _family(pid: int) -> list[int]:
    """Return a process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
