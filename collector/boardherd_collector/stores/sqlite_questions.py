"""What people ask of SQLite about boards, ports and PCs: each question is one indexed query."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Literal

from boardherd_collector.rollups import (
    GAUGES,
    HEALTH_COLUMNS,
    HOUR,
    ROLLUP_COLUMNS,
    STEPS,
    TOP_COLUMNS,
    trend_row,
)
from boardherd_collector.stores.answers import (
    BoardRow,
    CommandRow,
    DiskRow,
    LivenessRow,
    ReportRow,
    Step,
    SummaryRow,
    TrendRow,
)
from boardherd_collector.stores.base import BoardFilter
from boardherd_collector.stores.sqlite_rows import COMMAND_COLUMNS, command_row
from boardherd_collector.times import SECOND

_TIMES = (
    "since", "last_heartbeat_at", "lock_deadline", "error_since", "deactivated_at", "last_sdk_update_at",
    "last_used_at", "wiring_at",
)  # fmt: skip
"""Columns of a board that are times."""
_LOCK = ("lock_owner", "lock_purpose", "lock_deadline")
_BOARD_COLUMNS = tuple(BoardRow.model_fields)


def boards(db: sqlite3.Connection, wanted: BoardFilter) -> list[BoardRow]:
    """Return the boards that are wanted, by id."""
    where, values = _conditions(wanted)
    rows = db.execute(
        f"SELECT {', '.join(_BOARD_COLUMNS)} FROM board_overview AS board WHERE {' AND '.join(where)} ORDER BY id",
        values,
    )
    return [_board(dict(zip(_BOARD_COLUMNS, row, strict=True))) for row in rows]


def _conditions(wanted: BoardFilter) -> tuple[list[str], list[str | float]]:
    where, values = ["retired_at IS NULL"], list[str | float]()
    columns = {
        "id": wanted.board,
        "platform": wanted.platform,
        "test_farm": wanted.test_farm,
        "test_pc": wanted.pc,
    }
    for column, value in columns.items():
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    if wanted.available:
        where.append("can_execute_test")
    if wanted.locked:
        where.append("is_locked")
    if wanted.dead_for_s is not None:
        where.append("NOT is_alive AND blame <> 'nobody' AND since <= (SELECT now FROM clock) - ?")
        values.append(wanted.dead_for_s * SECOND)
    for capability in wanted.capabilities:
        where.append(
            "EXISTS (SELECT 1 FROM capabilities AS able JOIN board_capabilities AS has ON has.capability = able.uuid"
            " WHERE has.board = board.uuid AND able.name = ? AND able.is_active)"
        )
        values.append(capability)
    return where, values


def _board(values: dict[str, Any]) -> BoardRow:
    if not values["is_locked"]:
        values |= dict.fromkeys(_LOCK)
    for name in _TIMES:
        if values[name] is not None:
            values[name] /= SECOND
    return BoardRow.model_validate(values | {"capabilities": json.loads(values["capabilities"])})


def board_history(db: sqlite3.Connection, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
    """Return the history of a board, and before it what held at its beginning."""
    rows = db.execute(
        "SELECT timestamp, pc.id, verdict, blame, reason, since, change, contested FROM board_liveness AS said"
        " JOIN test_pcs AS pc ON pc.number = said.test_pc"
        " WHERE board = (SELECT number FROM boards WHERE id = ?1) AND timestamp >= ifnull("
        " (SELECT max(timestamp) FROM board_liveness WHERE board = (SELECT number FROM boards WHERE id = ?1)"
        " AND NOT contested AND timestamp <= ?2), ?2)"
        " ORDER BY timestamp DESC, said.rowid DESC LIMIT ?3",
        (board, since, limit),
    ).fetchall()
    return [
        LivenessRow(
            timestamp=at / SECOND,
            pc=pc,
            verdict=verdict,
            blame=blame,
            reason=reason,
            since=began / SECOND,
            change=bool(change),
            contested=bool(contested),
        )
        for at, pc, verdict, blame, reason, began, change, contested in reversed(rows)
    ]


def switches(db: sqlite3.Connection, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
    """Return the commands that switched a port, newest first."""
    columns = ", ".join(f"commands.{name}" for name in COMMAND_COLUMNS)
    rows = db.execute(
        f"SELECT pc.id, {columns} FROM commands JOIN speakers AS pc ON pc.number = commands.test_pc"
        " WHERE target IN (SELECT ?1 UNION ALL SELECT 'board/' || boards.id FROM relays"
        " JOIN board_feeds AS feed ON feed.relay = relays.uuid JOIN boards ON boards.uuid = feed.board"
        " WHERE relays.id = ?2 AND feed.relay_number = ?3"
        " UNION ALL SELECT 'line/' || boards.id || '/' || line.name FROM relays"
        " JOIN board_lines AS line ON line.relay = relays.uuid JOIN boards ON boards.uuid = line.board"
        " WHERE relays.id = ?2 AND line.relay_number = ?3)"
        " AND state NOT IN ('accepted', 'refused', 'expired', 'unanswered') ORDER BY began_at DESC LIMIT ?4",
        (f"relay/{relay}/{port}", relay, port, limit),
    )
    return [command_row(row[0], dict(zip(COMMAND_COLUMNS, row[1:], strict=True))) for row in rows]


_DAY = STEPS["1d"]
_DAY_VALUES = ", ".join(
    [
        *(f"sum({column})" for column in ("samples", *HEALTH_COLUMNS)),
        *(
            f"sum({gauge}_avg * samples) / sum(CASE WHEN {gauge}_avg IS NOT NULL THEN samples END),"
            f" min({gauge}_min), max({gauge}_max)"
            for gauge in GAUGES
        ),
        *(f"max({column})" for column in TOP_COLUMNS),
    ]
)
_TRENDS: dict[Step, str] = {
    "5m": f"SELECT bucket, {', '.join(ROLLUP_COLUMNS)} FROM pc_stats_5m WHERE test_pc = {{pc}} AND bucket >= ?",
    "1h": f"SELECT bucket, {', '.join(ROLLUP_COLUMNS)} FROM pc_stats_1h WHERE test_pc = {{pc}} AND bucket >= ?",
    "1d": (
        f"SELECT bucket - bucket % {_DAY} AS day, {_DAY_VALUES} FROM pc_stats_1h"
        " WHERE test_pc = {pc} AND bucket >= ? GROUP BY day"
    ),
}


def host_trend(
    db: sqlite3.Connection, pc: str, since: int, step: Step, limit: int = 10_000
) -> list[TrendRow]:
    """Return the newest rollups of a PC, oldest of them first."""
    rows = db.execute(
        _TRENDS[step].format(pc="(SELECT number FROM test_pcs WHERE id = ?)") + " ORDER BY 1 DESC LIMIT ?",
        (pc, since, limit),
    ).fetchall()
    return [
        trend_row(bucket, dict(zip(ROLLUP_COLUMNS, values, strict=True)))
        for bucket, *values in reversed(rows)
    ]


def summary(db: sqlite3.Connection, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
    """Return how the boards of each group are, by the name of the group."""
    names = tuple(SummaryRow.model_fields)
    rows = db.execute(f"SELECT {by}, {', '.join(names[1:])} FROM board_summary_by_{by} ORDER BY 1")
    return [SummaryRow(**dict(zip(names, row, strict=True))) for row in rows]


_REPORT = """
WITH hours AS (
    SELECT board,
        sum(seconds) FILTER (WHERE verdict IN ('alive', 'degraded')) AS alive,
        sum(seconds) FILTER (WHERE verdict = 'silent') AS dead,
        sum(seconds) FILTER (WHERE verdict = 'powered_off') AS off,
        sum(seconds) FILTER (WHERE verdict IN ('booting', 'unknown')) AS other
    FROM board_verdict_hours WHERE hour >= :first_hour AND hour < :end_hour GROUP BY board
), uses AS (
    SELECT board, sum(min(ended_at, :until) - max(started_at, :since)) / 1e6 AS used
    FROM (
        SELECT board, started_at, ended_at FROM board_usage WHERE ended_at > :since
        UNION ALL SELECT board, started_at, ifnull(deadline, :until) FROM board_usage
        WHERE ended_at IS NULL AND ifnull(deadline, :until) > :since
    )
    WHERE started_at < :until GROUP BY board
), cycles AS (
    SELECT target, count(*) AS ended, sum(state = 'succeeded') AS succeeded FROM commands
    WHERE action = 'cycle' AND began_at >= :since AND began_at < :until
        AND state IN ('succeeded', 'failed', 'interrupted') GROUP BY target
)
SELECT boards.id, boards.name, pc.id, boards.platform, boards.test_farm,
    ifnull(used, 0) / 3600, max(ifnull(alive, 0) - ifnull(used, 0), 0) / 3600, ifnull(alive, 0) / 3600,
    ifnull(dead, 0) / 3600, ifnull(off, 0) / 3600, ifnull(other, 0) / 3600, ifnull(ended, 0), ifnull(succeeded, 0)
