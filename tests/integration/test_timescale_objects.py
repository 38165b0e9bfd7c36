"""What TimescaleDB does for the store. Jobs are run by hand, never waited for.

A job's ``last_run_status`` is asked nowhere: PostgreSQL 15.20 marks the jobs of TimescaleDB 2.28 as failed
although their work is done. What counts is the effect.
"""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import pytest

from boardherd_collector.rollups import HOUR
from boardherd_collector.stores.base import Outcome, StoreError
from boardherd_collector.stores.migrations import migrations
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.timescale import TimescaleStore
from boardherd_collector.stores.timescale_objects import Policies
from support import telemetry
from support.postgres import Postgres, database, execute, query
from support.telemetry import SECOND, STREAM, lab, received

DAY = 86_400 * SECOND
NOW = round(time.time()) // 3600 * 3600 * SECOND
"""The beginning of this hour."""


def store_at(url: str, policies: Policies | None = None) -> TimescaleStore:
    return TimescaleStore(Address(url), policies)


async def call(url: str, *statements: str) -> None:
    """Run procedures that allow no transaction around them."""
    db = await asyncpg.connect(url)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


async def run_jobs(url: str, proc: str) -> None:
    """Run every job of a kind now."""
    jobs = await query(
        url, "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = $1 AND job_id >= 1000", proc
    )
    assert jobs
    await call(url, *(f"CALL run_job({job})" for (job,) in jobs))


async def chunks(url: str, table: str) -> list[tuple[Any, ...]]:
    return await query(
        url,
        "SELECT is_compressed FROM timescaledb_information.chunks WHERE hypertable_name = $1 ORDER BY range_start",
        table,
    )


def host(at: int, **values: Any) -> Any:
    return telemetry.host(**values).model_copy(update={"at": at})


def board(at: int) -> Any:
    return telemetry.board().model_copy(update={"at": at, "since": at})


def relay(at: int) -> Any:
    return telemetry.relay().model_copy(update={"at": at, "since": at})


def event(at: int) -> Any:
    return telemetry.event().model_copy(update={"at": at})


def samples(first: int, count: int, minutes: int = 1) -> list[Any]:
    return [host(first + minute * minutes * 60 * SECOND, cpu_percent=minute % 100) for minute in range(count)]


async def test_everything_is_there_and_nothing_is_made_twice(timescale_dsn: str) -> None:
    async with store_at(timescale_dsn) as store:
        assert "TimescaleDB 2." in store.name
        assert store.upkeep.startswith("TimescaleDB rolls samples up")
    jobs = "SELECT job_id, proc_name, hypertable_name FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1"
    before = await query(timescale_dsn, jobs)
    async with store_at(timescale_dsn):
        pass
    assert await query(timescale_dsn, jobs) == before
    assert sorted((proc, table) for _, proc, table in before) == [
        ("policy_compression", "board_liveness"),
        ("policy_compression", "events"),
        ("policy_compression", "pc_stats"),
        ("policy_compression", "relay_states"),
        ("policy_refresh_continuous_aggregate", "pc_stats_1h_auto"),
        ("policy_refresh_continuous_aggregate", "pc_stats_5m_auto"),
        ("policy_retention", "board_liveness"),
        ("policy_retention", "events"),
        ("policy_retention", "pc_stats"),
        ("policy_retention", "pc_stats_5m_auto"),
        ("policy_retention", "relay_states"),
    ]
    spans = await query(
        timescale_dsn,
        "SELECT hypertable_name, extract(day FROM time_interval)::integer FROM timescaledb_information.dimensions"
        " WHERE hypertable_name = ANY($1) ORDER BY 1",
        ["pc_stats", "events"],
    )
    assert spans == [("events", 7), ("pc_stats", 1)]
    real_time = await query(
        timescale_dsn,
        "SELECT view_name, materialized_only FROM timescaledb_information.continuous_aggregates",
    )
    assert dict(real_time) == {"pc_stats_5m_auto": False, "pc_stats_1h_auto": False}


async def test_policies_follow_the_configuration(timescale_dsn: str) -> None:
    """``if_not_exists`` would keep the old ones."""
    text = (
        "SELECT proc_name, hypertable_name, config FROM timescaledb_information.jobs"
        " WHERE job_id >= 1000 AND hypertable_name IN ('pc_stats', 'pc_stats_5m_auto', 'events') ORDER BY 1, 2"
    )
    async with store_at(timescale_dsn):
        pass
    shorter = Policies(
        raw=20 * DAY, audit=50 * DAY, five_minutes=100 * DAY, window=9 * DAY, columnstore_after=2 * DAY
    )
    async with store_at(timescale_dsn, shorter):
        pass
    shown = " ".join(f"{proc} {table} {config}" for proc, table, config in await query(timescale_dsn, text))
    for interval in ("480:00:00", "1200:00:00", "2400:00:00", "216:00:00", "48:00:00"):
        assert interval in shown, shown
    assert (
        len(await query(timescale_dsn, "SELECT 1 FROM timescaledb_information.jobs WHERE job_id >= 1000"))
        == 11
    )


