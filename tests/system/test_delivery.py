"""Delivery from end to end: real agent, real Mosquitto, real collector, and what people see of it meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.delivery.database import SpoolDatabase
from boardherd_agent.delivery.files import machine_id
from boardherd_agent.delivery.spool import Spool
from boardherd_shared.clock import SystemClock
from boardherd_shared.records import Health, HostRecord
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.delivery import HandClock
from support.hand_agent import AGENT, HandAgent
from support.telemetry import LAB

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

BACKLOG = int(os.environ.get("BOARDHERD_TEST_BACKLOG", "4000"))
"""Envelopes that wait when the agent starts."""
SECOND = 1_000_000
DAY = 86400 * SECOND
OLD_LOAD = 77.0

_SITES = count()
_LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
needs_faketime = pytest.mark.skipif(
    _LIBRARY is None, reason="needs libfaketime; run: sudo apt-get install faketime"
)


@pytest.fixture
def collector(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[CollectorProcess]:
    with CollectorProcess(tmp_path, mosquitto.url, f"delivery-{next(_SITES)}") as process:
        yield process


def query(collector: CollectorProcess, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{collector.database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def metric(collector: CollectorProcess, name: str) -> float | None:
    """Return the value of a metric that has one series, None when it is not told."""
    _, text = collector.get("metrics")
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def until(truth: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll until something is true."""
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def the_end_of_it(collector: CollectorProcess, agent: AgentProcess) -> None:
    """Stop both, and see that neither has a fault of its own to tell of."""
    assert agent.stop() == 0
    assert collector.stop() == 0
    assert "Traceback" not in agent.log.read_text() + collector.log.read_text()


