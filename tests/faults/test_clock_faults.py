"""T01, T02: a wall clock that is decades off, and one that jumps; the time since boot goes on as it does."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from faults.laboratory import Laboratory
from faults.systems import Boardherd
from support.faults import all_is_well

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

_PLACES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
_LIBRARY = next((path for place in _PLACES if (path := Path(place) / "libfaketimeMT.so.1").exists()), None)
needs_faketime = pytest.mark.skipif(
    _LIBRARY is None, reason="needs libfaketime; run: sudo apt-get install faketime"
)


def environment(setting: Path) -> dict[str, str]:
    """Return what makes a process believe the wall clock in the file ``setting``, and no other clock."""
    return {
        "LD_PRELOAD": str(_LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def years(place: Path) -> tuple[set[str], float, float]:
    """Return the qualities of the stored times, and how far the outermost are from when they were received."""
    with closing(sqlite3.connect(place)) as db:
        qualities = {row[0] for row in db.execute("SELECT DISTINCT time_quality FROM pc_stats")}
        low, high = db.execute("SELECT min(timestamp), max(timestamp - received_at) FROM pc_stats").fetchone()
    return qualities, low / 1e6, high / 1e6


@needs_faketime
@pytest.mark.parametrize("date", ["@1970-01-02 00:00:00", "@2099-06-01 12:00:00"])
async def test_a_clock_that_is_decades_off_from_the_start(tmp_path: Path, date: str) -> None:
    """DEL-1 (T01, T02): every record is stored, at the time when it was true, and none as a dead letter."""
    setting = tmp_path / "clock"
    setting.write_text(f"{date}\n")
    began = time.time()
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        child = lab.pcs[0].child
        await child.end()
        assert not lab.pcs[0].ledger.exists() or "accepted" not in lab.pcs[0].ledger.read_text()
        child.environment |= environment(setting)
        child.start()
        verdict = await all_is_well(lab)
        qualities, oldest, ahead = years(lab.place / "history.db")
    assert verdict.stored == verdict.accepted
    assert qualities == {"corrected"}
    assert oldest >= began - 2
    assert ahead <= 2


@needs_faketime
async def test_a_clock_that_jumps_while_the_agent_runs(tmp_path: Path) -> None:
    """DEL-1 (T01): an hour forth and back, 1970 and 2099; order, resending and deadlines go on undisturbed."""
    setting = tmp_path / "clock"
    setting.write_text("+0\n")
    began = time.time()
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        child = lab.pcs[0].child
        await child.end()
        child.environment |= environment(setting)
        child.start()
        await lab.fresh()
        for jump in ("+3600", "-3600", "@1970-01-02 00:00:00", "@2099-06-01 12:00:00", "+0"):
            setting.write_text(f"{jump}\n")
            await asyncio.sleep(0.6)
            assert await lab.fresh() < 10
        await all_is_well(lab)
        qualities, oldest, ahead = years(lab.place / "history.db")
    assert qualities == {"agent", "corrected"}
    assert oldest >= began - 7, "a jump that is smaller than what is believed stays as it is"
    assert ahead <= 7