async def test_what_comes_again_into_a_compressed_chunk_is_a_duplicate(timescale_dsn: str) -> None:
    """DEL-1: the ledger dedupes, whatever became of the rows; what is new goes into the same chunk."""
    old = NOW - 5 * DAY
    first = received(1, *samples(old, 50), board(old), relay(old), event(old), received_at=NOW)
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([first])
        await run_jobs(timescale_dsn, "policy_compression")
        assert (True,) in await chunks(timescale_dsn, "pc_stats")
        late = received(
            2, *samples(old + 1, 50), board(old + 1), relay(old + 1), event(old + 1), received_at=NOW
        )
        assert (await store.commit([first, late])).outcomes == [Outcome.DUPLICATE, Outcome.COMMITTED]
        assert (await store.commit([late])).outcomes == [Outcome.DUPLICATE]
        rows = (await store.counts()).rows
        assert (rows["pc_stats"], rows["board_liveness"], rows["relay_states"], rows["events"]) == (
            100,
            2,
            2,
            2,
        )
        poison = host(old + 2).model_copy(update={"cpu_percent": 101.0})
        commit = await store.commit([received(3, host(old + 3), poison, received_at=NOW)])
        assert (commit.dead_letters, (await store.counts()).rows["pc_stats"]) == (1, 101)


async def test_rollups_are_right_before_and_after_they_are_kept_and_for_late_records(
    timescale_dsn: str,
) -> None:
    begin = NOW - 4 * HOUR
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(begin, 90), received_at=NOW)])
        assert (await store.roll_up(NOW - 9 * DAY, 1.0)).left == 0
        fresh = await store.host_trend("pc-01", begin, "1h")
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        kept = await store.host_trend("pc-01", begin, "1h")
        assert fresh == kept
        assert [(row.samples, row.gauges["cpu_percent"].max) for row in kept] == [(60, 59.0), (30, 89.0)]
        assert len(await store.host_trend("pc-01", begin, "5m")) == 18
        await store.commit([received(2, host(begin + SECOND, cpu_percent=100), received_at=NOW)])
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        (first, _) = await store.host_trend("pc-01", begin, "1h")
        assert (first.samples, first.gauges["cpu_percent"].max) == (61, 100.0)
        (day,) = {row.timestamp // 86400 for row in await store.host_trend("pc-01", 0, "1d")} or {None}
        assert day is not None


async def test_a_refresh_never_deletes_a_rollup_whose_raw_rows_are_gone(timescale_dsn: str) -> None:
    """The window of the refresh ends before raw rows do."""
    old, limits = NOW - 12 * DAY, Policies(raw=10 * DAY, window=8 * DAY)
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(old, 60), *samples(NOW - DAY, 60), received_at=NOW)])
    await call(
        timescale_dsn,
        "CALL refresh_continuous_aggregate('pc_stats_1h_auto', now() - interval '20 days', now() - interval '1 hour')",
        "CALL refresh_continuous_aggregate('pc_stats_5m_auto', now() - interval '20 days', now() - interval '1 hour')",
    )
    async with store_at(timescale_dsn, limits) as store:
        before = await store.host_trend("pc-01", old, "1h"), await store.host_trend("pc-01", old, "5m")
        await run_jobs(timescale_dsn, "policy_retention")
        assert (await store.counts()).rows["pc_stats"] == 60
        await store.roll_up(NOW - 8 * DAY, 1.0)
        await store.commit([received(2, host(NOW - 2 * HOUR), host(old + 1), received_at=NOW)])
        assert (await store.roll_up(NOW - 8 * DAY, 1.0)).left == 0
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        after = await store.host_trend("pc-01", old, "1h"), await store.host_trend("pc-01", old, "5m")
        assert after[0][: len(before[0])] == before[0]
        assert after[1][: len(before[1])] == before[1]
        assert len(before[0]) >= 2


