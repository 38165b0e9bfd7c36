"""A connection to an SQLite file, and what its faults mean."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from boardherd_collector.stores.base import NotYet, StoreError

T = TypeVar("T")

_BUSY_MS = 5000
"""So long a statement waits for a lock of somebody else."""
_BUSY_AT_OPENING_MS = 1000
"""At first it waits less: whoever opens it tries again, and says meanwhile what it waits for."""
_NOT_YET = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,  # also what a full disk gives when the file is opened
        sqlite3.SQLITE_PROTOCOL,  # others are so busy that no turn came
    }
)
"""What passes by itself, or when somebody sees to the disk; what is wrong with the file itself does not."""


def kind_of(error: sqlite3.Error) -> type[StoreError]:
    """Return as what a fault of the database is to be raised: NotYet when waiting may mend it."""
    code = getattr(error, "sqlite_errorcode", None)  # the module's own complaints have none
    return NotYet if code is not None and code & 0xFF in _NOT_YET else StoreError


def _nothing(db: sqlite3.Connection) -> None:
    """Prepare nothing."""


class Connection:
    """A connection that lives in its own thread."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Make it; nothing is opened before :meth:`open`."""
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
        self._db.execute(f"PRAGMA busy_timeout = {_BUSY_AT_OPENING_MS}")
        self._db.execute("PRAGMA foreign_keys = ON")
        prepare(self._db)
        self._db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")

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
            raise kind_of(error)(f"{self._path}: {error}") from error