FROM boards
LEFT JOIN test_pcs AS pc ON pc.uuid = boards.test_pc
LEFT JOIN hours ON hours.board = boards.number
LEFT JOIN uses ON uses.board = boards.number
LEFT JOIN cycles ON cycles.target = 'board/' || boards.id
WHERE boards.retired_at IS NULL ORDER BY boards.id
"""


def report(db: sqlite3.Connection, since: int, until: int) -> list[ReportRow]:
    """Return what every board did, by id."""
    span: Mapping[str, int] = {
        "since": since,
        "until": until,
        "first_hour": since - since % HOUR,
        "end_hour": until - until % HOUR,
    }
    names = tuple(ReportRow.model_fields)
    return [ReportRow(**dict(zip(names, row, strict=True))) for row in db.execute(_REPORT, span)]


# CROSS JOIN keeps the order of the tables: a few hours of each PC, not all hours that there ever were.
_DISKS = """
WITH points AS (
    SELECT test_pc, (bucket - :since) / 3.6e9 AS x, disk_used_gb_avg AS y
    FROM test_pcs AS pc CROSS JOIN pc_stats_1h AS hour
    WHERE hour.test_pc = pc.number AND bucket >= :since AND disk_used_gb_avg IS NOT NULL
), lines AS (
    SELECT test_pc,
        (count(*) * sum(x * y) - sum(x) * sum(y)) / nullif(count(*) * sum(x * x) - sum(x) * sum(x), 0) AS per_hour
    FROM points GROUP BY test_pc HAVING count(*) >= 3
), filling AS (
    SELECT test_pc, per_hour, current.timestamp, json_extract(current.record, '$.disk_free') / 1e9 AS free
    FROM lines JOIN pc_current AS current USING (test_pc) WHERE per_hour > 1e-9
)
SELECT pc.id, free, per_hour * 24, timestamp / 1e6 + free / per_hour * 3600 AS full_at
FROM filling JOIN test_pcs AS pc ON pc.number = filling.test_pc
WHERE pc.retired_at IS NULL AND free / per_hour * 3600 <= :within ORDER BY full_at
"""


def disks(db: sqlite3.Connection, within_s: float, since: int) -> list[DiskRow]:
    """Return the PCs whose disk fills in time, soonest first."""
    names = tuple(DiskRow.model_fields)
    rows = db.execute(_DISKS, {"since": since, "within": within_s})
    return [DiskRow(**dict(zip(names, row, strict=True))) for row in rows]
