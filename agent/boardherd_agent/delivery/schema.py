"""The tables of a spool database, and how its connection is set up."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from boardherd_shared.values import MAX_INT

VERSION = 1
"""``user_version`` of the file; a file with another one is put aside, not guessed at."""

PAGE = 4096
_MARGIN = 8 * 1024 * 1024
"""How far above its bound the file may grow inside one transaction before SQLite itself says stop."""

# `id` is the order of age over all streams. `state` is pending, acknowledged or parked. `totals` is kept by
# triggers, so that it is right in every transaction and nobody has to count half a million rows.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE envelopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL REFERENCES streams,
    seq INTEGER NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('samples', 'events')),
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acknowledged', 'parked')),
    code TEXT,
    records INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    payload BLOB NOT NULL,
    UNIQUE (stream, seq)
);
CREATE INDEX envelopes_by_state ON envelopes (state, id);
CREATE INDEX envelopes_by_class ON envelopes (class, id);
CREATE TABLE losses (
    carrier INTEGER NOT NULL REFERENCES envelopes,
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    records INTEGER NOT NULL,
    reason TEXT NOT NULL,
    oldest INTEGER,
    newest INTEGER
);
CREATE INDEX losses_by_carrier ON losses (carrier);
CREATE INDEX losses_by_stream ON losses (stream, first);
CREATE TABLE totals (
    class TEXT NOT NULL,
    state TEXT NOT NULL,
    envelopes INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (class, state)
) WITHOUT ROWID;
INSERT INTO totals (class, state)
    SELECT c.column1, s.column1 FROM (VALUES ('samples'), ('events')) c,
        (VALUES ('pending'), ('acknowledged'), ('parked')) s;
CREATE TRIGGER envelope_in AFTER INSERT ON envelopes BEGIN
    UPDATE totals SET envelopes = envelopes + 1, size = size + new.size
        WHERE class = new.class AND state = new.state;
END;
CREATE TRIGGER envelope_out AFTER DELETE ON envelopes BEGIN
    UPDATE totals SET envelopes = envelopes - 1, size = size - old.size
        WHERE class = old.class AND state = old.state;
END;
CREATE TRIGGER envelope_moved AFTER UPDATE OF state ON envelopes WHEN new.state <> old.state BEGIN
    UPDATE totals SET envelopes = envelopes - 1, size = size - old.size
        WHERE class = old.class AND state = old.state;
    UPDATE totals SET envelopes = envelopes + 1, size = size + new.size
        WHERE class = new.class AND state = new.state;
END;
"""


_NONSENSE = f"""
SELECT
    (SELECT count(*) FROM streams
        WHERE length(stream) NOT BETWEEN 16 AND 64 OR stream GLOB '*[^0-9a-f]*'
        OR typeof(last) <> 'integer' OR last NOT BETWEEN 0 AND {MAX_INT})
    + (SELECT count(*) FROM envelopes
        WHERE typeof(seq) <> 'integer' OR seq NOT BETWEEN 1 AND {MAX_INT} OR typeof(created) <> 'integer'
        OR typeof(records) <> 'integer' OR records NOT BETWEEN 0 AND {MAX_INT} OR typeof(size) <> 'integer'
        OR typeof(oldest) <> 'integer' OR oldest NOT BETWEEN 0 AND {MAX_INT}
        OR typeof(newest) <> 'integer' OR newest NOT BETWEEN 0 AND {MAX_INT})
    + (SELECT count(*) FROM losses
        WHERE length(stream) NOT BETWEEN 16 AND 64 OR stream GLOB '*[^0-9a-f]*'
        OR typeof(first) <> 'integer' OR typeof(last) <> 'integer' OR first NOT BETWEEN 1 AND last
        OR last > {MAX_INT} OR typeof(records) <> 'integer' OR records NOT BETWEEN 0 AND {MAX_INT}
        OR typeof(oldest) NOT IN ('integer', 'null') OR typeof(newest) NOT IN ('integer', 'null'))
    + (SELECT count(*) FROM totals WHERE typeof(envelopes) <> 'integer' OR typeof(size) <> 'integer')
    + (SELECT count(*) FROM meta WHERE key IN ('running_time', 'up') AND typeof(value) <> 'integer')
"""  # noqa: S608
"""Counts rows that we cannot have written: SQLite sees damage to its pages, and not to what is on them."""


class ForeignFileError(sqlite3.DatabaseError):
    """The file is intact, but no spool of this version."""


def connect(path: Path | None, max_bytes: int) -> sqlite3.Connection:
    """Open the spool in ``path``, or one in memory, and make its tables if it is new.

    Raises sqlite3.DatabaseError: the file is damaged, is no spool of this version, or cannot be written.
    """
    existed = path is not None and path.exists()
    connection = sqlite3.connect(
        str(path) if path else ":memory:", isolation_level=None, check_same_thread=False
    )
    connection.text_factory = lenient
    try:
        _set_up(connection, max_bytes)
        if existed:
            _inspect(connection)
        else:
            _create(connection)
    except BaseException:
        connection.close()
        if path is not None and not existed:
            path.unlink(missing_ok=True)  # half a file would be taken for a damaged one at the next start
        raise
    return connection


def lenient(text: bytes) -> str:
    """Return a text from a database as it can be read; damage shows by what it then says."""
    return text.decode("utf-8", "replace")


def fault(error: sqlite3.DatabaseError) -> Literal["corrupt", "unwritable"] | None:
    """Return what an error says of the world, or None if it is a fault of our own."""
    if isinstance(error, ForeignFileError):
        return "corrupt"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return "corrupt"
    world = {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
    return "unwritable" if code in world else None


def _set_up(connection: sqlite3.Connection, max_bytes: int) -> None:
    # One connection for ever: SQLite before 3.51.3 can corrupt a WAL that two connections write, and the
    # exclusive mode also keeps the index of the WAL in memory, where a full disk cannot hurt it.
    connection.executescript(
        f"""
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA page_size = {PAGE};
        PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA secure_delete = OFF;
        PRAGMA journal_size_limit = {4 * 1024 * 1024};
        PRAGMA cache_size = -2048;
        PRAGMA temp_store = MEMORY;
        PRAGMA max_page_count = {(max_bytes + _MARGIN) // PAGE};
        """
    )


def _inspect(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise ForeignFileError(f"it is no spool of version {VERSION} (it says {version})")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise ForeignFileError(f"SQLite finds it damaged: {verdict}")
    (rows,) = connection.execute(_NONSENSE).fetchone()
    if rows:
        raise ForeignFileError(f"{rows} of its rows make no sense")


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
