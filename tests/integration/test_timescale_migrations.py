"""Migrations of PostgreSQL: once, in order, whole, and the same as those of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.migrations import Migration, migrate, migrations
from support.postgres import execute, query
from support.stores import opened_at, timescale_at
from support.telemetry import (
    NOW,
)

OTHER = "c" * 32


ONE = Migration(1, "0001_one.sql", "CREATE TABLE one (a integer);")
TWO = Migration(2, "0002_two.sql", "CREATE TABLE two (a integer); INSERT INTO one VALUES (2);")
_SCHEMA = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"


async def test_each_migration_is_applied_once_in_order(postgres_dsn: str) -> None:
    await opened_at(postgres_dsn, ONE)
    await opened_at(postgres_dsn, ONE, TWO)
    await opened_at(postgres_dsn, ONE, TWO)
    assert await query(postgres_dsn, "SELECT a FROM one") == [(2,)]
    assert await query(postgres_dsn, "SELECT number, name FROM schema_migrations") == [
        (1, "0001_one.sql"),
        (2, "0002_two.sql"),
    ]


async def test_a_failing_migration_leaves_nothing_behind(postgres_dsn: str) -> None:
    await opened_at(postgres_dsn, ONE)
    before = await query(postgres_dsn, _SCHEMA)
    bad = Migration(2, "0002_bad.sql", "CREATE TABLE two (a integer); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(StoreError, match=r'0002_bad\.sql failed, nothing of it was kept: relation "nowhere"'):
        await opened_at(postgres_dsn, ONE, bad)
    assert await query(postgres_dsn, _SCHEMA) == before
    await opened_at(postgres_dsn, ONE, TWO)


async def test_a_database_that_is_not_ours_to_change_is_refused_unchanged(postgres_dsn: str) -> None:
    await opened_at(postgres_dsn, ONE, TWO)
    before = await query(postgres_dsn, _SCHEMA)
    with pytest.raises(StoreError, match=r"newer boardherd: it has 0002_two\.sql, this one knows 1 "):
        await opened_at(postgres_dsn, ONE)
    with pytest.raises(StoreError, match=r"made with another 0001_one\.sql"):
        await opened_at(postgres_dsn, Migration(1, ONE.name, ONE.sql + " -- better"), TWO)
    assert await query(postgres_dsn, _SCHEMA) == before
    await execute(postgres_dsn, "DROP TABLE one, two, schema_migrations", "CREATE TABLE recipes (name text)")
    with pytest.raises(StoreError, match="belongs to another program"):
        await opened_at(postgres_dsn, ONE)
    assert await query(postgres_dsn, _SCHEMA) == [("recipes",)]


def test_both_dialects_have_the_same_migrations() -> None:
    assert [step.name for step in migrations("timescale")] == [step.name for step in migrations("sqlite")]


async def test_both_dialects_have_the_same_tables_views_and_columns(postgres_dsn: str) -> None:
    """Names are the same everywhere, and in the same places; what PostgreSQL keeps beside is named ``_own``."""
    async with timescale_at(postgres_dsn):
        pass
    there = await query(
        postgres_dsn,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name NOT LIKE '%\\_own'",
    )
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, migrations(), NOW)
        here = db.execute(
            "SELECT thing.name, col.name FROM sqlite_master AS thing, pragma_table_xinfo(thing.name) AS col"
            " WHERE thing.type IN ('table', 'view') AND thing.name NOT LIKE 'sqlite_%'"
        ).fetchall()
    assert sorted(there) == sorted(here)
