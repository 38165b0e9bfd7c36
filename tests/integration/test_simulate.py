"""A simulated fleet on a real broker and a real collector: nothing lost, nothing doubled, fresh data first."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from boardherd.rack.fleet import FleetOptions, SimulatedFleet
from boardherd.rack.fleet_report import CountsAnswer, compare
from boardherd.rack.fleet_telemetry import lab_text
from boardherd_shared.link import BrokerSettings, Incoming, Link, Session
from boardherd_shared.messages import Ack, encode
from boardherd_shared.topics import Kind, Topics
from support.broker import Mosquitto
from support.collector import CollectorProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

AGENTS, BOARDS = 20, 2


@pytest.fixture(scope="module")
def collector(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector for all of these tests, which look at what each of them adds."""
    directory = tmp_path_factory.mktemp("simulate")
    with CollectorProcess(
        directory, mosquitto.url, "simulate", lab_text("simulate", AGENTS, BOARDS)
    ) as process:
        yield process


def fleet_of(mosquitto: Mosquitto, collector: CollectorProcess, **options: Any) -> SimulatedFleet:
    chosen = {"agents": AGENTS, "boards": BOARDS, "interval_s": 1.0, "connections": 4} | options
    return SimulatedFleet(FleetOptions(**chosen), BrokerSettings(url=mosquitto.url), Topics(collector.site))


async def until(condition: Callable[[], bool], timeout: float = 45.0) -> None:
    async with asyncio.timeout(timeout):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def counts(collector: CollectorProcess) -> CountsAnswer:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://127.0.0.1:{collector.port}/api/v1/counts")
    return CountsAnswer.model_validate_json(answer.content)


def stored_samples(collector: CollectorProcess) -> Counter[str]:
    """Return how many samples the database holds, and how many different ones; asked of the file itself."""
    with closing(sqlite3.connect(f"file:{collector.database}?mode=ro", uri=True)) as db:
        found = "SELECT count(*), count(DISTINCT test_pc || '/' || timestamp) FROM pc_stats"
        rows, different = db.execute(found).fetchone()
    return Counter(rows=rows, different=different)


def made_samples(fleet: SimulatedFleet) -> int:
    return sum(dict(shape).get("host", 0) for agent in fleet.agents for shape in agent.shapes)


