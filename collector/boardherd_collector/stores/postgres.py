"""The way to a PostgreSQL database: where it is, the connection that may write, those that only read.

This is the one module that knows the client library. It hands times over as integers: microseconds since
1970 UTC on this side, ``timestamptz`` on the other, without a detour over floating point.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import asyncpg  # type: ignore[import-untyped]

from boardherd_collector.stores.base import NotYet, StoreError
from boardherd_collector.stores.postgres_address import Address

T = TypeVar("T")

COMMAND_TIMEOUT_S = 30.0
"""No statement of the collector takes longer; a server that does not answer for so long has gone."""
LONG_S = 4 * 3600.0
"""For a statement that changes the shape of much data, such as turning a full table into a hypertable."""
_CONNECT_TIMEOUT_S = 10.0
_ROLLBACK_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 3.0
_READERS = 4
_SITE_LOCK = 0x62686C6B
"""First key of the advisory lock of a site; the second is the hash of the schema that holds its tables."""
_HOLDER = """
SELECT host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND datname = current_database()
    AND classid = $1::integer::oid AND objid = hashtext(current_schema())::oid
"""
_EPOCH = 946_684_800_000_000
"""2000-01-01 UTC, where PostgreSQL begins to count, in microseconds since 1970."""

_WORLD = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a database does to us; whatever else is raised is a fault of this program."""
_NOT_YET = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it starts, stops or recovers
    asyncpg.InsufficientResourcesError,  # no space on its disk, no memory, no connection left
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is about to take over
)
"""What passes by itself, or when somebody sees to the server."""
POISON = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.RaiseError,
    ValueError,  # the client library's refusals, and texts that are no UTF-8
    OverflowError,
)
"""What a single row does wrong. Everything else is wrong with the database, and ends the transaction."""

_WRITER_SETTINGS = {
    "application_name": "boardherd-collector",
    "timezone": "UTC",
    "synchronous_commit": "on",  # what is acknowledged has been fsynced, whatever the server's default is
    "jit": "off",
    "lock_timeout": "20s",
    # A collector that died or was cut off gives its lock back within 30 s, so that another can take over.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "idle_in_transaction_session_timeout": "60s",
}
_READER_SETTINGS = _WRITER_SETTINGS | {
    "application_name": "boardherd-collector reader",
    "default_transaction_read_only": "on",
    "statement_timeout": "25s",
}


class Row(Protocol):
    """A row of an answer: iterates over its values, and gives them by name or by place."""

    def __getitem__(self, key: str | int, /) -> Any:
        """Return a value."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Return the values."""
        ...

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return names and values."""
        ...


class Transaction(Protocol):
    """A transaction, or a savepoint when it is begun inside of one."""

    async def start(self) -> None:
        """Begin it."""
        ...

    async def commit(self) -> None:
        """Keep what was done."""
        ...

    async def rollback(self) -> None:
        """Undo what was done."""
        ...


class Db(Protocol):
    """An open connection, in so far as the statements of a store use it."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement, or several when there are no arguments; return its tag, such as ``DELETE 3``."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of ``args``."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        """Return the rows of an answer."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """Return the first row of an answer."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first value of an answer."""
        ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[Any]], columns: Sequence[str]
    ) -> str:
        """Put rows into a table by COPY."""
        ...

    def transaction(self) -> Transaction:
        """Return a transaction that is not begun yet."""
        ...


REFUSED: tuple[type[Exception], ...] = (asyncpg.PostgresError,)
"""What the server says to a statement that it does not carry out."""


@contextlib.contextmanager
def in_words(where: str) -> Iterator[None]:
    """Turn what the database or the way to it does into a StoreError of one sentence."""
    try:
        yield
    except _WORLD as error:
        raise kind_of(error)(f"{where}: {_sentence(error)}") from error


def kind_of(error: Exception) -> type[StoreError]:
    """Return as what a fault of the database is to be raised: NotYet when waiting may mend it."""
    return NotYet if isinstance(error, _NOT_YET) else StoreError


def _sentence(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())


@contextlib.asynccontextmanager
async def transaction(db: Db) -> AsyncIterator[None]:
    """Keep what is done inside when it ends, and undo it when it raises."""
    inner = db.transaction()
    await inner.start()
    try:
        yield
    except BaseException:
        await inner.rollback()
        raise
    await inner.commit()


