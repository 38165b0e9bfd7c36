"""Who has a board, as SQLite keeps it: read before a word about it is taken, written after."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from boardherd_collector.holdings import Holding
from boardherd_collector.stores.holding_rows import (
    BOARD_COLUMNS,
    USE_COLUMNS,
    board_values,
    changed,
    holding,
    use_rows,
)

_BOARD = (
    f"SELECT {', '.join(BOARD_COLUMNS)}, min(current.timestamp, current.received_at) FROM boards"
    " LEFT JOIN board_current AS current ON current.board = boards.number WHERE boards.number = ?"
)
_USES = (
    f"SELECT {', '.join(USE_COLUMNS)} FROM board_usage"
    " WHERE board = ? AND lock_id IS NOT NULL AND (ended_at IS NULL OR lock_id = ?)"
)
_SET_BOARD = (
    f"UPDATE boards SET {', '.join(f'{name} = :{name}' for name in BOARD_COLUMNS)} WHERE number = :number"
)
_PUT_USE = (
    f"INSERT INTO board_usage (board, {', '.join(USE_COLUMNS)})"
    f" VALUES (:board, {', '.join(f':{name}' for name in USE_COLUMNS)}) ON CONFLICT (board, lock_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in USE_COLUMNS if name != "lock_id")
)


@contextmanager
def changing(db: sqlite3.Connection, board: int, lock_id: str | None) -> Iterator[Holding]:
    """Yield what is known of a board and of the lock that a word is about; keep what became of it."""
    row = db.execute(_BOARD, (board,)).fetchone()
    columns = dict(zip(BOARD_COLUMNS, row, strict=False))
    asked = lock_id is not None or columns["lock_id"] is not None
    uses = _uses(db, board, lock_id) if asked else []
    known = holding(columns, row[-1], uses)
    before = board_values(known)
    yield known
    after = board_values(known)
    if changed(before, after) or (lock_id is not None and known.told_at != before["lock_told_at"]):
        db.execute(_SET_BOARD, after | {"number": board})
    rows = use_rows(known)
    _put(db, board, [use for use in rows if use not in uses])


def _uses(db: sqlite3.Connection, board: int, lock_id: str | None) -> list[dict[str, object]]:
    rows = db.execute(_USES, (board, lock_id)).fetchall()
    return [dict(zip(USE_COLUMNS, row, strict=True)) for row in rows]


def _put(db: sqlite3.Connection, board: int, uses: Collection[dict[str, object]]) -> None:
    db.executemany(_PUT_USE, [{"board": board, **use} for use in uses])
