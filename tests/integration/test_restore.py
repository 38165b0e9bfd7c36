"""A database put back from an older copy fills itself again, out of the spools of the agents."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from boardherd_agent.delivery.spool import Limits, Spool
from boardherd_agent.delivery.uplink import Uplink
from boardherd_shared.clock import SystemClock
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Hello, HostFacts
from boardherd_shared.records import Health, HostRecord
from boardherd_shared.topics import Kind, Topics, parse
from support.broker import Mosquitto
from support.collector import CollectorProcess

AGENT = "pc-01"
CLOCK = SystemClock()


def sample(number: int) -> HostRecord:
    return HostRecord(at=CLOCK.wall(), up=CLOCK.up(), status=Health.HEALTHY, thread_count=number)


class Agent:
    """The real spool and the real uplink, put together as the agent does it."""

    def __init__(self, url: str, site: str, spool: Spool) -> None:
        self.topics = Topics(site)
        self.uplink = Uplink(spool, self.topics, AGENT, CLOCK, hello=self._hello, on_event=lambda event: None)
        self._link = Link(BrokerSettings(url=url, keepalive_s=5), name=f"agent-{site}")

    def _hello(self, session: str) -> Hello:
        facts = HostFacts(hostname=AGENT)
        return Hello(session=session, boot=CLOCK.boot, wall=CLOCK.wall(), up=CLOCK.up(), host=facts)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._link.run(self._serve), name="agent's link")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self, session: Session) -> None:
        topics = self.topics
        ack, resume = topics.build(Kind.ACK, agent=AGENT), topics.build(Kind.RESUME, agent=AGENT)
        await session.subscribe(ack, resume, topics.build(Kind.COLLECTOR_STATUS))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.uplink.serve(session), name="uplink")
            group.create_task(self._dispatch(session), name="dispatch")

    async def _dispatch(self, session: Session) -> None:
        doors = {
            Kind.ACK: self.uplink.on_ack,
            Kind.RESUME: self.uplink.on_resume,
            Kind.COLLECTOR_STATUS: self.uplink.on_collector_status,
        }
        async for message in session.messages():
            address = parse(message.topic)
            assert address
            doors[address.kind](message.payload)


def stored(database: Path) -> list[int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return [number for (number,) in db.execute("SELECT thread_count FROM pc_stats ORDER BY 1")]


def kept(directory: Path) -> list[int]:
    """Return what is in the database that was set aside."""
    (aside,) = directory.glob("history.db.replaced-*")
    return stored(aside)


async def until_stored(database: Path, count: int) -> None:
    for _ in range(1500):
        if len(stored(database)) >= count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(stored(database))} samples are stored, not {count}")


@contextlib.asynccontextmanager
async def at_work(collector: CollectorProcess) -> AsyncIterator[None]:
    await asyncio.to_thread(collector.start)
    try:
        yield
    finally:
        await asyncio.to_thread(collector.stop)


async def command(collector: CollectorProcess, *words: str) -> tuple[int, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "boardherd_collector", "--config", str(collector.config), *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def test_a_restored_database_is_filled_from_the_spools(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """DEL-1: backup while running, more data, restore of the older copy: everything is there, once."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "restored")
    copy = str(tmp_path / "copy.db.gz")
    limits = Limits(ballast_bytes=0)
    async with (
        Spool(tmp_path / "spool", agent=AGENT, clock=CLOCK, limits=limits, machine="m") as spool,
        at_work(collector),
    ):
        async with Agent(mosquitto.url, collector.site, spool).running():
            for number in range(40):
                await spool.append("samples", [sample(number)])
            await until_stored(collector.database, 40)
            code, said = await command(collector, "backup", copy)
            assert code == 0, said
            code, said = await command(collector, "restore", copy)
            assert code == 1
            assert "is in use by another collector" in said
            for number in range(40, 100):
                await spool.append("samples", [sample(number)])
            await until_stored(collector.database, 100)

            await asyncio.to_thread(collector.stop)
            code, said = await command(collector, "restore", copy)
            assert code == 0, said
            assert len(stored(collector.database)) < 100
            await asyncio.to_thread(collector.start)
            await until_stored(collector.database, 100)
        _, ready = await asyncio.to_thread(collector.get, "readyz")
    assert stored(collector.database) == list(range(100))
    assert "the collector rolls up" in json.loads(ready)["components"]["upkeep"]["text"]
    assert kept(tmp_path) == list(range(100))
