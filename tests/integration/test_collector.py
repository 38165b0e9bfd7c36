"""The collector as a process, with a real Mosquitto and a real database."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.stores.base import Outcome, StoreError
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from boardherd_shared.messages import MAX_PAYLOAD, BoardState, encode
from support.broker import Mosquitto
from support.collector import AgentStandIn, CollectorProcess, retained
from support.telemetry import NOW, SECOND, board, event, host, lab, loss, received, relay, step

_SITES = iter(range(1000))


def now() -> int:
    return round(time.time() * SECOND)


def live(record: Any) -> Any:
    """Return a record of this very machine: with the time since boot that belongs to its time."""
    up = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return record.model_copy(update={"up": up})


def sample(**values: Any) -> Any:
    return live(host(now(), **values))


def query(collector: CollectorProcess, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{collector.database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


@pytest.fixture
async def collector(mosquitto: Mosquitto, tmp_path: Path) -> AsyncIterator[CollectorProcess]:
    process = CollectorProcess(tmp_path, mosquitto.url, f"collector-{next(_SITES)}")
    await asyncio.to_thread(process.start)
    yield process
    await asyncio.to_thread(process.stop)


def stand_in(mosquitto: Mosquitto, collector: CollectorProcess, **other: str) -> AgentStandIn:
    return AgentStandIn(mosquitto.url, collector.site, **other)


async def test_killed_in_mid_stream_nothing_is_lost_and_nothing_doubled(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """DEL-1, DEL-2, DEL-3: kill -9, twice; the database has what the agent counted."""
    total = 0
    async with stand_in(mosquitto, collector) as agent:
        for kill in range(3):
            for _ in range(120):
                agent.put(sample(), sample())
                total += 1
            await agent.until(lambda: agent.acked)
            if kill < 2:
                await agent.until(lambda low=kill: len(agent.acked) >= 120 * low + 30)
                await asyncio.to_thread(collector.stop, signal.SIGKILL)
                await asyncio.to_thread(collector.start)
        await agent.until(lambda: len(agent.acked) == total)
        status, metrics = await asyncio.to_thread(collector.get, "metrics")
    assert status == 200
    assert 'boardherd_agent_up{pc="pc-01"} 1.0' in metrics
    assert query(collector, "SELECT count(*) FROM pc_stats") == [(2 * total,)]
    assert query(collector, "SELECT watermark, ranges, envelopes, host_records FROM streams") == [
        (total, "[]", total, 2 * total)
    ]
    assert "Traceback" not in collector.log.read_text()


async def test_right_after_a_restart_everything_known_is_told(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    async with stand_in(mosquitto, collector) as agent:
        at = now()
        agent.put(sample(cpu_percent=42), *map(live, (board(at), relay(at), step(State.SUCCEEDED, at))))
        await agent.until(lambda: agent.acked == {1})
        await asyncio.to_thread(collector.stop, signal.SIGKILL)
        assert (await retained(mosquitto.url, f"boardherd/v1/{collector.site}/collector/status"))[
            "state"
        ] == "offline"
        await asyncio.to_thread(collector.start)
        _, metrics = await asyncio.to_thread(collector.get, "metrics")
        _, fleet = await asyncio.to_thread(collector.get, "api/v1/fleet")
    for line in (
        'boardherd_host_cpu_usage_ratio{pc="pc-01"} 0.42',
        'boardherd_board_alive{board="evm-07",pc="pc-01"} 1.0',
        'boardherd_relay_port_on{board="evm-07",pc="pc-01",port="3",relay="eth-1"} 1.0',
        'boardherd_commands_total{pc="pc-01"} 1.0',
    ):
        assert line in metrics, metrics
    assert json.loads(fleet)["boards"][0]["verdict"] == "alive"


async def test_garbage_on_every_topic_does_no_harm(mosquitto: Mosquitto, collector: CollectorProcess) -> None:
    """SEC-2: neither crash nor stall, and an agent among the noise is served."""
    root = f"boardherd/v1/{collector.site}"
    topics = [
        f"{root}/{agent}/{rest}"
        for agent in ("pc-01", "pc-02", "nobody", "collector", "boards")
        for rest in ("status", "hello", "telemetry", "state/board/evm-07", "state/relay/eth-1/3", "result/x")
    ]
    garbage = [
        b"",
        b"\x00\xff\xfe",
        b"null",
        b"[" * 50_000,
        b'{"v":2}',
        b"9" * 6000,
        b'"\\ud800"',
        b"x" * MAX_PAYLOAD * 2,
    ]
    async with (
        stand_in(mosquitto, collector) as agent,
        stand_in(mosquitto, collector, agent="pc-02") as noise,
    ):
        for topic in topics:
            for body in garbage:
                await noise.publish(topic, body, retain=len(body) < 10)
        agent.put(sample())
        await agent.until(lambda: agent.acked == {1})
        for topic in topics:
            await noise.publish(topic, b"", retain=True)
    status, metrics = await asyncio.to_thread(collector.get, "metrics")
    assert status == 200
    assert 'boardherd_collector_messages_rejected_total{kind="telemetry"}' in metrics
    log = collector.log.read_text()
    assert "Traceback" not in log
    assert log.count("message rejected") < 40


async def test_our_own_status_is_put_right(mosquitto: Mosquitto, collector: CollectorProcess) -> None:
    """The will of an earlier session that comes late does not stop the agents."""
    topic = f"boardherd/v1/{collector.site}/collector/status"
    async with stand_in(mosquitto, collector) as agent:
        await agent.until(lambda: agent.collector and agent.collector.state == "online")
        assert agent.collector is not None
        session = agent.collector.session
        await agent.publish(
            topic, b'{"v":1,"state":"offline","session":"00000000000000000000","at":1}', retain=True
        )
        await agent.until(lambda: agent.collector and agent.collector.session == session)


async def test_refusals_name_their_reason_and_neighbours_are_stored(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """DEL-1, SEC-1: conflict, forged sender, other version, a bad record in the middle, a loss."""
    async with stand_in(mosquitto, collector) as agent:
        first = agent.put(sample())
        agent.put(sample(), {"kind": "host", "cpu_percent": "a lot"}, live(event(now())))
        await agent.until(lambda: len(agent.acked) == 2)
        telemetry = f"boardherd/v1/{collector.site}/pc-01/telemetry"
        changed = agent.put(sample())
        body = agent.pending.pop(changed).replace(b'"seq": 3', b'"seq": 1')
        await agent.publish(telemetry, body)
        await agent.until(lambda: agent.refused)
        assert (agent.refused[-1].seq, agent.refused[-1].code) == (first, "conflict")
        await agent.publish(telemetry, body.replace(b'"agent": "pc-01"', b'"agent": "pc-02"'))
        await agent.until(lambda: agent.refused[-1].code == "invalid")
        await agent.publish(telemetry, body.replace(b'"v": 1', b'"v": 7'))
        await agent.until(lambda: agent.refused[-1].code == "unsupported")
        agent.put(live(loss(3, 3, at=now())))
        await agent.until(lambda: len(agent.acked) == 3)
        await agent.publish(telemetry, body.replace(b'"seq": 1', b'"seq": 3'))
        await agent.until(lambda: 3 in agent.acked)
    assert query(collector, "SELECT (SELECT count(*) FROM pc_stats), (SELECT count(*) FROM events)") == [
        (2, 2)
    ]
    assert query(collector, "SELECT seq, position FROM dead_letters") == [(2, 1)]
    assert query(collector, "SELECT first, last, reason FROM losses") == [(3, 3, "no space")]
    assert query(collector, "SELECT watermark, envelopes, lost_envelopes FROM streams") == [(4, 3, 1)]


async def test_a_database_that_cannot_be_written_is_waited_out(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """OPS-1, DEL-1, DEL-3: no acknowledgement without a commit, the fault shows, and all is stored afterwards."""
    async with stand_in(mosquitto, collector) as agent:
        agent.put(sample())
        await agent.until(lambda: agent.acked == {1} and agent.resumes)
        before, resumes = agent.collector, len(agent.resumes)
        with closing(sqlite3.connect(collector.database, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")
            agent.put(sample(cpu_percent=77))
            text = await asyncio.to_thread(collector.wait_for, "readyz", 503)
            assert "database is locked" in text
            assert agent.acked == {1}
            status, metrics = await asyncio.to_thread(collector.get, "metrics")
            assert status == 200
            assert "boardherd_collector_store_up 0.0" in metrics
            assert 'boardherd_host_cpu_usage_ratio{pc="pc-01"} 0.77' in metrics
            rival.execute("ROLLBACK")
        await agent.until(lambda: agent.acked == {1, 2} and len(agent.resumes) > resumes)
        assert before is not None
        assert agent.collector is not None
        assert agent.collector.session != before.session
        await asyncio.to_thread(collector.wait_for, "readyz", 200)
    assert query(collector, "SELECT count(*) FROM pc_stats") == [(2,)]


async def test_a_database_restored_from_a_backup_fills_itself_again(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """DEL-1: the resume names what the database lacks, acknowledged or not."""
    async with stand_in(mosquitto, collector) as agent:
        for _ in range(5):
            agent.put(sample())
        await agent.until(lambda: len(agent.acked) == 5)
        await asyncio.to_thread(collector.stop)
        with closing(sqlite3.connect(collector.database)) as db, db:
            db.execute("UPDATE streams SET watermark = 2")
        resumes = len(agent.resumes)
        await asyncio.to_thread(collector.start)
        await agent.until(
            lambda: len(agent.resumes) > resumes and agent.resumes[-1].missing.get(agent.stream)
        )
        assert agent.resumes[-1].missing == {agent.stream: ((3, 5),)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room; remount it to make more."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def fill(store: SqliteStore) -> int:
    """Commit envelopes until the disk is full; return the number of the last that was stored."""
    stored = 0

    async def commit_for_ever() -> None:
        nonlocal stored
        while True:
            await store.commit([received(stored + 1, *[event(NOW, text="x" * 400) for _ in range(100)])])
            stored += 1

    with pytest.raises(StoreError, match="full"):
        await commit_for_ever()
    return stored


async def test_a_full_disk_is_waited_out(small_disk: Path) -> None:
    """DEL-1, OPS-1: what did not fit was not called stored, and goes in when there is room again."""
    async with SqliteStore(small_disk / "history.db") as store:
        await store.sync_inventory(lab(), NOW)
        seq = await fill(store)
        assert seq > 1
        assert (await store.counts()).streams[0].envelopes == seq
        more = ["mount", "-o", "remount,size=64m", str(small_disk)]
        await asyncio.to_thread(subprocess.run, more, check=True)
        await store.reopen()
        commit = await store.commit([received(seq, event()), received(seq + 1, event())])
        assert commit.outcomes == [Outcome.CONFLICT, Outcome.COMMITTED]


async def test_a_broker_that_went_away_is_found_again(own_mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-1, DEL-5: it shows while it lasts, and the page stays up."""
    collector = CollectorProcess(tmp_path, own_mosquitto.url, "lab")
    await asyncio.to_thread(collector.start)
    try:
        await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
        await asyncio.to_thread(collector.wait_for, "readyz", 503)
        assert (await asyncio.to_thread(collector.get, "metrics"))[0] == 200
        await asyncio.to_thread(own_mosquitto.start)
        await asyncio.to_thread(collector.wait_for, "readyz", 200, 30.0)
        async with AgentStandIn(own_mosquitto.url, "lab") as agent:
            agent.put(sample())
            await agent.until(lambda: agent.acked == {1})
    finally:
        await asyncio.to_thread(collector.stop)


