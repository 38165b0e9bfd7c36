"""Migrations of the SQLite store: forward only, all or nothing, and refused in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.migrations import Migration, migrate, migrations, read_migrations, statements

ONE = Migration(1, "0001_one.sql", "CREATE TABLE one (a INTEGER);")
TWO = Migration(2, "0002_two.sql", "CREATE TABLE two (a INTEGER); INSERT INTO one VALUES (2);")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    yield connection
    connection.close()


def schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_each_migration_is_applied_once_in_order(db: sqlite3.Connection) -> None:
    assert migrate(db, [ONE], 5) == 1
    assert migrate(db, [ONE, TWO], 6) == 1
    assert migrate(db, [ONE, TWO], 7) == 0
    assert db.execute("SELECT a FROM one").fetchall() == [(2,)]
    assert db.execute("SELECT number, applied_at FROM schema_migrations").fetchall() == [(1, 5), (2, 6)]


def test_the_database_of_a_newer_program_is_refused_unchanged(db: sqlite3.Connection) -> None:
    migrate(db, [ONE, TWO], 5)
    before = schema(db)
    with pytest.raises(StoreError, match=r"newer boardherd: it has 0002_two\.sql, this one knows 1 "):
        migrate(db, [ONE], 6)
    assert schema(db) == before


def test_a_migration_that_was_changed_afterwards_is_refused(db: sqlite3.Connection) -> None:
    migrate(db, [ONE], 5)
    with pytest.raises(StoreError, match=r"made with another 0001_one\.sql"):
        migrate(db, [Migration(1, ONE.name, ONE.sql + " -- better"), TWO], 6)
    assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'two'").fetchall()


def test_a_database_of_something_else_is_left_alone(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE recipes (name TEXT)")
    before = schema(db)
    with pytest.raises(StoreError, match="belongs to another program"):
        migrate(db, [ONE], 5)
    assert schema(db) == before


def test_a_failing_migration_leaves_nothing_behind(db: sqlite3.Connection) -> None:
    migrate(db, [ONE], 5)
    before = schema(db)
    bad = Migration(2, "0002_bad.sql", "CREATE TABLE two (a INTEGER); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(
        StoreError, match=r"0002_bad\.sql failed, nothing of it was kept: no such table: nowhere"
    ):
        migrate(db, [ONE, bad], 6)
    assert schema(db) == before
    assert not db.in_transaction
    assert migrate(db, [ONE, TWO], 7) == 1


def test_statements_are_split_where_they_end_and_not_inside() -> None:
    sql = """
    -- a comment; with a semicolon
    CREATE TABLE a (b TEXT DEFAULT ';');
    CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; SELECT 1; END;
    -- the end
    """
    found = list(statements(sql))
    assert [piece.split("(")[0].split()[-3:] for piece in found] == [
        ["CREATE", "TABLE", "a"],
        ["SELECT", "1;", "END;"],
    ]


def test_a_statement_without_an_end_is_refused() -> None:
    with pytest.raises(StoreError, match="in the middle of a statement: 'CREATE TABLE a"):
        list(statements("CREATE TABLE a (b TEXT"))


def test_numbers_have_no_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0003_b.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="gap"):
        read_migrations(tmp_path)


def test_our_own_make_a_sound_schema(db: sqlite3.Connection) -> None:
    assert migrate(db, migrations(), 5) == len(migrations()) >= 4
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for name, kind in db.execute("SELECT name, type FROM sqlite_master").fetchall():
        if kind == "view":
            db.execute(f"SELECT * FROM {name}").fetchall()
