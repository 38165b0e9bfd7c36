"""Brings a PostgreSQL database to the schema of this program, by the same rules as the embedded one."""

from __future__ import annotations

from collections.abc import Sequence

from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.migrations import Migration, applied_numbers
from boardherd_collector.stores.postgres import LONG_S, REFUSED, Db, kind_of, transaction

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('boardherd migrations'), hashtext(current_schema()))"
_BOOK = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer NOT NULL PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL
)
"""


async def migrate(db: Db, steps: Sequence[Migration], now: int) -> int:
    """Apply what of ``steps`` is missing, each in its own transaction; return how many that were.

    Raises StoreError, in words, for a database that was made by a newer program, by something else, or by
    other migrations than these; then nothing was changed. When a migration fails, the database is as it was
    before that one.
    """
    await _refuse_strangers(db)
    applied = 0
    for step in steps:
        async with transaction(db):
            # Looked up under the lock each time: another process may have been faster.
            await db.execute(_LOCK)
            await db.execute(_BOOK)
            rows = await db.fetch("SELECT number, name, sha256 FROM schema_migrations")
            if step.number not in applied_numbers([tuple(row) for row in rows], steps):
                await _apply(db, step, now)
                applied += 1
    return applied


async def _refuse_strangers(db: Db) -> None:
    tables = {
        row[0]
        for row in await db.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_depend"
            " WHERE objid = pg_class.oid AND deptype = 'e')"
        )
    }
    if tables and "schema_migrations" not in tables:
        raise StoreError("the database belongs to another program: it has tables, and none of boardherd's")


async def _apply(db: Db, step: Migration, now: int) -> None:
    try:
        await db.execute(step.sql, timeout=LONG_S)
    except REFUSED as error:
        raise kind_of(error)(f"migration {step.name} failed, nothing of it was kept: {error}") from error
    await db.execute(
        "INSERT INTO schema_migrations (number, name, sha256, applied_at) VALUES ($1, $2, $3, $4)",
        step.number,
        step.name,
        step.sha256,
        now,
    )