async def test_a_backlog_is_stored_once_and_fresh_data_goes_first(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """DEL-1, DEL-5: each agent's newest data is acknowledged while most of its backlog still waits."""
    fleet = fleet_of(mosquitto, collector, backlog_s=240.0)
    before, rows = await counts(collector), stored_samples(collector)
    left: dict[str, int] = {}
    async with fleet.running():
        while len(left) < AGENTS:
            for agent in fleet.agents:
                if agent.tally.fresh_s:
                    left.setdefault(agent.pc.id, agent.tally.backlog)
            await asyncio.sleep(0.005)
        await until(lambda: fleet.backlog == 0)
        fleet.stop_producing()
        await until(lambda: fleet.pending == 0)
    born_with = min(agent.born_with for agent in fleet.agents)
    assert min(left.values()) > born_with / 2
    assert compare(fleet.agents, before, await counts(collector)).good
    made = made_samples(fleet)
    assert stored_samples(collector) - rows == {"rows": made, "different": made}


@asynccontextmanager
async def garbage(mosquitto: Mosquitto, fleet: SimulatedFleet, site: str) -> AsyncIterator[None]:
    """Say nonsense to every agent as if it came from the collector, until the block ends."""
    topics = Topics(site)
    agents = fleet.agents

    def forged(stream: str, first: int, last: int) -> bytes:
        return encode(Ack(v=1, stream=stream, committed=((first, last),), window=1000, server_time=0.0))

    async def speak() -> None:
        async with Link(BrokerSettings(url=mosquitto.url), name="garbage").session() as session:
            while True:
                for agent, other in zip(agents, [*agents[1:], agents[0]], strict=True):
                    topic = topics.build(Kind.ACK, agent=agent.pc.id)
                    lies = (b"\x00", b"[]", b'{"v":2}', forged(other.stream, 1, 2**62))
                    for lie in (*lies, forged(agent.stream, agent.last + 1000, 2**62)):
                        await session.publish(topic, lie)
                    await session.publish(topics.build(Kind.RESUME, agent=agent.pc.id), b'{"session":"x"}')
                await asyncio.sleep(0.05)

    speaker = asyncio.create_task(speak(), name="garbage")
    try:
        yield
    finally:
        speaker.cancel()
        await asyncio.gather(speaker, return_exceptions=True)


async def test_a_killed_collector_and_forged_acknowledgements_cost_nothing(
    mosquitto: Mosquitto, collector: CollectorProcess
) -> None:
    """DEL-1, DEL-2, DEL-3: kill -9 in the middle of a backlog, among acknowledgements that mean nothing."""
    fleet = fleet_of(mosquitto, collector, backlog_s=120.0)
    before, rows = await counts(collector), stored_samples(collector)
    async with fleet.running():
        async with garbage(mosquitto, fleet, collector.site):
            total = fleet.backlog
            await until(lambda: fleet.backlog < total * 3 / 4)
            await asyncio.to_thread(collector.stop, signal.SIGKILL)
            assert fleet.backlog > 0, "it has to die in the middle"
            await asyncio.to_thread(collector.start)
            await until(lambda: fleet.backlog == 0)
        fleet.stop_producing()
        await until(lambda: fleet.pending == 0)
    answers = [len(agent.tally.answers_s) for agent in fleet.agents]
    assert min(answers) >= 2, "each agent has to have met the collector twice"
    assert all(agent.tally.garbled and agent.tally.strange for agent in fleet.agents)
    assert compare(fleet.agents, before, await counts(collector)).good
    made = made_samples(fleet)
    assert stored_samples(collector) - rows == {"rows": made, "different": made}


async def test_the_comparison_notices_what_is_lost_and_what_is_doubled(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Else the other tests would prove nothing."""
    site = "simulate-broken"
    collector = CollectorProcess(tmp_path, mosquitto.url, site, lab_text(site, AGENTS, BOARDS))
    fleet = fleet_of(mosquitto, collector, agents=2, backlog_s=30.0, connections=2)
    with collector:
        async with fleet.running():
            await until(lambda: fleet.resumed == 2 and fleet.backlog == 0)
            fleet.stop_producing()
            await until(lambda: fleet.pending == 0)
        assert compare(fleet.agents, CountsAnswer(), await counts(collector)).good
    with closing(sqlite3.connect(collector.database, isolation_level=None)) as db:
        db.execute("DELETE FROM pc_stats WHERE rowid = (SELECT min(rowid) FROM pc_stats)")
        db.execute("UPDATE streams SET watermark = watermark - 1, host_records = host_records + 1")
    with collector:
        found = compare(fleet.agents, CountsAnswer(), await counts(collector))
    assert not found.good
    assert found.missing_envelopes == 2
    assert found.doubled_envelopes == 2
    assert found.doubled_records >= 2
    assert found.missing_rows == 3


async def kept(mosquitto: Mosquitto, site: str) -> list[str]:
    """Return the topics of a site on which the broker keeps something: all, for one of our own comes last."""
    async with Link(BrokerSettings(url=mosquitto.url), name="reader").session() as session:
        await session.subscribe(f"boardherd/v1/{site}/#", "no/such/topic")
        await session.publish("no/such/topic", b"that was all")
        topics = [message.topic async for message in _until(session, "no/such/topic") if message.retain]
    return sorted(topics)


async def _until(session: Session, topic: str) -> AsyncIterator[Incoming]:
    async for message in session.messages():
        if message.topic == topic:
            return
        yield message


async def test_nothing_is_left_at_the_broker(mosquitto: Mosquitto, collector: CollectorProcess) -> None:
    """A trial leaves no ghosts: what the broker keeps of the fleet is taken back."""
    fleet = fleet_of(mosquitto, collector, agents=3)
    async with fleet.running():
        await until(lambda: fleet.resumed == 3)
        assert len(await kept(mosquitto, collector.site)) == 1 + 3 * (2 + 2 * BOARDS)
    assert await kept(mosquitto, collector.site) == [f"boardherd/v1/{collector.site}/collector/status"]


def simulate(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "boardherd", "simulate", *arguments]


def test_the_command_reports_in_json_and_in_words(
    mosquitto: Mosquitto, collector: CollectorProcess, tmp_path: Path
) -> None:
    """It finds the site by itself, drains, compares, and tells it by its exit code."""
    where = ["--broker", mosquitto.url, "--api", f"http://127.0.0.1:{collector.port}"]
    fleet = ["--agents", "5", "--boards", "2", "--interval", "1s", "--backlog", "1m", "--until-drained"]
    run = subprocess.run(
        simulate(*where, *fleet, "--json"), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    told = json.loads(run.stdout)
    assert told["ok"] is True
    assert told["records"]["host"] >= 300
    assert told["envelopes"]["accepted"] == told["database"]["stored_envelopes"]
    assert told["fresh"]["count"] == 5
    assert told["drain"]["ratio"] > 0
    again = subprocess.run(simulate(*where, *fleet), capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.rstrip().endswith("nothing lost, nothing doubled")


def test_ctrl_c_ends_it_with_a_report(mosquitto: Mosquitto, collector: CollectorProcess) -> None:
    """OPS-2: it settles what is on its way, compares, and says so, within seconds."""
    where = ["--broker", mosquitto.url, "--api", f"http://127.0.0.1:{collector.port}", "--json"]
    command = simulate(*where, "--agents", "5", "--boards", "1", "--interval", "500ms")
    rows = stored_samples(collector)["rows"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while stored_samples(collector)["rows"] < rows + 10:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["ok"] is True
    assert told["envelopes"]["pending"] == 0


def test_without_a_collector_it_says_that_it_cannot_tell(mosquitto: Mosquitto) -> None:
    command = simulate("--broker", mosquitto.url, "--api", "http://127.0.0.1:1", "--site", "nobody-there")
    command += ["--agents", "2", "--minutes", "0.01", "--settle", "100ms", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 3
    assert "does not answer" in run.stderr
    told = json.loads(run.stdout)
    assert told["ok"] is None
    assert told["not_compared"]


def test_without_a_broker_it_says_so() -> None:
    run = subprocess.run(
        simulate("--broker", "mqtt://127.0.0.1:1"), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 3
    assert "mqtt://127.0.0.1:1 cannot be reached" in run.stderr
