"""Upkeep of the PostgreSQL tables in slices: rolling up, and deleting what is older than is kept."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import time
from collections.abc import Collection

from boardherd_collector.rollups import GAUGES, HEALTH_COLUMNS, HOUR, ROLLUP_COLUMNS, TOPS, verdict_seconds
from boardherd_collector.stores.base import RollUp
from boardherd_collector.stores.postgres import Db
from boardherd_shared.records import Verdict

ROLLUP_VALUES = ", ".join(
    [
        "count(*) AS samples",
        *(
            f"count(*) FILTER (WHERE status = '{status}') AS {column}"
            for column, status in HEALTH_COLUMNS.items()
        ),
        *(
            f"{kind}({gauge}::double precision) AS {gauge}_{kind}"
            for gauge in GAUGES
            for kind in ("avg", "min", "max")
        ),
        *(f"max({top}) AS {top}_max" for top in TOPS),
    ]
)
"""The values of a rollup, in the order of its columns."""
_UPDATES = ", ".join(f"{column} = excluded.{column}" for column in ROLLUP_COLUMNS)
_OWN = {"5 minutes": "pc_stats_5m_own", "1 hour": "pc_stats_1h_own"}
"""The tables of the rollups that the collector makes, by the length of a rollup."""

_SERIES = ("pc_stats", "board_liveness", "relay_states")
"""What was measured."""
_AUDIT = ("events", "boots", "losses")
"""What happened, and who did it; with the commands, whose time has another name."""
_OF = {
    "test_pcs": ("test_pc", ("pc_stats", "pc_stats_5m_own", "pc_stats_1h_own", "events", "commands")),
    "relays": ("relay", ("relay_states",)),
    "boards": ("board", ("board_liveness", "boots", "board_verdict_hours", "board_minutes", "board_usage")),
}
"""Series that are about something, and their indexed column that names it."""


async def roll_up(db: Db, window_from: int, budget_s: float) -> RollUp:
    """Work out due hours anew within the caller's transaction, for as long as the budget allows."""
    enough = time.monotonic() + budget_s
    done = 0
    while done == 0 or time.monotonic() < enough:
        due = await db.fetchrow("SELECT hour, series, thing FROM rollup_queue ORDER BY 1, 2, 3 LIMIT 1")
        if due is None:
            break
        hour, series, thing = due
        again = hour >= window_from
        if series == "pc_stats":
            await roll_up_samples(db, thing, hour, again=again)
        else:
            await roll_up_verdicts(db, thing, hour, again=again)
        await db.execute(
            "DELETE FROM rollup_queue WHERE hour = $1 AND series = $2 AND thing = $3", hour, series, thing
        )
        done += 1
    return RollUp(done, await db.fetchval("SELECT count(*) FROM rollup_queue"))


async def roll_up_samples(db: Db, pc: int, hour: int, *, again: bool) -> None:
    """Make the collector's own rollups of an hour of samples; ``again`` those that are there already."""
    for step, table in _OWN.items():
        await _roll_up_samples(db, table, step, pc, hour, again=again)


async def _roll_up_samples(db: Db, table: str, step: str, pc: int, hour: int, *, again: bool) -> None:
    conflict = f"UPDATE SET {_UPDATES}" if again else "NOTHING"
    await db.execute(
        f"INSERT INTO {table} (test_pc, bucket, {', '.join(ROLLUP_COLUMNS)})"
        f" SELECT test_pc, date_bin('{step}', timestamp, '1970-01-01 00:00:00+00') AS bucket, {ROLLUP_VALUES}"
        " FROM pc_stats WHERE test_pc = $1 AND timestamp >= $2 AND timestamp < $3 GROUP BY test_pc, bucket"
        f" ON CONFLICT (test_pc, bucket) DO {conflict}",
        pc,
        hour,
        hour + HOUR,
    )


async def roll_up_verdicts(db: Db, board: int, hour: int, *, again: bool) -> None:
    """Work out for how long each verdict on a board held in an hour; ``again`` if that was done before."""
    present = await db.fetchval(
        "SELECT EXISTS (SELECT 1 FROM board_verdict_hours WHERE board = $1 AND hour = $2)", board, hour
    )
    if present and not again:
        return
    entries = await db.fetch(
        "SELECT timestamp, verdict FROM board_liveness WHERE board = $1 AND NOT contested AND timestamp < $3"
        " AND timestamp >= coalesce((SELECT max(timestamp) FROM board_liveness"
        " WHERE board = $1 AND NOT contested AND timestamp <= $2), $2) ORDER BY timestamp",
        board,
        hour,
        hour + HOUR,
    )
    seconds = verdict_seconds(
        hour,
        [(at, Verdict(verdict)) for at, verdict in entries],
        await _confirmed(db, board, hour),
        await _confirmed(db, board, hour - HOUR),
    )
    await db.execute("DELETE FROM board_verdict_hours WHERE board = $1 AND hour = $2", board, hour)
    await db.executemany(
        "INSERT INTO board_verdict_hours (board, hour, verdict, seconds) VALUES ($1, $2, $3, $4)",
        [(board, hour, verdict.value, value) for verdict, value in seconds.items()],
    )