async def test_late_samples_count_at_once_and_those_from_before_the_window_harm_nothing(
    timescale_dsn: str,
) -> None:
    """The collector sees to both itself; it does not wait for the jobs."""
    begin, window = NOW - 12 * DAY, NOW - 9 * DAY
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(begin, 60), *samples(NOW - DAY, 30), received_at=NOW)])
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        await store.roll_up(window, 1.0)
        while await store.prune(NOW - 10 * DAY, 1000):
            pass
        assert (await store.counts()).rows["pc_stats"] == 30
        whole = (await store.host_trend("pc-01", 0, "1h"), await store.host_trend("pc-01", 0, "5m"))
        late = [host(begin + 1), host(begin - 2 * HOUR), host(NOW - DAY + 1)]
        await store.commit([received(2, *late, received_at=NOW)])
        assert (await store.roll_up(window, 1.0)).left == 0
        hours = await store.host_trend("pc-01", 0, "1h")
        assert [row.samples for row in hours] == [1, 60, 31]
        assert len(await store.host_trend("pc-01", 0, "5m")) == len(whole[1]) + 1
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        assert await store.host_trend("pc-01", 0, "1h") == hours


async def test_raw_rows_go_only_when_they_are_rolled_up_even_if_no_job_ran(timescale_dsn: str) -> None:
    old = NOW - 12 * DAY
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(old, 90), received_at=NOW)])
        while await store.prune(NOW - 10 * DAY, 1000):
            pass
        assert (await store.counts()).rows["pc_stats"] == 0
        assert [row.samples for row in await store.host_trend("pc-01", 0, "1h")] == [60, 30]
        assert len(await store.host_trend("pc-01", 0, "5m")) == 18


async def test_the_extension_may_be_added_later(timescale_server: str) -> None:
    """What the collector rolled up before stays; from then on the database does it."""
    begin = NOW - 30 * HOUR
    async with database(timescale_server) as url:
        async with store_at(url) as store:
            assert "no TimescaleDB" in store.name
            await store.sync_inventory(lab(), NOW)
            stored = received(
                1, *samples(begin, 120), board(begin), relay(begin), event(begin), received_at=NOW
            )
            await store.commit([stored])
            while (await store.roll_up(NOW - 9 * DAY, 0.05)).left:
                pass
            before = [await store.host_trend("pc-01", 0, step) for step in ("5m", "1h", "1d")]  # type: ignore[arg-type]
            assert [len(rows) for rows in before][:2] == [24, 2]
        await execute(url, "CREATE EXTENSION timescaledb")
        async with store_at(url) as store:
            assert "TimescaleDB 2." in store.name
            after = [await store.host_trend("pc-01", 0, step) for step in ("5m", "1h", "1d")]  # type: ignore[arg-type]
            assert after == before
            assert (await store.commit([stored])).outcomes == [Outcome.DUPLICATE]
            await store.commit([received(2, host(NOW - HOUR), received_at=NOW)])
            assert (await store.roll_up(NOW - 9 * DAY, 1.0)).left == 0
            assert (await store.counts()).rows["pc_stats"] == 121
            assert len(await store.host_trend("pc-01", 0, "1h")) == 3
            await store.commit([received(3, host(begin + HOUR), received_at=NOW)])
            assert (await store.roll_up(NOW - 9 * DAY, 1.0)).hours == 1
            assert [row.samples for row in await store.host_trend("pc-01", 0, "1h")] == [60, 61, 1]
        assert await query(url, "SELECT count(*) FROM rollup_queue WHERE series = 'pc_stats'") == [(0,)]
        assert len(await chunks(url, "pc_stats")) >= 2
        # Half way, as if it had been killed between making the aggregates and filling them.
        await execute(url, "INSERT INTO settings (name, value) VALUES ('aggregates', 'empty')")
        async with store_at(url) as store:
            assert await store.host_trend("pc-01", 0, "1d") != []
            assert len(await store.host_trend("pc-01", 0, "1h")) == 3
        assert await query(url, "SELECT 1 FROM settings WHERE name = 'aggregates'") == []


async def test_a_new_version_finds_compressed_chunks(timescale_dsn: str) -> None:
    """A schema may change while samples are in the columnstore; they are there afterwards."""
    old = 7
    async with TimescaleStore(Address(timescale_dsn), steps=migrations("timescale")[:old]):
        pass
    await execute(
        timescale_dsn,
        "INSERT INTO pc_stats (test_pc, timestamp, received_at, time_quality, status)"
        " SELECT 1, now() - interval '9 days' - n * interval '10 s', now(), 'agent', 'HEALTHY'"
        " FROM generate_series(1, 1000) AS n",
        "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text)"
        " SELECT 1, now() - interval '9 days' - n * interval '10 s', now(), 'agent', 'fault', 'agent', 'x'"
        " FROM generate_series(1, 1000) AS n",
    )
    await run_jobs(timescale_dsn, "policy_compression")
    assert (True,) in await chunks(timescale_dsn, "pc_stats")
    assert (True,) in await chunks(timescale_dsn, "events")
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        late = host(NOW - 9 * DAY, spool_parked=2, spool_oldest_s=7.5, spool_volatile=True)
        panic = event(NOW - 9 * DAY).model_copy(update={"words": ("Kernel panic",)})
        await store.commit([received(1, late, panic, received_at=NOW)])
        (told,) = await store.events("board/evm-07")
        assert told.words == ("Kernel panic",)
        (row,) = [row for row in await store.host_history("pc-01", 0) if row.spool_parked is not None]
        assert (row.spool_parked, row.spool_oldest_s, row.spool_volatile) == (2, 7.5, True)
    assert await query(timescale_dsn, "SELECT count(*) FROM pc_stats WHERE spool_parked IS NULL") == [(1000,)]


