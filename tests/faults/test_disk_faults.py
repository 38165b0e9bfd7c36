"""D21 to D23, D25, D26: spools and disks that are full, system calls that fail, directories that are not ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from faults.laboratory import Laboratory, Pc
from faults.ledger import read_account
from faults.systems import Boardherd
from faults.tracing import needs_strace, traced
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

MIB = 1024**2
_NOBODY = 65534
_UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all")
ERRORS = ("pwrite64:error=EIO:when=40..41", "fdatasync:error=EIO:when=8..9")


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
async def test_writes_that_fail(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D23): errors of the disk in the middle of transactions; never silent, never the end."""
    async with Laboratory(Boardherd(), tmp_path, agents=len(ERRORS), rate=100) as lab:
        plain = {pc.name: list(pc.child.command) for pc in lab.pcs}
        for pc, inject in zip(lab.pcs, ERRORS, strict=True):
            await pc.child.end()
            pc.child.command = traced(pc.child, pc.place, inject)
            pc.child.start()
        for pc in lab.pcs:
            await until(lambda pc=pc: said(pc.child, "the spool cannot be written"), 40)
            await until(lambda pc=pc: said(pc.child, "the spool can be written again"), 40)
        await lab.settle()
        for pc in lab.pcs:
            await pc.child.end()
            pc.child.command = plain[pc.name]
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
            child.command = traced(child, tmp_path, f"{call}:signal=KILL:when={times}", plain)
            child.start()
            assert await child.wait(40) == -9
        await child.end()
        child.command = plain
        await all_is_well(lab)


class Trouble:
    """A directory that a spool cannot be written to."""

    def __init__(self, pc: Pc) -> None:
        self.pc = pc

    def begin(self) -> None:
        """Have it be like that; the agent does not run."""

    def end(self) -> None:
        """Make it good again, while the agent runs."""


class ReadOnly(Trouble):
    """Remounted after an error of the disk, say."""

    def begin(self) -> None:
        self._remount("ro")

    def end(self) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.pc.state)], check=True)


class SomebodyElses(Trouble):
    """Owned by another user, who lets nobody in."""

    def begin(self) -> None:
        for path in (self.pc.state, *self.pc.state.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
            path.chmod(0o700 if path.is_dir() else 0o600)

    def end(self) -> None:
        for path in (self.pc.state, *self.pc.state.iterdir()):
            os.chown(path, 0, 0)


class NotThere(Trouble):
    """On a disk that is not mounted, where nothing can be made instead."""

    def begin(self) -> None:
        self._disk.write_text("not mounted\n")
        command = self.pc.child.command
        command[command.index("--state") + 1] = str(self._disk / "state")

    def end(self) -> None:
        self._disk.unlink()
        self._disk.symlink_to(self.pc.state.parent)

    @property
    def _disk(self) -> Path:
        return self.pc.place / "disk"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, and setpriv")
async def test_a_directory_that_is_read_only_not_there_or_somebody_elses(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D26): records are kept in memory and delivered, it is said, and nobody ends or starts over.

    The agents are root without root's privilege of ignoring permissions.
    """
    async with Laboratory(Boardherd(), tmp_path, agents=3, rate=100, disk_mb=24) as lab:
        if lab.pcs[0].disk is None:
            pytest.skip("mounting a small file system is not allowed here")
        await lab.fresh()
        await lab.quiet()
        troubles = [ReadOnly(lab.pcs[0]), SomebodyElses(lab.pcs[1]), NotThere(lab.pcs[2])]
        for trouble in troubles:
            trouble.begin()
            child = trouble.pc.child
            child.command = [*_UNPRIVILEGED, *child.command]
            child.start()
        await lab.fresh()
        for trouble in troubles:
            assert said(trouble.pc.child, "the spool cannot be written") == 1
            assert trouble.pc.child.running
            assert read_account(trouble.pc.ledger).volatile
            trouble.end()
        for trouble in troubles:
            await until(lambda child=trouble.pc.child: said(child, "the spool can be written again"), 30)
        verdict = await all_is_well(lab)
        assert verdict.volatile > 0


async def test_a_directory_that_is_removed_from_under_the_agent(tmp_path: Path) -> None:
    """DEL-1 (D26): what the database had not yet when the agent died is there, or reported as lost by the next one."""
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        pc = lab.pcs[0]
        await lab.fresh()
        await lab.collector.end()
        shutil.rmtree(pc.state)
        accepted = len(read_account(pc.ledger).accepted)
        await until(lambda: len(read_account(pc.ledger).accepted) > accepted + 100)
        await pc.child.end(signal.SIGKILL)
        await lab.heal()
        await lab.fresh()
        verdict = await lab.settle(4.0)
        assert verdict.settled, verdict
