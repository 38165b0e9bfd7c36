"""What people ask of PostgreSQL about boards, ports and PCs: each question is one indexed query."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

from typing import Any, Literal

from boardherd_collector.rollups import GAUGES, HEALTH_COLUMNS, HOUR, ROLLUP_COLUMNS, TOP_COLUMNS, trend_row
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
from boardherd_collector.stores.postgres import Db, Row
from boardherd_collector.stores.timescale_rows import COMMANDS, command_row
from boardherd_collector.times import SECOND

_TIMES = (
    "since", "last_heartbeat_at", "lock_deadline", "error_since", "deactivated_at", "last_sdk_update_at",
    "last_used_at", "wiring_at",
)  # fmt: skip
"""Columns of a board that are times."""
_LOCK = ("lock_owner", "lock_purpose", "lock_deadline")
_BOARD = ", ".join(BoardRow.model_fields)


async def boards(db: Db, wanted: BoardFilter) -> list[BoardRow]:
    """Return the boards that are wanted, by id."""
    where, values = _conditions(wanted)
    rows = await db.fetch(
        f"SELECT {_BOARD} FROM board_overview AS board WHERE {' AND '.join(where)} ORDER BY id", *values
    )
    return [_board(row) for row in rows]


def _conditions(wanted: BoardFilter) -> tuple[list[str], list[object]]:
    where, values = ["retired_at IS NULL"], list[object]()

    def put(condition: str, value: object) -> None:
        values.append(value)
        where.append(condition.format(f"${len(values)}"))

    columns = {
        "id": wanted.board,
        "platform": wanted.platform,
        "test_farm": wanted.test_farm,
        "test_pc": wanted.pc,
    }
    for column, value in columns.items():
        if value is not None:
            put(column + " = {}", value)
    if wanted.available:
        where.append("can_execute_test")
    if wanted.locked:
        where.append("is_locked")
    if wanted.dead_for_s is not None:
        put(
            "NOT is_alive AND blame <> 'nobody'"
            " AND since <= statement_timestamp() - {}::double precision * interval '1 s'",
            wanted.dead_for_s,
        )
    for capability in wanted.capabilities:
        put(
            "EXISTS (SELECT 1 FROM capabilities AS able JOIN board_capabilities AS has ON has.capability = able.uuid"
            " WHERE has.board = board.uuid AND able.name = {} AND able.is_active)",
            capability,
        )
    return where, values


def _board(row: Row) -> BoardRow:
    values: dict[str, Any] = dict(row.items())
    if not values["is_locked"]:
        values |= dict.fromkeys(_LOCK)
    for name in _TIMES:
        if values[name] is not None:
            values[name] /= SECOND
    return BoardRow.model_validate(values)


async def board_history(db: Db, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
    """Return the history of a board, and before it what held at its beginning."""
    rows = await db.fetch(
        "SELECT timestamp, pc.id, verdict, blame, reason, since, change, contested FROM board_liveness AS said"
        " JOIN test_pcs AS pc ON pc.number = said.test_pc"
        " WHERE board = (SELECT number FROM boards WHERE id = $1) AND timestamp >= coalesce("
        " (SELECT max(timestamp) FROM board_liveness WHERE board = (SELECT number FROM boards WHERE id = $1)"
        " AND NOT contested AND timestamp <= $2), $2)"
        " ORDER BY timestamp DESC LIMIT $3",
        board,
        since,
        limit,
    )
    return [
        LivenessRow(
            timestamp=at / SECOND,
            pc=pc,
            verdict=verdict,
            blame=blame,
            reason=reason,
            since=began / SECOND,
            change=change,
            contested=contested,
        )
        for at, pc, verdict, blame, reason, began, change, contested in reversed(rows)
    ]


async def switches(db: Db, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
    """Return the commands that switched a port, newest first."""
    columns = ", ".join(f"commands.{name}" for name in COMMANDS[1:])
    rows = await db.fetch(
        f"SELECT pc.id AS pc, {columns} FROM commands JOIN speakers AS pc ON pc.number = commands.test_pc"
        " WHERE target = ANY (ARRAY(SELECT $1 UNION ALL SELECT 'board/' || boards.id FROM relays"
        " JOIN board_feeds AS feed ON feed.relay = relays.uuid JOIN boards ON boards.uuid = feed.board"
        " WHERE relays.id = $2 AND feed.relay_number = $3"
        " UNION ALL SELECT 'line/' || boards.id || '/' || line.name FROM relays"
        " JOIN board_lines AS line ON line.relay = relays.uuid JOIN boards ON boards.uuid = line.board"
        " WHERE relays.id = $2 AND line.relay_number = $3))"
        " AND state NOT IN ('accepted', 'refused', 'expired', 'unanswered') ORDER BY began_at DESC LIMIT $4",
        f"relay/{relay}/{port}",
        relay,
        port,
        limit,
    )
    return [command_row(row) for row in rows]


_DAY_VALUES = ", ".join(
    [
        *(f"sum({column})::bigint AS {column}" for column in ("samples", *HEALTH_COLUMNS)),
        *(
            f"sum({gauge}_avg * samples) / sum(samples) FILTER (WHERE {gauge}_avg IS NOT NULL) AS {gauge}_avg,"
            f" min({gauge}_min) AS {gauge}_min, max({gauge}_max) AS {gauge}_max"
            for gauge in GAUGES
        ),
        *(f"max({column}) AS {column}" for column in TOP_COLUMNS),
    ]
)
_OF_PC = "WHERE test_pc = (SELECT number FROM test_pcs WHERE id = $1) AND bucket >= $2"
_TRENDS: dict[Step, str] = {
    "5m": f"SELECT bucket, {', '.join(ROLLUP_COLUMNS)} FROM pc_stats_5m {_OF_PC}",
    "1h": f"SELECT bucket, {', '.join(ROLLUP_COLUMNS)} FROM pc_stats_1h {_OF_PC}",
    "1d": (
        f"SELECT date_bin('1 day', bucket, '1970-01-01 00:00:00+00') AS day, {_DAY_VALUES}"
        f" FROM pc_stats_1h {_OF_PC} GROUP BY day"
    ),
}


async def host_trend(db: Db, pc: str, since: int, step: Step, limit: int = 10_000) -> list[TrendRow]:
    """Return the newest rollups of a PC, oldest of them first."""
    rows = await db.fetch(f"{_TRENDS[step]} ORDER BY 1 DESC LIMIT $3", pc, since, limit)
    return [trend_row(row[0], dict(row.items())) for row in reversed(rows)]


async def summary(db: Db, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
    """Return how the boards of each group are, by the name of the group."""
    names = tuple(SummaryRow.model_fields)
    rows = await db.fetch(
        f"SELECT {by}, {', '.join(names[1:])} FROM board_summary_by_{by} ORDER BY 1 NULLS FIRST"
    )
    return [SummaryRow(**dict(zip(names, row, strict=True))) for row in rows]


_REPORT = """
WITH hours AS (
    SELECT board,
        sum(seconds) FILTER (WHERE verdict IN ('alive', 'degraded')) AS alive,
        sum(seconds) FILTER (WHERE verdict = 'silent') AS dead,
        sum(seconds) FILTER (WHERE verdict = 'powered_off') AS off,
        sum(seconds) FILTER (WHERE verdict IN ('booting', 'unknown')) AS other
    FROM board_verdict_hours WHERE hour >= $3 AND hour < $4 GROUP BY board
), uses AS (
    SELECT board, sum(
        extract(epoch FROM least(ended_at, deadline, $2) - greatest(started_at, $1))
    )::double precision AS used
    FROM board_usage
    WHERE (ended_at > $1 OR (ended_at IS NULL AND coalesce(deadline, $2) > $1)) AND started_at < $2 GROUP BY board
), cycles AS (
    SELECT target, count(*) AS ended, count(*) FILTER (WHERE state = 'succeeded') AS succeeded FROM commands
    WHERE action = 'cycle' AND began_at >= $1 AND began_at < $2
        AND state IN ('succeeded', 'failed', 'interrupted') GROUP BY target
)
SELECT boards.id, boards.name, pc.id, boards.platform, boards.test_farm,
    coalesce(used, 0) / 3600, greatest(coalesce(alive, 0) - coalesce(used, 0), 0) / 3600, coalesce(alive, 0) / 3600,
    coalesce(dead, 0) / 3600, coalesce(off, 0) / 3600, coalesce(other, 0) / 3600,
    coalesce(ended, 0), coalesce(succeeded, 0)
