"""Rollups of samples by TimescaleDB's continuous aggregates, and what the collector has to see to.

The jobs of the extension materialize what is finished; what they have not come to yet is worked out when it is
read. Late samples are materialized by the collector at once. What lies before the window of the jobs is touched
by nobody, since a refresh over raw rows that are gone would delete the rollup: a sample that comes for such an
hour all the same makes a rollup of the collector's own, if there is none yet.
"""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import time

from boardherd_collector.rollups import HOUR, ROLLUP_COLUMNS
from boardherd_collector.stores.base import RollUp
from boardherd_collector.stores.postgres import LONG_S, Db, transaction
from boardherd_collector.stores.timescale_upkeep import ROLLUP_VALUES, roll_up_samples, roll_up_verdicts

_AGGREGATES = {"5m": "5 minutes", "1h": "1 hour"}
_EXISTS = (
    "SELECT EXISTS (SELECT 1 FROM timescaledb_information.continuous_aggregates"
    " WHERE view_schema = current_schema() AND view_name = $1)"
)


async def make_aggregates(db: Db) -> None:
    """Make the continuous aggregates that are missing, still empty."""
    new = False
    for name, width in _AGGREGATES.items():
        if await db.fetchval(_EXISTS, f"pc_stats_{name}_auto"):
            continue
        new = True
        # Buckets in UTC without the name of a zone; filled by hand afterwards, which no transaction allows.
        await db.execute(
            f"CREATE MATERIALIZED VIEW pc_stats_{name}_auto"
            " WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
            f" SELECT test_pc, time_bucket(interval '{width}', timestamp) AS bucket, {ROLLUP_VALUES}"
            " FROM pc_stats GROUP BY 1, 2 WITH NO DATA"
        )
        columns = ", ".join(("test_pc", "bucket", *ROLLUP_COLUMNS))
        await db.execute(
            f"CREATE OR REPLACE VIEW pc_stats_{name} AS SELECT {columns} FROM pc_stats_{name}_own"
            f" UNION ALL SELECT {columns} FROM pc_stats_{name}_auto AS auto"
            f" WHERE NOT EXISTS (SELECT 1 FROM pc_stats_{name}_own AS own"
            " WHERE own.test_pc = auto.test_pc AND own.bucket = auto.bucket)"
        )
    if new:
        await db.execute(
            "INSERT INTO settings (name, value) VALUES ('aggregates', 'empty')"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )


_SPAN = """
SELECT ARRAY[
    CASE
        WHEN EXISTS (SELECT 1 FROM pc_stats_1h_own AS own WHERE own.bucket <= oldest.hour)
        THEN oldest.hour + interval '1 hour'
        ELSE oldest.hour
    END,
    date_bin('1 hour', now(), '1970-01-01 00:00:00+00')
]
FROM (SELECT date_bin('1 hour', min(timestamp), '1970-01-01 00:00:00+00') AS hour FROM pc_stats) AS oldest
WHERE oldest.hour IS NOT NULL
"""


async def is_unfilled(db: Db) -> bool:
    """Tell whether :func:`fill` still has to be done."""
    return bool(await db.fetchval("SELECT value = 'empty' FROM settings WHERE name = 'aggregates'"))


async def fill(db: Db) -> None:
    """Roll up what was stored before the aggregates were made, and let them take over from the collector's own.

    The hour of the oldest sample keeps the collector's rollup when it has one: some of its samples may be gone.
    Interrupted half way it begins anew at the next opening.
    """
    start, end = await db.fetchval(_SPAN) or (0, 0)
    if start < end:
        await _refresh(db, start, end)
    async with transaction(db):
        if start:
            for name in _AGGREGATES:
                await db.execute(f"DELETE FROM pc_stats_{name}_own WHERE bucket >= $1", start, timeout=LONG_S)
        await db.execute("DELETE FROM rollup_queue WHERE series = 'pc_stats'")
        await db.execute("DELETE FROM settings WHERE name = 'aggregates'")


