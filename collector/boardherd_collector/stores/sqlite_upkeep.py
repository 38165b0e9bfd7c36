"""Upkeep of the SQLite tables in slices: rolling up, and deleting what is older than is kept."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import sqlite3
import time

from boardherd_collector.rollups import (
    GAUGES,
    HEALTH_COLUMNS,
    HOUR,
    ROLLUP_COLUMNS,
    STEPS,
    TOPS,
    verdict_seconds,
)
from boardherd_collector.stores.base import RollUp
from boardherd_shared.records import Verdict

_TABLES = {STEPS["5m"]: "pc_stats_5m", STEPS["1h"]: "pc_stats_1h"}
_VALUES = ", ".join(
    [
        "count(*)",
        *(f"sum(status = '{status}')" for status in HEALTH_COLUMNS.values()),
        *(f"avg({gauge}), min({gauge}), max({gauge})" for gauge in GAUGES),
        *(f"max({top})" for top in TOPS),
    ]
)
_UPDATES = ", ".join(f"{column} = excluded.{column}" for column in ROLLUP_COLUMNS)

_SERIES = ("pc_stats", "board_liveness", "relay_states")
"""What was measured."""
_AUDIT = ("events", "boots", "losses")
"""What happened, and who did it; with the commands, whose time has another name."""
_OF = {
    "test_pcs": ("test_pc", ("pc_stats", "pc_stats_5m", "pc_stats_1h", "events")),
    "relays": ("relay", ("relay_states",)),
    "boards": ("board", ("board_liveness", "boots", "board_verdict_hours", "board_minutes", "board_usage")),
}
"""Series that are about something, and their indexed column that names it."""
_KEYS = {
    "pc_stats_5m": "test_pc, bucket",
    "pc_stats_1h": "test_pc, bucket",
    "board_verdict_hours": "board, hour, verdict",
    "board_minutes": "board, hour",
    "commands": "test_pc, id",
}
"""Primary keys of the tables that have no rowid."""


def roll_up(db: sqlite3.Connection, window_from: int, budget_s: float) -> RollUp:
    """Work out due hours anew within the caller's transaction, for as long as the budget allows."""
    enough = time.monotonic() + budget_s
    done = 0
    while done == 0 or time.monotonic() < enough:
        due = db.execute("SELECT series, thing, hour FROM rollup_queue ORDER BY hour LIMIT 1").fetchone()
        if due is None:
            break
        series, thing, hour = due
        again = hour >= window_from
        if series == "pc_stats":
            for step, table in _TABLES.items():
                _roll_up_samples(db, table, step, thing, hour, again=again)
        else:
            _roll_up_verdicts(db, thing, hour, again=again)
        db.execute("DELETE FROM rollup_queue WHERE series = ? AND thing = ? AND hour = ?", due)
        done += 1
    left = db.execute("SELECT count(*) FROM rollup_queue").fetchone()[0]
    return RollUp(done, int(left))


def _roll_up_samples(
    db: sqlite3.Connection, table: str, step: int, pc: int, hour: int, *, again: bool
) -> None:
    conflict = f"UPDATE SET {_UPDATES}" if again else "NOTHING"
    db.execute(
        f"INSERT INTO {table} (test_pc, bucket, {', '.join(ROLLUP_COLUMNS)})"
        f" SELECT test_pc, timestamp - timestamp % {step} AS bucket, {_VALUES} FROM pc_stats"
        " WHERE test_pc = ? AND timestamp >= ? AND timestamp < ? GROUP BY bucket"
        f" ON CONFLICT (test_pc, bucket) DO {conflict}",
        (pc, hour, hour + HOUR),
    )


def _roll_up_verdicts(db: sqlite3.Connection, board: int, hour: int, *, again: bool) -> None:
    present = db.execute(
        "SELECT 1 FROM board_verdict_hours WHERE board = ? AND hour = ? LIMIT 1", (board, hour)
    ).fetchone()
    if present and not again:
        return
    entries = db.execute(
        "SELECT timestamp, verdict FROM board_liveness WHERE board = ?1 AND NOT contested AND timestamp < ?3"
        " AND timestamp >= ifnull((SELECT max(timestamp) FROM board_liveness"
        " WHERE board = ?1 AND NOT contested AND timestamp <= ?2), ?2) ORDER BY timestamp, rowid",
        (board, hour, hour + HOUR),
    ).fetchall()
    seconds = verdict_seconds(
        hour,
        [(at, Verdict(verdict)) for at, verdict in entries],
        _confirmed(db, board, hour),
        _confirmed(db, board, hour - HOUR),
    )
    db.execute("DELETE FROM board_verdict_hours WHERE board = ? AND hour = ?", (board, hour))
    db.executemany(
        "INSERT INTO board_verdict_hours (board, hour, verdict, seconds) VALUES (?, ?, ?, ?)",
        [(board, hour, verdict.value, value) for verdict, value in seconds.items()],
    )


def _confirmed(db: sqlite3.Connection, board: int, hour: int) -> int:
    row = db.execute(
        "SELECT confirmed FROM board_minutes WHERE board = ? AND hour = ?", (board, hour)
    ).fetchone()
    return 0 if row is None else int(row[0])


def prune(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete up to ``limit`` rows of each measured series older than ``before``; return how many went.

    The clocks of boots that ended before then go as well, and dead letters.
    """
    gone = sum(_delete(db, table, "timestamp < ?", before, limit, "ORDER BY timestamp") for table in _SERIES)
    gone += _delete(db, "board_minutes", "hour < ?", before - HOUR, limit)
    db.execute("DELETE FROM dead_letters WHERE received_at < ?", (before,))
    db.execute(
        "DELETE FROM boot_clocks WHERE learned_at < ? AND boot IS NOT"
        " (SELECT json_extract(hello, '$.boot') FROM test_pcs WHERE number = test_pc)",
        (before,),
    )
    return gone


def prune_audit(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``.

    Return how many went. Tombstones go with them: nothing that carries the number of what was deleted is older.
    """
    gone = sum(_delete(db, table, "timestamp < ?", before, limit, "ORDER BY timestamp") for table in _AUDIT)
    gone += _delete(db, "commands", "began_at < ?", before, limit)
    db.execute("DELETE FROM tombstones WHERE deleted_at < ?", (before,))
    db.execute("DELETE FROM collector_commands WHERE at < ?", (before,))
    return gone


def prune_rollups(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went."""
    return _delete(db, "pc_stats_5m", "bucket < ?", before, limit, "ORDER BY bucket")


def forget_deleted(db: sqlite3.Connection, limit: int) -> int:
    """Delete up to ``limit`` rows of each series of what a person deleted; return how many went.

    Series that can only be searched by time lose theirs with age; the tombstone stays for so long.
    """
    gone = 0
    for entity, number in db.execute("SELECT entity, number FROM tombstones ORDER BY 1, 2").fetchall():
        column, tables = _OF[entity]
        for table in tables:
            gone += _delete(db, table, f"{column} = ?", number, limit)
        if entity == "test_pcs":
            gone += _delete(db, "commands", "test_pc = ?", number, limit)
        if gone >= limit:
            break
    return gone


def _delete(db: sqlite3.Connection, table: str, where: str, value: int, limit: int, order: str = "") -> int:
    key = _KEYS.get(table, "rowid")
    return db.execute(
        f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} {order} LIMIT ?)",
        (value, limit),
    ).rowcount
