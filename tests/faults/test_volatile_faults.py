"""Processes that end while records are in memory only: the disk gets them, or the database hears of their loss."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_agent.delivery.store import Limits, SpoolStore
from boardherd_shared.failpoints import ENVIRONMENT, SPOOL_COMMITTED, SPOOL_WRITTEN
from faults.laboratory import Laboratory, Pc
from faults.systems import Boardherd
from support.delivery import Database, HandClock
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

HOME = "what was kept in memory is on the disk now"


async def into_memory(lab: Laboratory) -> Pc:
    """Have the only agent keep records in memory, with nobody to send them to."""
    pc = lab.pcs[0]
    if pc.disk is None:
        pytest.skip("mounting a small file system needs root")
    await lab.fresh()
    await lab.collector.end()
    pc.disk.fill()
    await until(lambda: said(pc.child, "the spool cannot be written"))
    await asyncio.sleep(1.0)
    return pc


def losses(lab: Laboratory) -> list[str]:
    """Return the reasons of the losses that the database knows of."""
    with closing(sqlite3.connect(lab.place / "history.db")) as db:
        return [reason for (reason,) in db.execute("SELECT reason FROM losses")]


async def test_killed_after_the_disk_was_back(tmp_path: Path) -> None:
    """DEL-1 (D22): what was in memory is on the disk as soon as that has room again, and outlives the process."""
    async with Laboratory(Boardherd(), tmp_path, rate=100, disk_mb=24) as lab:
        pc = await into_memory(lab)
        assert pc.disk
        pc.disk.relieve()
        await until(lambda: said(pc.child, HOME), 40)
        await pc.child.end(signal.SIGKILL)
        verdict = await all_is_well(lab)
        assert verdict.volatile > 0
        assert losses(lab) == []


async def test_stopped_before_it_saw_that_the_disk_is_back(tmp_path: Path) -> None:
    """DEL-1, OPS-2 (D22): SIGTERM takes what is in memory to the disk, in time."""
    async with Laboratory(Boardherd(), tmp_path, rate=100, disk_mb=24) as lab:
        pc = await into_memory(lab)
        assert pc.disk
        pc.disk.relieve()
        assert await pc.child.end() == 0
        assert said(pc.child, HOME)
        verdict = await all_is_well(lab)
        assert verdict.volatile > 0
        assert losses(lab) == []


async def test_stopped_on_a_full_disk(tmp_path: Path) -> None:
    """DEL-1, OPS-2 (D22): the ballast gives way to what is in memory; for the rest the database hears of a loss."""
    async with Laboratory(Boardherd(), tmp_path, rate=2000, disk_mb=24) as lab:
        pc = await into_memory(lab)
        assert pc.disk
        await asyncio.sleep(2.0)
        assert await pc.child.end() == 0
        pc.disk.relieve()
        pc.child.command[pc.child.command.index("--rate") + 1] = "100"
        verdict = await all_is_well(lab, declared=True)
        assert verdict.volatile > 0
        assert said(pc.child, HOME) or losses(lab)


async def test_killed_on_a_full_disk_before_anybody_heard_of_the_stream(tmp_path: Path) -> None:
    """DEL-1 (D22): the note beside the spool tells how far it had come, and the next process declares the loss."""
    async with Laboratory(Boardherd(), tmp_path, rate=100, disk_mb=24) as lab:
        pc = await into_memory(lab)
        assert pc.disk
        await pc.child.end(signal.SIGKILL)
        pc.disk.relieve()
        verdict = await all_is_well(lab)
        assert verdict.volatile > 0
        assert losses(lab) == ["the spool no longer holds them"]


EPISODE = """
import sys
from pathlib import Path
from boardherd_agent.delivery.store import Limits, SpoolStore
from support.delivery import HandClock, event

clock = HandClock()
limits = Limits(ballast_bytes=0)
spool = SpoolStore(Path(sys.argv[1]), agent="pc-01", clock=clock, limits=limits, machine="m")

def write(*tags):
    for tag in tags:
        (key,) = spool.append("events", [event(tag, clock)])
        sys.stdout.write(f"{tag} {key.stream} {key.seq}\\n")
        sys.stdout.flush()

write("on the disk")
spool._disk._db.execute("PRAGMA query_only = ON")
write("in memory 1", "in memory 2")
spool._disk._db.execute("PRAGMA query_only = OFF")
clock.advance(11)
write("after")
spool._disk._db.execute("PRAGMA query_only = ON")
write("in memory 3")
spool._disk._db.execute("PRAGMA query_only = OFF")
spool.close()
"""


def episode(place: Path, failpoint: str) -> tuple[bool, list[str]]:
    """Let a process live through two episodes of a failing disk; tell whether it came to its end, and what it said."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", EPISODE, place],
        env=os.environ | {ENVIRONMENT: failpoint, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, -signal.SIGKILL}
    return done.returncode == 0, [line for line in done.stdout.splitlines() if line[-1].isdigit()]


@pytest.mark.parametrize("name", [SPOOL_WRITTEN, SPOOL_COMMITTED])
def test_killed_at_every_transaction_on_the_way_into_memory_and_back(tmp_path: Path, name: str) -> None:
    """DEL-1 (D07): whenever it dies, each record is stored once or declared lost, and none of those on the disk is."""
    times, whole, came_home = 0, False, 0
    tags, database = Counter[str](), Database()
    while not whole:
        times += 1
        place = tmp_path / str(times)
        whole, accepted = episode(place, f"{name}:{times}")
        database = Database()
        spool = SpoolStore(
            place, agent="pc-01", clock=HandClock(), limits=Limits(ballast_bytes=0), machine="m"
        )
        spool.resume({info.stream: database.missing(info) for info in spool.describe()})
        while envelope := spool.oldest(()):
            database.take(envelope.payload)
            spool.acknowledge([envelope.key])
        spool.close()
        tags = database.tags()
        assert max(tags.values(), default=1) == 1, f"stored twice: {tags}"
        for line in accepted:
            if not line[0].isalpha():  # the log goes the same way
                continue
            tag, stream, seq = line.rsplit(maxsplit=2)
            assert tags[tag] or database.is_lost(stream, int(seq)), (times, line)
            assert tags[tag] or tag.startswith("in memory"), (times, line)
        came_home += tags["in memory 1"]
    assert times > 10
    assert came_home > 2
    assert sorted(tags) == ["after", "in memory 1", "in memory 2", "in memory 3", "on the disk"]
    assert database.learned() == []