FROM boards
LEFT JOIN test_pcs AS pc ON pc.uuid = boards.test_pc
LEFT JOIN hours ON hours.board = boards.number
LEFT JOIN uses ON uses.board = boards.number
LEFT JOIN cycles ON cycles.target = 'board/' || boards.id
WHERE boards.retired_at IS NULL ORDER BY boards.id
"""


async def report(db: Db, since: int, until: int) -> list[ReportRow]:
    """Return what every board did, by id."""
    names = tuple(ReportRow.model_fields)
    rows = await db.fetch(_REPORT, since, until, since - since % HOUR, until - until % HOUR)
    return [ReportRow(**dict(zip(names, row, strict=True))) for row in rows]


_DISKS = """
WITH points AS (
    SELECT test_pc, extract(epoch FROM bucket - $1)::double precision / 3600 AS x, disk_used_gb_avg AS y
    FROM pc_stats_1h WHERE bucket >= $1 AND disk_used_gb_avg IS NOT NULL
), lines AS (
    SELECT test_pc, regr_slope(y, x) AS per_hour FROM points GROUP BY test_pc HAVING count(*) >= 3
), filling AS (
    SELECT test_pc, per_hour, current.timestamp, (current.record ->> 'disk_free')::double precision / 1e9 AS free
    FROM lines JOIN pc_current AS current USING (test_pc) WHERE per_hour > 1e-9
)
SELECT pc.id, free, per_hour * 24, extract(epoch FROM timestamp)::double precision + free / per_hour * 3600 AS full_at
FROM filling JOIN test_pcs AS pc ON pc.number = filling.test_pc
WHERE pc.retired_at IS NULL AND free / per_hour * 3600 <= $2 ORDER BY full_at
"""


async def disks(db: Db, within_s: float, since: int) -> list[DiskRow]:
    """Return the PCs whose disk fills in time, soonest first."""
    names = tuple(DiskRow.model_fields)
    rows = await db.fetch(_DISKS, since, within_s)
    return [DiskRow(**dict(zip(names, row, strict=True))) for row in rows]
