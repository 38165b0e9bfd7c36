"""What can still be read of a damaged spool: every envelope carries its own proof, the digest."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boardherd_shared.messages import digest


@dataclass(frozen=True)
class Survivor:
    """An intact envelope from a damaged spool."""

    stream: str
    seq: int
    class_: str
    state: str
    code: str | None
    records: int
    oldest: int
    newest: int
    payload: bytes


@contextlib.contextmanager
def opened(damaged: Path) -> Iterator[sqlite3.Connection]:
    """Open a damaged database for the functions below; raises sqlite3.DatabaseError."""
    db = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        # Without this SQLite refuses to read anything of a file that is shorter than its header says.
        db.execute("PRAGMA writable_schema = ON")
        yield db
    finally:
        db.close()


def streams(db: sqlite3.Connection) -> dict[str, int]:
    """Return the highest number of each stream; raises sqlite3.DatabaseError if that cannot be read."""
    return dict(db.execute("SELECT stream, last FROM streams ORDER BY id"))


def survivors(db: sqlite3.Connection) -> Iterator[Survivor]:
    """Yield every envelope that can be read and whose bytes fit its digest, the oldest first."""
    at, stride, end = 0, 1, _highest_row(db)
    while at < end:
        try:
            row = db.execute(
                "SELECT id, (SELECT stream FROM streams WHERE streams.id = e.stream), seq, class, state, code,"
                " records, oldest, newest, payload, digest FROM envelopes e WHERE id > ? ORDER BY id LIMIT 1",
                (at,),
            ).fetchone()
        except (sqlite3.DatabaseError, OverflowError):
            # A damaged page hides its neighbours too: leap ahead in growing strides until something answers.
            at, stride = at + stride, stride * 2
            continue
        if row is None:
            return
        at, stride = row[0], 1
        if row[1] is not None and isinstance(row[9], bytes) and digest(row[9]) == row[10]:
            yield Survivor(*row[1:10])


def _highest_row(db: sqlite3.Connection) -> int:
    try:
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'envelopes'").fetchone()
    except sqlite3.DatabaseError:
        return 0
    return int(row[0]) if row else 0