def test_an_agent_without_a_disk_reports_from_memory_and_what_dies_with_it_is_declared_lost(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """DEL-1, OPS-1: it runs, it shows, and the collector says what nobody else can say any more."""
    obstacle = tmp_path / "obstacle"
    obstacle.write_text("a file where the directory should be")
    agent = AgentProcess(tmp_path, mosquitto.url, state=obstacle / "state")
    with agent:
        until(lambda: metric(collector, "boardherd_agent_spool_volatile") == 1)
        assert query(
            collector, "SELECT count(*) FROM events WHERE text LIKE 'records are kept in memory%'"
        ) == [(1,)]
        with closing(sqlite3.connect(collector.database, isolation_level=None)) as rival:
            rival.execute("BEGIN IMMEDIATE")  # nothing is stored from here on
            until(lambda: (metric(collector, "boardherd_agent_spool_pending_envelopes") or 0) >= 3)
            agent.stop(signal.SIGKILL)
            rival.execute("ROLLBACK")
        until(lambda: collector.get("readyz")[0] == 200)
        obstacle.unlink()
        agent.start()
        until(lambda: metric(collector, "boardherd_agent_spool_volatile") == 0)
        the_end_of_it(collector, agent)
    # What was given out after the last word to the collector is known to nobody; all it knew of is settled.
    streams = query(collector, "SELECT watermark, ranges, envelopes, lost_envelopes FROM streams")
    assert all(ranges == "[]" and mark == stored + lost for mark, ranges, stored, lost in streams), streams


def test_what_the_collector_knew_of_a_stream_in_memory_is_declared_lost(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """DEL-1: refused by the database's absence, killed with its process, said by the collector."""
    obstacle = tmp_path / "obstacle"
    obstacle.write_text("a file where the directory should be")
    with AgentProcess(tmp_path, mosquitto.url, state=obstacle / "state") as agent:
        until(lambda: metric(collector, "boardherd_collector_envelopes_stored_total"))
        until(lambda: '"volatile":true' in (query(collector, "SELECT hello FROM test_pcs")[0][0] or ""))
        agent.stop(signal.SIGKILL)
        collector.stop()
        with closing(sqlite3.connect(collector.database)) as db, db:  # a backup that is a moment older
            db.execute("UPDATE streams SET watermark = watermark - 2")
        collector.start()
        obstacle.unlink()
        agent.start()
        until(lambda: query(collector, "SELECT count(*) FROM losses") == [(1,)])
        ((reason, envelopes),) = query(collector, "SELECT reason, envelopes FROM losses")
        assert "memory only" in reason
        assert envelopes >= 2
        until(lambda: metric(collector, "boardherd_collector_envelopes_lost_total") == envelopes)
        the_end_of_it(collector, agent)


async def sooner_or_later(truth: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not truth():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_collector_that_dies_after_its_database_came_back_is_known_to_be_away(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """DEL-2: it took a new session, but its will is that of the connection."""
    async with Spool(tmp_path / "spool", agent=AGENT, clock=SystemClock()) as spool:
        agent = HandAgent(mosquitto.url, collector.site, spool, clock=SystemClock())

        async with agent.running():
            await sooner_or_later(lambda: agent.uplink.state == "sending")
            first = agent.uplink._collector
            with closing(sqlite3.connect(collector.database, isolation_level=None)) as rival:
                rival.execute("BEGIN IMMEDIATE")
                await spool.append("samples", [HostRecord(at=1, up=1, status=Health.HEALTHY)])
                await asyncio.to_thread(collector.wait_for, "readyz", 503)
                rival.execute("ROLLBACK")
            await sooner_or_later(
                lambda: agent.uplink._collector not in {first, None} and agent.uplink.state == "sending"
            )
            await sooner_or_later(lambda: spool.figures.pending == 0)
            await asyncio.to_thread(collector.stop, signal.SIGKILL)
            await sooner_or_later(lambda: agent.uplink.state == "the collector is away")
            await asyncio.to_thread(collector.start)
            await sooner_or_later(lambda: agent.uplink.state == "sending")


def backlog(state: Path, envelopes: int) -> None:
    """Leave a spool as an outage does: one sample an envelope, one a second, none of them sent."""
    state.mkdir()
    clock = SystemClock()
    spool = SpoolDatabase(
        state / "spool.db", agent="pc-01", clock=clock, max_bytes=2**30, machine=machine_id()
    )
    spool._db.execute("PRAGMA synchronous = OFF")
    wall, up = clock.wall(), clock.up()
    for number in range(envelopes):
        age = (envelopes - number) * SECOND
        # The boot may be younger than the outage: what counts here is the wall clock.
        at, since_boot = wall - age, max(0, up - age)
        values = {"at": at, "up": since_boot} if up > age else {"at": wall - up, "up": 0}
        spool.append(
            "samples",
            [
                HostRecord.model_validate(
                    values | {"status": "HEALTHY", "cpu_percent": OLD_LOAD, "thread_count": number}
                )
            ],
        )
    spool.close()


def test_after_an_outage_the_present_shows_at_once_while_the_backlog_drains(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """DEL-5, DEL-1: fresh data within 5 s of resume, all of the backlog behind it, and never in a gauge."""
    agent = AgentProcess(tmp_path, mosquitto.url)
    backlog(agent.state, BACKLOG)
    old, fresh = (
        f"SELECT count(*) FROM pc_stats WHERE cpu_percent {sign} {OLD_LOAD}" for sign in ("=", "<>")
    )
    with agent:
        until(lambda: "agent said hello" in collector.log.read_text())
        resumed = time.monotonic()
        until(lambda: query(collector, fresh) != [(0,)], 5.0)
        assert time.monotonic() - resumed < 5
        assert query(collector, old)[0][0] < BACKLOG, "the backlog is still draining"
        gauges = set()
        while query(collector, old)[0][0] < BACKLOG:
            gauges.add(metric(collector, "boardherd_host_cpu_usage_ratio"))
            time.sleep(0.2)
        (produced,), (drained,) = query(collector, fresh)[0], query(collector, old)[0]
        assert drained >= 10 * produced, "the backlog drains at ten times the production or better"
        assert len(gauges) > 1, "the gauge lives while the backlog drains"
        assert OLD_LOAD / 100 not in gauges
        the_end_of_it(collector, agent)
    found = query(collector, f"SELECT thread_count FROM pc_stats WHERE cpu_percent = {OLD_LOAD} ORDER BY 1")
    assert [number for (number,) in found] == list(range(BACKLOG))


TIMES = {
    "pc_stats": ("timestamp",),
    "board_liveness": ("timestamp", "since"),
    "relay_states": ("timestamp", "since"),
    "events": ("timestamp",),
    "board_current": ("timestamp", "since"),
    "relay_port_current": ("timestamp",),
}


def outermost(collector: CollectorProcess) -> tuple[float, float]:
    """Return the earliest and the latest time that is stored anywhere, Unix seconds."""
    columns = [(column, table) for table, columns in TIMES.items() for column in columns]
    found = [
        query(collector, f"SELECT min({column}), max({column}) FROM {table}")[0] for column, table in columns
    ]
    assert None not in {time for pair in found for time in pair}, "every table has something"
    return min(low for low, _ in found) / 1e6, max(high for _, high in found) / 1e6


@needs_faketime
@pytest.mark.parametrize("date", ["@1970-01-02 00:00:00", "@2099-06-01 12:00:00"])
async def test_whatever_the_clock_of_a_pc_says_times_are_right(
    own_mosquitto: Mosquitto, tmp_path: Path, date: str
) -> None:
    """OPS-1: within 2 s, from a wrong start over the moment when the clock is set; it shows, and clears."""
    setting = tmp_path / "clock"
    setting.write_text(f"{date}\n")
    async with DevantechModule() as module:
        lab = LAB.replace("tcp_port = 17494", f'tcp_port = {module.port}, poll = "200ms"')
        collector = CollectorProcess(tmp_path, own_mosquitto.url, "clock", lab)
        agent = AgentProcess(tmp_path, own_mosquitto.url)
        agent.environment = {
            "LD_PRELOAD": str(_LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(setting),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        await asyncio.to_thread(_live_through_it, collector, agent, setting)


def _live_through_it(collector: CollectorProcess, agent: AgentProcess, setting: Path) -> None:
    began = time.time()
    with collector, agent:
        until(lambda: abs(metric(collector, "boardherd_agent_clock_ahead_seconds") or 0) > 1e9)
        until(lambda: "the clock of a test PC is off" in collector.log.read_text())
        until(lambda: query(collector, "SELECT count(*) FROM relay_port_current") == [(1,)])
        until(lambda: query(collector, "SELECT count(*) FROM board_current") == [(1,)])
        setting.write_text("+0\n")
        until(
            lambda: (
                (ahead := metric(collector, "boardherd_agent_clock_ahead_seconds")) is not None
                and abs(ahead) < 2
            )
        )
        qualities = "SELECT DISTINCT time_quality FROM pc_stats ORDER BY 1"
        until(lambda: query(collector, qualities) == [("agent",), ("corrected",)])
        low, high = outermost(collector)
        assert began - 2 <= low
        assert high <= time.time() + 2
        assert query(collector, "SELECT count(*) FROM dead_letters") == [(0,)]
        the_end_of_it(collector, agent)


def test_a_boot_that_never_met_a_collector_is_flagged_or_set_aside(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """Nothing is stored outside of [retention, now + 10 min], and nothing late replaces what is newer."""
    agent = AgentProcess(tmp_path, mosquitto.url)
    agent.state.mkdir()
    clock = HandClock(boot="an earlier boot")
    spool = SpoolDatabase(
        agent.state / "spool.db", agent="pc-01", clock=clock, max_bytes=2**24, machine=machine_id()
    )
    now = time.time_ns() // 1000
    for at in (0, now - 60 * DAY, now - DAY, now - 60 * SECOND, now + 3600 * SECOND, 4_000_000_000 * SECOND):
        values = {"at": at, "up": 5, "status": "CRITICAL", "cpu_percent": OLD_LOAD}
        spool.append("samples", [HostRecord.model_validate(values)])
    spool.close()
    with agent:
        until(lambda: query(collector, "SELECT count(*) FROM dead_letters") == [(4,)])
        until(lambda: metric(collector, "boardherd_agent_spool_pending_envelopes") == 0)
        assert metric(collector, "boardherd_host_cpu_usage_ratio") != OLD_LOAD / 100
        late = query(
            collector,
            "SELECT timestamp, time_quality FROM pc_stats WHERE status = 'CRITICAL' ORDER BY timestamp",
        )
        assert late == [(now - DAY, "unverified"), (now - 60 * SECOND, "unverified")]
        until(lambda: query(collector, "SELECT record ->> '$.cpu_percent' FROM pc_current") != [(OLD_LOAD,)])
        the_end_of_it(collector, agent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file: Path) -> None:
    """Write until somebody says stop."""
    with file.open("wb", buffering=0) as out:
        while True:
            out.write(b"x" * 4096)


def test_a_full_disk_shows_within_a_minute_and_clears(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path, small_disk: Path
) -> None:
    """OPS-1, DEL-1: the disk is filled by somebody else; metrics say so, until there is room again."""
    with AgentProcess(tmp_path, mosquitto.url, state=small_disk / "state", interval="200ms") as agent:
        until(lambda: metric(collector, "boardherd_agent_spool_volatile") == 0)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        until(lambda: metric(collector, "boardherd_agent_spool_volatile") == 1, 60)
        filler.unlink()
        until(lambda: metric(collector, "boardherd_agent_spool_volatile") == 0, 60)
        until(lambda: metric(collector, "boardherd_agent_spool_pending_envelopes") == 0, 60)
        texts = [
            text
            for (text,) in query(
                collector, "SELECT text FROM events WHERE event = 'fault' ORDER BY timestamp"
            )
        ]
        assert ["kept in memory" in texts[0], "can be written again" in texts[-1]] == [True, True]
        the_end_of_it(collector, agent)
    streams = query(collector, "SELECT watermark, ranges, envelopes, lost_envelopes FROM streams")
    assert [(ranges, lost) for _, ranges, _, lost in streams] == [("[]", 0)] * len(streams)
