"""D01 to D10, S01, S03: processes that are killed, frozen and stopped; brokers and databases that go away."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Ack, decode
from boardherd_shared.topics import Kind, Topics
from faults.inflict import DEEDS
from faults.laboratory import Laboratory
from faults.ledger import Key, read_account
from faults.schedule import Fault
from faults.systems import SITE, Boardherd
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


def laboratory(place: Path, *, agents: int = 1, rate: float = 200.0) -> Laboratory:
    return Laboratory(Boardherd(), place, agents=agents, rate=rate)


async def test_an_agent_killed_again_and_again(tmp_path: Path) -> None:
    """DEL-1 (D01): kill -9 at random moments, ten times; every record that was accepted is there once."""
    rng = random.Random(1)
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        for _ in range(10):
            await asyncio.sleep(rng.uniform(0.4, 0.9))
            assert await lab.pcs[0].child.end(signal.SIGKILL) == -9
            lab.pcs[0].child.start()
        verdict = await all_is_well(lab)
        assert verdict.stored > 100


async def test_a_collector_killed_again_and_again(tmp_path: Path) -> None:
    """DEL-1, DEL-3 (D02): after each kill -9 the database holds every record whose acknowledgement was seen.

    The balance alone would not tell: agents keep what was acknowledged, and offer it again.
    """
    rng = random.Random(2)
    async with laboratory(tmp_path) as lab, Eavesdropper(lab) as eavesdropper:
        for _ in range(4):
            await lab.fresh()
            await asyncio.sleep(rng.uniform(0.5, 1.2))
            await lab.collector.end(signal.SIGKILL)
            await eavesdropper.hear_the_rest()
            account, found = read_account(lab.pcs[0].ledger), lab.database.findings(lab.pcs[0].name)
            told = [
                number for number, keys in account.accepted.items() if eavesdropper.acknowledged & {*keys}
            ]
            assert len(told) > 50
            assert [number for number in told if number not in found.stored] == []
            lab.collector.start()
        await all_is_well(lab)


class Eavesdropper:
    """Listens to what the collector acknowledges."""

    def __init__(self, lab: Laboratory) -> None:
        self._link = Link(BrokerSettings(url=lab.broker.url), name="eavesdropper")
        self._topic = Topics(SITE).build(Kind.ACK, agent=lab.pcs[0].name)
        self._task: asyncio.Task[None] | None = None
        self._quiet_since = 0.0
        self.acknowledged: set[Key] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._link.run(self._serve), name="eavesdropper")
        await until(lambda: self._link.connected)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def hear_the_rest(self) -> None:
        """Return when nothing has come for a moment."""
        self._quiet_since = time.monotonic()
        await until(lambda: time.monotonic() - self._quiet_since > 0.3)

    async def _serve(self, session: Session) -> None:
        await session.subscribe(self._topic)
        async for message in session.messages():
            ack = decode(Ack, message.payload)
            self.acknowledged |= {(ack.stream, seq) for a, b in ack.committed for seq in range(a, b + 1)}
            self._quiet_since = time.monotonic()


async def test_a_broker_killed_again_and_again_with_all_it_knew(tmp_path: Path) -> None:
    """DEL-1, DEL-2, DEL-5, OPS-1 (D03, D08): it keeps nothing on its disk, so each kill wipes its state."""
    rng = random.Random(3)
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        for _ in range(4):
            await lab.broker.end(signal.SIGKILL)
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            lab.broker.start()
            await asyncio.sleep(rng.uniform(0.5, 2.0))
        await all_is_well(lab)
        assert said(lab.pcs[0].child, "the broker is away")
        assert said(lab.collector, "component=broker ok=False")


async def test_everything_killed_at_once(tmp_path: Path) -> None:
    """DEL-1, DEL-2 (D04): agents, broker and collector, three times."""
    async with laboratory(tmp_path, agents=2) as lab:
        await lab.fresh()
        for _ in range(3):
            await DEEDS["everything killed"](lab, Fault(0, "everything killed", "everything", 0.1, 0.5))
            await asyncio.sleep(2.0)
        await all_is_well(lab)


async def test_processes_frozen_for_longer_than_their_keepalive(tmp_path: Path) -> None:
    """DEL-1 (S01): SIGSTOP for 9 s, longer than a silent peer is borne; nothing is stored twice."""
    async with laboratory(tmp_path, agents=2) as lab:
        await lab.fresh()
        await asyncio.gather(lab.pcs[0].child.freeze(9.0), lab.collector.freeze(9.0))
        await lab.fresh()
        await lab.broker.freeze(9.0)
        await all_is_well(lab)


async def test_stopped_under_load(tmp_path: Path) -> None:
    """OPS-2, DEL-1 (S03): SIGTERM ends agent and collector within 10 s with code 0, records in flight or not."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        for _ in range(2):
            for child in (lab.pcs[0].child, lab.collector):
                assert await child.end(signal.SIGTERM) == 0
                child.start()
                await lab.fresh()
        await all_is_well(lab)


async def test_a_database_locked_by_somebody_else(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D10, D14): no acknowledgement without a commit; it shows in the log, and clears afterwards."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        await DEEDS["database locked"](lab, Fault(0, "database locked", "database", 8.0, 0.5))
        assert said(lab.collector, "component=store ok=False")
        assert said(lab.collector, "database is locked")
        await all_is_well(lab)
        ends = said(lab.collector, "component=store ok=False")
        await until(lambda: said(lab.collector, "component=store ok=True") == 1 + ends)


async def test_a_database_restored_from_an_older_backup(tmp_path: Path) -> None:
    """DEL-1 (D13): what was stored and acknowledged after the backup comes again from the spools."""
    async with laboratory(tmp_path, agents=2) as lab:
        await lab.fresh()
        await asyncio.to_thread(lab.database.back_up)
        before = lab.database.count()
        await asyncio.sleep(2.0)
        await lab.settle()
        assert lab.database.count() > before + 200
        await DEEDS["database restored"](lab, Fault(0, "database restored", "database", 0.2, 0.5))
        await all_is_well(lab)
        with closing(sqlite3.connect(tmp_path / "history.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
