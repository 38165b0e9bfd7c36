"""Brings a database to the schema of this program: numbered SQL files, forward only, never changed.

Here are the rules, and how SQLite keeps them; PostgreSQL has a module of its own.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from boardherd_collector.stores.base import StoreError
from boardherd_collector.stores.sqlite_connection import kind_of

_NAME = re.compile(r"(\d{4})_\w+\.sql")
_BOOK = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     INTEGER NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT
"""


_APPLIED = "SELECT number, name, sha256 FROM schema_migrations"


@dataclass(frozen=True)
class Migration:
    """One step from a schema to the next."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The fingerprint by which a later change of the file is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(dialect: str = "sqlite") -> list[Migration]:
    """Return the migrations that belong to this program, in order."""
    return read_migrations(resources.files("boardherd_collector.stores") / "sql" / dialect)


def read_migrations(directory: Traversable) -> list[Migration]:
    """Return the migrations in ``directory``, in order; ValueError if their numbers are not 1, 2, 3, ..."""
    found = sorted(file.name for file in directory.iterdir() if _NAME.fullmatch(file.name))
    result = [
        Migration(int(name[:4]), name, (directory / name).read_text(encoding="utf-8")) for name in found
    ]
    if [step.number for step in result] != list(range(1, len(result) + 1)):
        raise ValueError(f"the numbers of the migrations have a gap or a double: {found}")
    return result


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration], now: int) -> int:
    """Apply what of ``steps`` is missing, each in its own transaction; return how many that were.

    ``connection`` must be in autocommit mode. Raises StoreError, in words, for a database that was made by
    a newer program, by something else, or by other migrations than these; then nothing was changed. When a
    migration fails, the database is as it was before that one.
    """
    _refuse_strangers(connection)
    applied = 0
    for step in steps:
        # Looked up under the write lock each time: another process may have been faster.
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(_BOOK)
            if step.number not in applied_numbers(connection.execute(_APPLIED), steps):
                _apply(connection, step, now)
                applied += 1
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return applied


def statements(sql: str) -> Iterator[str]:
    """Yield the statements of ``sql`` one by one, triggers in one piece.

    The standard library's ``executescript`` would commit the open transaction first.
    """
    statement = ""
    for piece in re.split(r"(?<=;)", sql):
        statement += piece
        if sqlite3.complete_statement(statement):
            if _without_comments(statement):
                yield statement.strip()
            statement = ""
    if _without_comments(statement):
        raise StoreError(f"a migration ends in the middle of a statement: {statement.strip()[:60]!r}")


def _without_comments(sql: str) -> str:
    return re.sub(r"--[^\n]*", "", sql).strip(" \t\r\n;")


def _refuse_strangers(connection: sqlite3.Connection) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "schema_migrations" not in tables:
        raise StoreError("the database belongs to another program: it has tables, and none of boardherd's")


def applied_numbers(rows: Iterable[tuple[int, str, str]], steps: Sequence[Migration]) -> set[int]:
    """Return the numbers that were applied; StoreError when they are not a beginning of ``steps``.

    ``rows`` is the book of the database: number, name and fingerprint of each.
    """
    known = {step.number: step for step in steps}
    applied = set()
    for number, name, sha256 in rows:
        step = known.get(number)
        if step is None:
            raise StoreError(
                f"the database was made by a newer boardherd: it has {name}, "
                f"this one knows {len(known)} migrations; install that version or restore a backup"
            )
        if step.sha256 != sha256:
            raise StoreError(
                f"the database was made with another {step.name} than this program has; "
                "install the version that made it or restore a backup"
            )
        applied.add(number)
    return applied


def _apply(connection: sqlite3.Connection, step: Migration, now: int) -> None:
    try:
        for statement in statements(step.sql):
            connection.execute(statement)
    except sqlite3.Error as error:
        raise kind_of(error)(f"migration {step.name} failed, nothing of it was kept: {error}") from error
    connection.execute(
        "INSERT INTO schema_migrations (number, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
        (step.number, step.name, step.sha256, now),
    )