async def savepoint(db: Db, work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work`` in a savepoint, which is undone when it raises something of :data:`POISON`."""
    inner = db.transaction()
    await inner.start()
    try:
        result = await work()
    except POISON:
        await inner.rollback()
        raise
    await inner.commit()
    return result


class Writer:
    """The one connection that commits; while it is open, it holds the site's advisory lock.

    The lock and the transactions live in the same session, so a collector that lost the lock cannot commit.
    """

    def __init__(self, address: Address) -> None:
        """Make it; nothing is opened before :meth:`open`."""
        self._address = address
        self._db: Any = None
        self._busy = asyncio.Lock()

    async def open(self) -> None:
        """Connect and take the lock; NotYet when that may work later, StoreError when it will not."""
        with in_words(self._address.display):
            db = await _connect(self._address, _WRITER_SETTINGS)
            try:
                await self._take_lock(db)
            except BaseException:
                db.terminate()
                raise
        self._db = db

    async def _take_lock(self, db: Db) -> None:
        if await db.fetchval("SELECT current_schema()") is None:
            raise StoreError(
                f"{self._address.display}: the schema in its search path does not exist; create it first"
            )
        if not await db.fetchval("SELECT pg_try_advisory_lock($1, hashtext(current_schema()))", _SITE_LOCK):
            host = await db.fetchval(_HOLDER, _SITE_LOCK)
            whose = f" at {host}" if host else ""
            raise NotYet(f"{self._address.display} is in use by another collector{whose}")

    async def close(self) -> None:
        """Close it, after the transaction under way; does nothing if it is not open."""
        async with self._busy:
            db, self._db = self._db, None
            if db is not None:
                await _close(db)

    def abandon(self) -> None:
        """Drop the connection as it is."""
        db, self._db = self._db, None
        if db is not None:
            db.terminate()

    async def run(self, work: Callable[[Db], Awaitable[T]]) -> T:
        """Call ``work`` with the connection, outside of a transaction; raises StoreError."""
        async with self._busy:
            with in_words(self._address.display):
                return await work(self._opened())

    async def transact(self, work: Callable[[Db], Awaitable[T]]) -> T:
        """Call ``work`` in a transaction, which is kept when it returns and undone when it raises.

        When StoreError comes from the commit itself, its outcome is unknown. A task that is cancelled here
        takes the connection with it, and the server then keeps all of the transaction or nothing.
        """
        async with self._busy:
            db = self._opened()
            with in_words(self._address.display):
                outer: Transaction = db.transaction()
                try:
                    await outer.start()
                    result = await work(db)
                    await outer.commit()
                except (asyncpg.PostgresError, StoreError, *POISON):
                    await self._roll_back(outer)
                    raise
                except BaseException:
                    self.abandon()
                    raise
                return result

    def _opened(self) -> Any:
        if self._db is None or self._db.is_closed():
            raise NotYet(f"{self._address.display}: the connection is lost")
        return self._db

    async def _roll_back(self, outer: Transaction) -> None:
        try:
            async with asyncio.timeout(_ROLLBACK_TIMEOUT_S):
                await outer.rollback()
        except _WORLD:
            self.abandon()


class Readers:
    """A few connections that only read, opened when they are needed."""

    def __init__(self, address: Address) -> None:
        """Make them; nothing is opened before :meth:`run`."""
        self._address = address
        self._pool: Any = None

    async def open(self) -> None:
        """Prepare the pool; raises StoreError."""
        with in_words(self._address.display):
            self._pool = await asyncpg.create_pool(
                self._address.url,
                password=self._address.password(),
                min_size=0,
                max_size=_READERS,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=COMMAND_TIMEOUT_S,
                server_settings=_settings(self._address, _READER_SETTINGS),
                init=_take_times_as_integers,
            )

    async def close(self) -> None:
        """Close them; does nothing if they are not open."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await pool.close()
        except _WORLD:
            pool.terminate()

    async def run(self, work: Callable[[Db], Awaitable[T]]) -> T:
        """Call ``work`` with a connection of its own; raises StoreError."""
        if self._pool is None:
            raise StoreError(f"{self._address.display} is not open")
        with in_words(self._address.display):
            async with self._pool.acquire(timeout=_CONNECT_TIMEOUT_S) as db:
                return await work(db)


async def connect(address: Address) -> Any:
    """Return a plain connection for tools; raises StoreError. Its ``close()`` is the caller's business."""
    with in_words(address.display):
        return await _connect(address, _WRITER_SETTINGS)


async def _connect(address: Address, settings: Mapping[str, str]) -> Any:
    db = await asyncpg.connect(
        address.url,
        password=address.password(),
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=_settings(address, settings),
    )
    await _take_times_as_integers(db)
    return db


def _settings(address: Address, ours: Mapping[str, str]) -> dict[str, str]:
    return dict(ours) | ({"options": address.options} if address.options else {})


async def _close(db: Any) -> None:
    try:
        await db.close(timeout=_CLOSE_TIMEOUT_S)
    except _WORLD:
        db.terminate()


async def _take_times_as_integers(db: Any) -> None:
    await db.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda at: (at - _EPOCH,),
        decoder=lambda value: value[0] + _EPOCH,
    )