async def test_a_kept_board_state_is_known_after_connecting(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    topic = f"boardherd/v1/{collector.site}/pc-01/state/board/evm-07"
    async with stand_in(mosquitto, collector) as agent:
        await agent.publish(topic, encode(BoardState(record=live(board(now())), text="alive")), retain=True)
        await asyncio.to_thread(collector.stop)
        await asyncio.to_thread(collector.start)
        agent.put(sample())
        await agent.until(lambda: agent.acked == {1})
        _, fleet = await asyncio.to_thread(collector.get, "api/v1/fleet")
    assert json.loads(fleet)["boards"][0]["is_alive"] is True


async def test_it_stops_cleanly_and_says_so(mosquitto: Mosquitto, collector: CollectorProcess) -> None:
    """OPS-2."""
    assert await asyncio.to_thread(collector.stop) == 0
    status = await retained(mosquitto.url, f"boardherd/v1/{collector.site}/collector/status")
    assert (status["state"], status["text"]) == ("offline", "the collector was stopped")
    assert "Traceback" not in collector.log.read_text()


def run(config: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "boardherd_collector", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stderr


def test_what_it_cannot_start_with_is_one_sentence(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """OPS-4: a busy port, a database in use, a path that cannot be written."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "starting")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", collector.port))
        squatter.listen()
        code, said = run(collector.config)
    assert code == 1
    assert said.strip().splitlines()[-1].endswith("stop it, or set http.port to a free port")
    assert "Traceback" not in said
    with collector:
        code, said = run(collector.config)
        assert code == 1
        assert said.strip() == f"{collector.database} is in use by another collector"
    text = collector.config.read_text().replace(str(collector.database), "/proc/nowhere/x.db")
    collector.config.write_text(text)
    code, said = run(collector.config)
    assert code == 1
    assert said.strip() == "/proc/nowhere/x.db cannot be written: No such file or directory"
