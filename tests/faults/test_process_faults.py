"""D01 to D10, S01 to S03, S05, S06: processes killed, frozen, stopped, starved; brokers and databases gone."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import pytest

from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Ack, decode
from boardherd_shared.topics import Kind, Topics
from faults import hooked, web
from faults.inflict import DEEDS
from faults.laboratory import Laboratory
from faults.ledger import Key, read_account
from faults.processes import Child
from faults.schedule import Fault
from faults.supervisor import Watchdog
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
    """DEL-1 (S01): SIGSTOP for 9 s, longer than a silent peer is borne; nothing is stored twice.

    An agent and the collector in one laboratory, the broker in another, at the same time.
    """
    async with asyncio.TaskGroup() as both:
        for whom in ("sides", "broker"):
            (tmp_path / whom).mkdir()
            both.create_task(_frozen(tmp_path / whom, whom), name=f"{whom} frozen")


async def _frozen(place: Path, whom: str) -> None:
    async with laboratory(place, agents=2) as lab:
        await lab.fresh()
        children = [lab.broker] if whom == "broker" else [lab.pcs[0].child, lab.collector]
        await asyncio.gather(*(child.freeze(9.0) for child in children))
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


def hook(child: Child, seconds: float) -> None:
    """Have each SIGUSR1 block the event loop of a process for so long, from its next start on."""
    at = child.command.index("-m") + 1
    child.command[at:at] = ["faults.hooked"]
    child.environment[hooked.SECONDS] = str(seconds)


async def test_an_event_loop_that_is_blocked(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (S02): a call that does not return; the watchdog of systemd ends what it guards, the rest recovers.

    The agent is blocked for longer than a silent peer is borne, with nobody to guard it; the collector for ever.
    """
    watchdog = Watchdog(tmp_path / "notify", limit_s=3.0)
    async with laboratory(tmp_path) as lab, watchdog.guarding(lab.collector):
        agent = lab.pcs[0].child
        for child, seconds in ((agent, 9.0), (lab.collector, 3600.0)):
            await child.end()
            hook(child, seconds)
        lab.collector.environment |= watchdog.environment
        for child in (agent, lab.collector):
            child.start()
        await lab.fresh()
        await asyncio.wait_for(watchdog.heard(), 10)
        for child in (agent, lab.collector):
            child.send(signal.SIGUSR1)
        await until(lambda: watchdog.bites == 1)
        await until(lambda: longest_gap(lab) > 8.5)
        await all_is_well(lab)
    assert (watchdog.bites, agent.starts) == (1, 2)


def longest_gap(lab: Laboratory) -> float:
    """Return for how many seconds, at the most, the first agent took no sample."""
    with closing(sqlite3.connect(lab.place / "history.db")) as db:
        times = [at / 1e6 for (at,) in db.execute("SELECT timestamp FROM pc_stats ORDER BY process_count")]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


@contextmanager
def crowd(cpu: int, size: int) -> Iterator[None]:
    """Have others want a processor, all the time, inside the block."""
    burners = [Child([sys.executable, "-c", "while True: pass"], Path(os.devnull)) for _ in range(size)]
    try:
        for burner in burners:
            burner.start()
            os.sched_setaffinity(burner.pid, {cpu})
        yield
    finally:
        for burner in burners:
            burner.kill_now()


async def test_no_processor_and_no_memory_to_be_had(tmp_path: Path) -> None:
    """DEL-1 (S05): last in the queue for one crowded processor, and a bound of memory; slower, but alive.

    The bound is on what a process may allocate, which needs no rights, in place of a control group's.
    """
    cpu = min(os.sched_getaffinity(0))
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        with crowd(cpu, 3):
            for child in (lab.collector, lab.pcs[0].child):
                os.sched_setaffinity(child.pid, {cpu})
                os.setpriority(os.PRIO_PROCESS, child.pid, 10)
                bound = allocated(child) + 48 * 1024**2
                resource.prlimit(child.pid, resource.RLIMIT_DATA, (bound, bound))
            await lab.broker.freeze(3.0)
            await asyncio.sleep(2.0)
        await all_is_well(lab)


def allocated(child: Child) -> int:
    """Return how many bytes of memory a process has for its own data."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


async def test_no_file_can_be_opened_any_more(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (S06): connections are lost and cannot be made again; said once, and over when there is room."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        agent = lab.pcs[0].child
        limits = {
            child: resource.prlimit(child.pid, resource.RLIMIT_NOFILE) for child in (agent, lab.collector)
        }
        for child, (_, hard) in limits.items():
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (4, hard))
        for line in lab.proxies:
            line.reset()
        await until(lambda: all(said(child, "Too many open files") for child in limits))
        curious = [await asyncio.open_connection("127.0.0.1", web.port(lab.place)) for _ in range(3)]
        await until(lambda: said(lab.collector, "nobody new is let in"))
        await asyncio.sleep(2.0)
        for child, limit in limits.items():
            assert said(child, "Too many open files") <= 3
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, limit)
        for _, writer in curious:
            writer.close()
        await all_is_well(lab)
