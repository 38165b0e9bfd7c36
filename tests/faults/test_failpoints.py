"""D05, D06, D07: processes that die at exactly the instant when it hurts most."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_shared.failpoints import (
    ACK_RECEIVED,
    ENVIRONMENT,
    SPOOL_COMMITTED,
    SPOOL_WRITTEN,
    STORED,
)
from faults.laboratory import Laboratory
from faults.processes import Child
from faults.systems import Boardherd
from support.faults import all_is_well

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


async def die_at(child: Child, name: str, times: int) -> None:
    """Have a process that does not run start, reach ``name`` so many times, and die there."""
    child.environment[ENVIRONMENT] = f"{name}:{times}"
    child.start()
    assert await child.wait(40) == -9, "it was to be killed there"
    del child.environment[ENVIRONMENT]
    await child.end()


async def test_between_commit_and_acknowledgement(tmp_path: Path) -> None:
    """DEL-1, DEL-3 (D05): the database has it and the agent does not know; it comes again and is known."""
    async with Laboratory(Boardherd(), tmp_path, rate=200) as lab:
        await lab.fresh()
        await lab.collector.end()
        for times in (1, 2, 5):
            await die_at(lab.collector, STORED, times)
        await all_is_well(lab)


async def test_between_acknowledgement_and_its_note(tmp_path: Path) -> None:
    """DEL-1 (D06): the agent dies with the acknowledgement in its hand, sends again, and is told again."""
    async with Laboratory(Boardherd(), tmp_path, rate=200) as lab:
        await lab.fresh()
        await lab.pcs[0].child.end()
        for times in (1, 2, 3, 7):
            await die_at(lab.pcs[0].child, ACK_RECEIVED, times)
        await all_is_well(lab)


@pytest.mark.parametrize("name", [SPOOL_WRITTEN, SPOOL_COMMITTED])
async def test_around_the_commit_of_the_spool(tmp_path: Path, name: str) -> None:
    """DEL-1 (D07): a record is whole or absent, and the file is in order."""
    async with Laboratory(Boardherd(), tmp_path, rate=200) as lab:
        await lab.fresh()
        pc = lab.pcs[0]
        await pc.child.end()
        for times in (3, 8, 20):
            await die_at(pc.child, name, times)
            with closing(sqlite3.connect(pc.state / "spool.db")) as db:
                assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        await all_is_well(lab)