async def test_jobs_that_do_not_do_their_work_are_told_by_the_effect(timescale_dsn: str) -> None:
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(NOW - 30 * HOUR, 60), received_at=NOW)])
        with pytest.raises(StoreError, match="the hourly aggregate lacks yesterday"):
            await store.prune(NOW - 30 * DAY, 1000)
        await run_jobs(timescale_dsn, "policy_refresh_continuous_aggregate")
        assert await store.prune(NOW - 30 * DAY, 1000) == 0
    strict = Policies(raw=DAY, window=DAY // 2)
    old = received(2, *samples(NOW - 9 * DAY, 60), received_at=NOW)
    async with store_at(timescale_dsn, strict) as store:
        await store.commit([old])
        with pytest.raises(StoreError, match="chunks that should be gone"):
            await store.prune(NOW - 30 * DAY, 1000)
        await run_jobs(timescale_dsn, "policy_retention")
        assert await store.prune(NOW - 30 * DAY, 1000) == 0
    # Old events are overdue by their own age, and only by that.
    async with store_at(timescale_dsn, Policies(raw=DAY, window=DAY // 2)) as store:
        await store.commit([received(3, event(NOW - 20 * DAY), received_at=NOW)])
        assert await store.prune(NOW - 30 * DAY, 1000) == 0
        assert (await store.counts()).rows["events"] == 1
    async with store_at(timescale_dsn, Policies(raw=DAY, audit=2 * DAY, window=DAY // 2)) as store:
        with pytest.raises(StoreError, match="chunks that should be gone"):
            await store.prune(NOW - 30 * DAY, 1000)
        await run_jobs(timescale_dsn, "policy_retention")
        assert await store.prune(NOW - 30 * DAY, 1000) == 0
        assert (await store.counts()).rows["events"] == 0


async def test_under_the_apache_licence_the_collector_does_the_upkeep(timescale_server: str) -> None:
    del timescale_server  # only to skip where there is no TimescaleDB
    with Postgres("fsync=off", "timescaledb.license=apache") as server:
        url = server.url
        await execute(url, "CREATE EXTENSION timescaledb")
        async with store_at(url) as store:
            assert "Apache licence" in store.name
            assert "the collector rolls up" in store.upkeep
            await store.sync_inventory(lab(), NOW)
            records = samples(NOW - 6 * DAY, 10), samples(NOW - HOUR, 10)
            happened = [event(NOW - 20 * DAY), event(NOW - HOUR)]
            await store.commit([received(1, *records[0], *records[1], *happened, received_at=NOW)])
            while (await store.roll_up(NOW - 9 * DAY, 0.05)).left:
                pass
            assert len(await store.host_trend("pc-01", 0, "1h")) == 2
            assert len(await chunks(url, "pc_stats")) == 2
            gone = []
            while found := await store.prune(NOW - 2 * DAY, 6):
                gone.append(found)
            assert gone == [6, 4, 1]
            assert len(await chunks(url, "pc_stats")) == 1
            assert len(await chunks(url, "events")) == 2
            assert [await store.prune_audit(NOW - 2 * DAY, 6) for _ in range(3)] == [1, 1, 0]
            assert len(await chunks(url, "events")) == 1
            assert len(await store.host_trend("pc-01", 0, "1h")) == 2


async def test_what_a_person_deleted_goes_from_the_chunks_too(timescale_dsn: str) -> None:
    async with store_at(timescale_dsn) as store:
        await store.sync_inventory(lab(), NOW)
        await store.commit([received(1, *samples(NOW - 2 * DAY, 20, 60), event(NOW), received_at=NOW)])
        await execute(timescale_dsn, "DELETE FROM test_pcs WHERE id = 'pc-01'")
        gone = 0
        while found := await store.forget_deleted(7):
            gone += found
        assert gone == 21
        assert (await store.counts()).rows["pc_stats"] == 0
        assert await store.missing("pc-01", STREAM, [(1, 1)]) == ((1, 1),)