async def _refresh(db: Db, start: int, end: int) -> None:
    """Materialize from ``start`` to ``end`` what is not or has changed since; the caller is in no transaction."""
    for name in _AGGREGATES:
        span = f"{_time(start)}, {_time(end)}"
        await db.execute(f"CALL refresh_continuous_aggregate('pc_stats_{name}_auto', {span})", timeout=LONG_S)


def _time(at: int) -> str:
    """Return a time as a literal: the procedure takes no parameters from outside."""
    return f"'1970-01-01 00:00:00+00'::timestamptz + {at} * interval '1 us'"


async def _tables(db: Db) -> dict[str, str]:
    """Return the tables in which what is materialized lies, by the length of a rollup."""
    rows = await db.fetch(
        "SELECT view_name, format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
        " FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()"
    )
    tables = {row[0]: str(row[1]) for row in rows}
    return {name: tables[f"pc_stats_{name}_auto"] for name in _AGGREGATES}


async def _materialized_until(db: Db) -> int | None:
    """Return up to when both aggregates are materialized; None when one is empty."""
    found = [
        await db.fetchval(f"SELECT max(bucket) + interval '{_AGGREGATES[name]}' FROM {table}")
        for name, table in (await _tables(db)).items()
    ]
    return None if None in found else min(found)


async def materialize(db: Db, before: int) -> None:
    """Materialize what has been stored up to ``before`` and is not yet: its raw rows are about to go.

    The jobs did so long ago, unless they do not run.
    """
    until = await _materialized_until(db)
    oldest: int | None = await db.fetchval(
        "SELECT min(timestamp) FROM pc_stats WHERE timestamp < $1 AND ($2::timestamptz IS NULL OR timestamp >= $2)",
        before,
        until,
    )
    if oldest is not None:
        await _refresh(db, oldest - oldest % HOUR, before + -before % HOUR)


async def roll_up(db: Db, window_from: int, budget_s: float) -> RollUp:
    """Do what is due, in small transactions of its own."""
    enough = time.monotonic() + budget_s
    done = 0
    until = await _materialized_until(db)
    while done == 0 or time.monotonic() < enough:
        due = await db.fetchrow("SELECT hour, series, thing FROM rollup_queue ORDER BY 1, 2, 3 LIMIT 1")
        if due is None:
            break
        hour, series, thing = due
        if series == "pc_stats" and hour >= window_from:
            if until is not None and hour < until:
                await _refresh(db, hour, hour + HOUR)
            tag = await db.execute("DELETE FROM rollup_queue WHERE series = 'pc_stats' AND hour = $1", hour)
            done += int(tag.rpartition(" ")[2])
            continue
        async with transaction(db):
            if series == "pc_stats":
                await _keep_own(db, thing, hour)
            else:
                await roll_up_verdicts(db, thing, hour, again=hour >= window_from)
            await db.execute(
                "DELETE FROM rollup_queue WHERE hour = $1 AND series = $2 AND thing = $3", hour, series, thing
            )
        done += 1
    return RollUp(done, await db.fetchval("SELECT count(*) FROM rollup_queue"))


async def _keep_own(db: Db, pc: int, hour: int) -> None:
    table = (await _tables(db))["1h"]
    present = await db.fetchval(
        f"SELECT EXISTS (SELECT 1 FROM {table} WHERE test_pc = $1 AND bucket = $2)", pc, hour
    )
    if not present:
        await roll_up_samples(db, pc, hour, again=False)


_LAGS = """
SELECT EXISTS (
    SELECT 1 FROM pc_stats WHERE timestamp < now() - interval '1 day' AND timestamp > now() - interval '2 days'
) AND NOT EXISTS (
    SELECT 1 FROM {materialized} WHERE bucket > now() - interval '2 days 2 hours'
)
"""


async def lags(db: Db) -> bool:
    """Tell whether samples of yesterday have not been rolled up by the jobs, which come every hour."""
    return bool(await db.fetchval(_LAGS.format(materialized=(await _tables(db))["1h"])))
