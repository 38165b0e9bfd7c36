"""PostgreSQL dying, going away and coming back under the collector: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from boardherd_collector.stores.base import Outcome, StoreError
from boardherd_collector.stores.postgres_address import Address
from boardherd_collector.stores.timescale import TimescaleStore
from support.broker import Mosquitto
from support.collector import AgentStandIn, CollectorProcess
from support.postgres import Postgres, execute, program, query
from support.telemetry import NOW, SECOND, STREAM, event, host, lab, received

KILLS = 50
_SITES = itertools.count()


class PostgresCollector(CollectorProcess):
    """``boardherd-collector`` on a PostgreSQL database."""

    def __init__(self, directory: Path, broker: str, site: str, database: str) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, broker, site)
        text = self.config.read_text().replace(f"sqlite://{self.database}", database)
        self.config.write_text(text)


def sample() -> Any:
    """Return a record of this very machine, now."""
    up = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return host().model_copy(update={"at": round(time.time() * SECOND), "up": up})


async def reopened(store: TimescaleStore) -> None:
    """Open the store again once the server has recovered."""
    async with asyncio.timeout(30):
        while True:
            try:
                await store.reopen()
            except StoreError:
                await asyncio.sleep(0.05)
            else:
                return


_HANG_BEFORE = """
CREATE TABLE failpoint (seq bigint);
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT 1 FROM failpoint WHERE seq = NEW.seq) THEN PERFORM pg_sleep(60); END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON stream_digests DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hang();
"""
"""Makes a commit hang before anything of it is on the disk: deferred triggers are the first thing a commit does."""
_GHOST = ("ALTER SYSTEM SET synchronous_standby_names = 'ghost'", "SELECT pg_reload_conf()")
"""Makes a commit hang after it is on the disk and before it is answered: no such standby will ever confirm it."""
_NO_GHOST = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


class Killer:
    """Kills the backend of the collector at a known instant of its commit."""

    def __init__(self, url: str, draw: random.Random) -> None:
        self._url = url
        self._draw = draw

    async def arm(self, instant: str, seq: int) -> None:
        if instant == "before":
            await execute(self._url, f"INSERT INTO failpoint VALUES ({seq})")
        elif instant == "after":
            await execute(self._url, *_GHOST)

    async def strike(self, instant: str, pid: int) -> None:
        """Wait until the backend is where it is wanted, and kill it."""
        if instant == "any":
            await asyncio.sleep(self._draw.uniform(0, 0.06))
        else:
            await self._until_waiting(pid, {"before": "PgSleep", "after": "SyncRep"}[instant])
        os.kill(pid, signal.SIGKILL)

    async def _until_waiting(self, pid: int, what: str) -> None:
        db = await self._connected()
        try:
            for _ in range(2000):
                seen = await db.fetchval("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", pid)
                if seen == what:
                    return
                await asyncio.sleep(0.002)
        finally:
            await db.close()
        raise TimeoutError(what)

    async def _connected(self) -> Any:
        """Connect, once the server has recovered from the kill before this one."""
        while True:
            try:
                return await asyncpg.connect(self._url)
            except asyncpg.CannotConnectNowError:
                await asyncio.sleep(0.05)

    async def disarm(self, instant: str) -> None:
        if instant == "before":
            await execute(self._url, "TRUNCATE failpoint")
        elif instant == "after":
            await execute(self._url, "SET synchronous_commit = local", *_NO_GHOST)


@pytest.fixture
def quick_postgres() -> Iterator[Postgres]:
    """A server that a process may die of and a power cut may not: what it wrote, the system keeps."""
    if program("initdb") is None:
        pytest.skip("PostgreSQL is missing; to run this test: sudo apt-get install postgresql")
    with Postgres("fsync=off") as server:
        yield server


@pytest.mark.timeout(300)
async def test_killed_in_mid_commit_the_ledger_tells_what_happened(quick_postgres: Postgres) -> None:
    """DEL-1 (D11): kill -9 of the backend, fifty times; what it had committed is a duplicate afterwards."""
    draw, own_postgres = random.Random(7), quick_postgres
    settled: dict[str, set[Outcome]] = {"before": set(), "after": set(), "any": set()}
    async with TimescaleStore(Address(own_postgres.url)) as store:
        await store.sync_inventory(lab(), NOW)
        await execute(own_postgres.url, _HANG_BEFORE)
        killer = Killer(own_postgres.url, draw)
        for seq in range(1, KILLS + 1):
            instant = ("before", "after", "any")[seq % 3]
            envelope = received(seq, host(NOW + seq * SECOND), event(NOW + seq), host(NOW + seq * SECOND + 1))
            await killer.arm(instant, seq)
            pid = await store._writer.run(lambda db: db.fetchval("SELECT pg_backend_pid()"))
            strike = asyncio.create_task(killer.strike(instant, pid), name="killer")
            try:
                await store.commit([envelope])
            except StoreError:
                pass
            else:
                assert instant == "any"  # it was quicker
            await strike
            await asyncio.to_thread(own_postgres.wait)
            await killer.disarm(instant)
            await reopened(store)
            missing = await store.missing("pc-01", STREAM, [(seq, seq)])
            (outcome,) = (await store.commit([envelope])).outcomes
            assert outcome is (Outcome.COMMITTED if missing else Outcome.DUPLICATE)
            settled[instant].add(outcome)
        (stream,) = (await store.counts()).streams
    assert settled["before"] == {Outcome.COMMITTED}
    assert settled["after"] == {Outcome.DUPLICATE}
    assert (stream.watermark, stream.envelopes, stream.records["host"]) == (KILLS, KILLS, 2 * KILLS)
    assert await query(own_postgres.url, "SELECT count(*), count(DISTINCT timestamp) FROM pc_stats") == [
        (2 * KILLS, 2 * KILLS)
    ]
    assert await query(own_postgres.url, "SELECT count(*) FROM events") == [(KILLS,)]


async def test_the_database_goes_and_comes_back_under_a_running_collector(
    mosquitto: Mosquitto, own_postgres: Postgres, tmp_path: Path
) -> None:
    """DEL-1, OPS-1: stopped in order, then crashed; page and metrics stay, and all is stored once afterwards."""
    site = f"postgres-{next(_SITES)}"
    collector = PostgresCollector(tmp_path, mosquitto.url, site, own_postgres.url)
    total = 0
    await asyncio.to_thread(collector.start)
    try:
        async with AgentStandIn(mosquitto.url, site) as agent:
            for how in (signal.SIGINT, signal.SIGQUIT):
                for _ in range(30):
                    agent.put(sample(), sample())
                    total += 1
                await agent.until(lambda least=total - 30: len(agent.acked) > least)
                await asyncio.to_thread(own_postgres.stop, how)
                agent.put(sample(), sample())
                total += 1
                said = await asyncio.to_thread(collector.wait_for, "readyz", 503)
                assert f"127.0.0.1:{own_postgres.port}" in said
                assert (await asyncio.to_thread(collector.get, "metrics"))[0] == 200
                assert (await asyncio.to_thread(collector.get, "api/v1/fleet"))[0] == 200
                assert (await asyncio.to_thread(collector.get, "api/v1/events"))[0] == 503
                await asyncio.to_thread(own_postgres.start)
                await asyncio.to_thread(collector.wait_for, "readyz", 200)
                await agent.until(lambda all_=total: len(agent.acked) == all_)
            await agent.until(lambda: len(agent.resumes) >= 3)  # every return made it say hello
    finally:
        await asyncio.to_thread(collector.stop)
    assert await query(own_postgres.url, "SELECT count(*) FROM pc_stats") == [(2 * total,)]
    assert await query(own_postgres.url, "SELECT watermark, ranges::text, envelopes FROM streams") == [
        (total, "[]", total)
    ]
    assert "Traceback" not in collector.log.read_text()


async def test_a_second_collector_waits_and_takes_over(
    mosquitto: Mosquitto, postgres_dsn: str, tmp_path: Path
) -> None:
    """DEL-1 (D31): it says why it waits; after kill -9 of the first it goes on where that was."""
    site = f"postgres-{next(_SITES)}"
    first = PostgresCollector(tmp_path / "first", mosquitto.url, site, postgres_dsn)
    second = PostgresCollector(tmp_path / "second", mosquitto.url, site, postgres_dsn)
    total = 0
    await asyncio.to_thread(first.start)
    try:
        await asyncio.to_thread(second.start, ready=False)
        said = await asyncio.to_thread(second.wait_for, "readyz", 503)
        assert "in use by another collector at 127.0.0.1" in said
        async with AgentStandIn(mosquitto.url, site) as agent:
            for _ in range(60):
                agent.put(sample())
                total += 1
            await agent.until(lambda: len(agent.acked) > 5)
            await asyncio.to_thread(first.stop, signal.SIGKILL)
            for _ in range(60):
                agent.put(sample())
                total += 1
            await asyncio.to_thread(second.wait_for, "readyz", 200)
            await agent.until(lambda: len(agent.acked) == total)
    finally:
        await asyncio.to_thread(first.stop)
        await asyncio.to_thread(second.stop)
    assert await query(postgres_dsn, "SELECT count(*) FROM pc_stats") == [(total,)]
    assert await query(postgres_dsn, "SELECT watermark, envelopes FROM streams") == [(total, total)]
    assert "Traceback" not in first.log.read_text() + second.log.read_text()


async def test_a_database_that_is_not_there_at_first_is_waited_for(
    mosquitto: Mosquitto, own_postgres: Postgres, tmp_path: Path
) -> None:
    """OPS-2: while it waits it says so, and can be stopped."""
    site = f"postgres-{next(_SITES)}"
    collector = PostgresCollector(tmp_path, mosquitto.url, site, own_postgres.url)
    own_postgres.stop()
    await asyncio.to_thread(collector.start, ready=False)
    assert await asyncio.to_thread(collector.stop) == 0
    try:
        await asyncio.to_thread(collector.start, ready=False)
        assert (await asyncio.to_thread(collector.get, "healthz"))[0] == 200
        await asyncio.to_thread(own_postgres.start)
        said = await asyncio.to_thread(collector.wait_for, "readyz", 200)
        assert "PostgreSQL" in said
    finally:
        await asyncio.to_thread(collector.stop)
    assert "Traceback" not in collector.log.read_text()


async def test_a_refusal_that_waiting_does_not_mend_ends_the_program(
    mosquitto: Mosquitto, postgres_dsn: str, tmp_path: Path
) -> None:
    """OPS-4: one sentence, exit code 1."""
    collector = PostgresCollector(tmp_path, mosquitto.url, "refused", postgres_dsn)
    await execute(postgres_dsn, "CREATE TABLE recipes (name text)")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "boardherd_collector", "--config", str(collector.config)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("the database belongs to another program")
    assert "Traceback" not in done.stderr