async def _confirmed(db: Db, board: int, hour: int) -> int:
    found: int | None = await db.fetchval(
        "SELECT confirmed FROM board_minutes WHERE board = $1 AND hour = $2", board, hour
    )
    return found or 0


async def prune(db: Db, before: int, limit: int, hypertables: Collection[str]) -> int:
    """Delete up to ``limit`` rows of each measured series older than ``before``; return how many went.

    Of ``hypertables`` only chunks that are not compressed lose rows one by one; the others go as a whole.
    The clocks of boots that ended before then go as well, and dead letters.
    """
    gone = await _prune(db, _SERIES, before, limit, hypertables)
    gone += await _delete(db, "board_minutes", "hour < $1", before - HOUR, limit)
    await db.execute("DELETE FROM dead_letters WHERE received_at < $1", before)
    await db.execute(
        "DELETE FROM boot_clocks USING test_pcs AS pc WHERE pc.number = test_pc AND learned_at < $1"
        " AND boot IS DISTINCT FROM pc.hello ->> 'boot'",
        before,
    )
    return gone


async def prune_audit(db: Db, before: int, limit: int, hypertables: Collection[str]) -> int:
    """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``.

    Return how many went. Tombstones go with them: nothing that carries the number of what was deleted is older.
    """
    gone = await _prune(db, _AUDIT, before, limit, hypertables)
    gone += await _delete(db, "commands", "began_at < $1", before, limit)
    await db.execute("DELETE FROM tombstones WHERE deleted_at < $1", before)
    await db.execute("DELETE FROM collector_commands WHERE at < $1", before)
    return gone


async def _prune(
    db: Db, tables: Collection[str], before: int, limit: int, hypertables: Collection[str]
) -> int:
    gone = 0
    for table in tables:
        if table in hypertables:
            gone += await _prune_chunks(db, table, before, limit)
        else:
            gone += await _delete(db, table, "timestamp < $1", before, limit, "ORDER BY timestamp")
    return gone


async def _prune_chunks(db: Db, table: str, before: int, limit: int) -> int:
    gone = 0
    chunks = await db.fetch(
        "SELECT range_start, range_end FROM timescaledb_information.chunks"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND NOT is_compressed"
        " AND range_start < $2 ORDER BY range_start",
        table,
        before,
    )
    for start, end in chunks:
        if gone < limit:
            # Within one chunk a row's place in its file names it; over several it would not.
            span = "timestamp >= $3 AND timestamp < $1 AND timestamp < $4"
            gone += await _delete(db, table, span, before, limit - gone, "ORDER BY timestamp", start, end)
    return gone


async def drop_chunks(db: Db, before: int, hypertables: Collection[str]) -> int:
    """Drop whatever chunk of ``hypertables`` lies before ``before`` as a whole; return how many there were."""
    dropped = 0
    for table in sorted(hypertables):
        dropped += len(
            await db.fetch(f"SELECT drop_chunks('{table}', older_than => $1::timestamptz)", before)
        )
    return dropped


async def prune_rollups(db: Db, before: int, limit: int) -> int:
    """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went."""
    return await _delete(db, "pc_stats_5m_own", "bucket < $1", before, limit, "ORDER BY bucket")


async def forget_deleted(db: Db, limit: int, hypertables: Collection[str]) -> int:
    """Delete up to ``limit`` rows of each series of what a person deleted; return how many went.

    Rows in compressed chunks, and series that can only be searched by time, lose theirs with age; the tombstone
    stays for so long.
    """
    gone = 0
    for entity, number in await db.fetch("SELECT entity, number FROM tombstones ORDER BY 1, 2"):
        column, tables = _OF[entity]
        for table in tables:
            if table in hypertables:
                gone += await _forget_in_chunks(db, table, column, number, limit)
            else:
                gone += await _delete(db, table, f"{column} = $1", number, limit)
        if gone >= limit:
            break
    return gone


async def _forget_in_chunks(db: Db, table: str, column: str, number: int, limit: int) -> int:
    gone = 0
    chunks = await db.fetch(
        "SELECT range_start, range_end FROM timescaledb_information.chunks"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = $1 AND NOT is_compressed"
        " ORDER BY range_start",
        table,
    )
    for start, end in chunks:
        if gone < limit:
            span = f"{column} = $1 AND timestamp >= $3 AND timestamp < $4"
            gone += await _delete(db, table, span, number, limit - gone, "", start, end)
    return gone


async def _delete(db: Db, table: str, where: str, value: int, limit: int, order: str = "", *more: int) -> int:
    tag = await db.execute(
        f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {where} {order} LIMIT $2))"
        f" AND {where}",
        value,
        limit,
        *more,
    )
    return int(tag.rpartition(" ")[2])
