"""D21, D22, D23, D25: spools that are full, disks that are full, and system calls that fail one after another."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from faults.laboratory import Laboratory
from faults.processes import Child
from faults.systems import Boardherd
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

MIB = 1024**2
needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace to make system calls fail"
)


async def test_a_disk_filled_by_somebody_else(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D22): the agent lives on, in memory if it must, says so, and is back on the disk by itself."""
    async with Laboratory(Boardherd(), tmp_path, rate=100, disk_mb=24) as lab:
        pc = lab.pcs[0]
        if pc.disk is None:
            pytest.skip("mounting a small file system needs root")
        await lab.fresh()
        await lab.collector.end()
        pc.disk.fill()
        await until(lambda: said(pc.child, "the spool cannot be written"))
        await asyncio.sleep(2.0)
        lab.collector.start()
        await lab.fresh()
        pc.disk.relieve()
        await until(lambda: said(pc.child, "the spool can be written again"), 30)
        verdict = await all_is_well(lab)
        assert verdict.volatile > 0, "some were taken into memory, and are stored all the same"


async def test_a_spool_that_is_full_tells_exactly_what_it_gave_up(tmp_path: Path) -> None:
    """DEL-1, DEL-4 (D21): the oldest samples go, and the losses count as many records as are missing."""
    system = Boardherd(max_bytes=MIB)
    async with Laboratory(system, tmp_path, rate=2000) as lab:
        await lab.fresh()
        await lab.settle()
        await lab.collector.end()
        state = lab.pcs[0].state
        await asyncio.sleep(6.0)
        await lab.pcs[0].child.end()
        assert sum(file.stat().st_size for file in state.iterdir()) < MIB + 32 * MIB
        lab.pcs[0].child.command[lab.pcs[0].child.command.index("--rate") + 1] = "100"
        verdict = await all_is_well(lab, declared=True)
        assert verdict.declared > 500
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            told, reasons = db.execute(
                "SELECT sum(records), group_concat(DISTINCT reason) FROM losses"
            ).fetchone()
        assert (told, reasons) == (verdict.declared, "the spool was full")


@needs_strace
@pytest.mark.parametrize(
    "inject",
    ["pwrite64:error=EIO:when=40..41", "fdatasync:error=EIO:when=8..9"],
)
async def test_writes_that_fail(tmp_path: Path, inject: str) -> None:
    """DEL-1, OPS-1 (D23): errors of the disk in the middle of transactions; never silent, never the end."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        child = lab.pcs[0].child
        await child.end()
        plain = list(child.command)
        child.command = _traced(child, tmp_path, inject)
        child.start()
        await until(lambda: said(child, "the spool cannot be written"), 40)
        await until(lambda: said(child, "the spool can be written again"), 40)
        await lab.settle()
        await child.end()
        child.command = plain
        await all_is_well(lab)


@needs_strace
async def test_killed_at_one_write_to_the_disk_after_another(tmp_path: Path) -> None:
    """DEL-1 (D07, D25): SIGKILL as the N-th write or sync of the spool begins, from its making on."""
    async with Laboratory(Boardherd(), tmp_path, rate=200) as lab:
        child = lab.pcs[0].child
        plain = list(child.command)
        for call, times in (
            ("pwrite64", 3),
            ("pwrite64", 30),
            ("pwrite64", 47),
            ("fdatasync", 2),
            ("fdatasync", 9),
        ):
            await child.end()
            child.command = _traced(child, tmp_path, f"{call}:signal=KILL:when={times}", plain)
            child.start()
            assert await child.wait(40) == -9
        await child.end()
        child.command = plain
        await all_is_well(lab)


def _traced(child: Child, place: Path, inject: str, plain: list[str] | None = None) -> list[str]:
    """Return the command of ``child`` with a fault in its system calls; with -D strace stands beside it."""
    call = inject.partition(":")[0]
    options = ["-D", "-f", "-qq", "-o", str(place / "strace.log"), "-e", f"trace={call}"]
    return ["strace", *options, "-e", f"inject={inject}", *(plain or child.command)]
