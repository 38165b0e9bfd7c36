"""T01 to T04: wall clocks that are decades off, jump, change to summer time; the time since boot goes on as it does."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_shared.command import CommandStep, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import decode
from boardherd_shared.topics import Kind, Topics
from faults import web
from faults.laboratory import Laboratory
from faults.systems import Boardherd
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.faults import all_is_well, said, until

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


@needs_faketime
async def test_summer_time_and_a_leap_second(tmp_path: Path) -> None:
    """DEL-1 (T03): an hour that does not exist, a second that is there twice; nothing moves by more than that."""
    setting = tmp_path / "clock"
    setting.write_text("@2026-03-29 01:59:59\n")
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        child = lab.pcs[0].child
        await child.end()
        child.environment |= environment(setting) | {"TZ": "Europe/Berlin"}
        child.start()
        await lab.fresh()
        await until(lambda: lab.database.count() > 250)
        setting.write_text("+0\n")
        await lab.fresh()
        setting.write_text("-1\n")
        await lab.fresh()
        await all_is_well(lab)
        with closing(sqlite3.connect(lab.place / "history.db")) as db:
            rows = db.execute(
                "SELECT timestamp, time_quality FROM pc_stats ORDER BY process_count"
            ).fetchall()
    steps = [(later[0] - earlier[0]) / 1e6 for earlier, later in itertools.pairwise(rows)]
    assert {quality for _, quality in rows} == {"agent", "corrected"}
    assert -1.5 < min(steps) < 0, "a part of the second that is there twice"
    assert sum(step < 0 for step in steps) == 1
    assert max(steps) < 10, "no hour is missing"


LAB = """
site = "time"
pc.pc-01 = {{}}
relay.eth-1 = {{ model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = {port}, poll = "200ms" }}
[board.evm-01]
pc = "pc-01"
power = ["eth-1:3", "eth-1:4"]
off_time = "2s"
min_off = "2s"
"""
"""Two feeds are switched by the agent's own clock; a pulse on one the module would time itself."""
OFF_TIME_S = 2.0
STOOD_STILL_S = 4.0


@needs_faketime
async def test_a_power_cycle_takes_as_long_as_it_should_whatever_the_clock_does(tmp_path: Path) -> None:
    """CMD-1, CMD-2 (T01, T03): jumps while the board is off, and a process that stands still as in a suspend.

    Deadlines are in the collector's time, so an agent whose clock is an hour off takes them for what they are. A
    real suspend would take the machine along; the clock that counts it goes on while a process is frozen.
    """
    setting = tmp_path / "clock"
    setting.write_text("+3600\n")
    with Mosquitto(tmp_path) as broker:
        async with DevantechModule() as module:
            for port in (3, 4):
                module.contacts.set(port, True)
            collector = CollectorProcess(tmp_path, broker.url, "time", LAB.format(port=module.port))
            agent = AgentProcess(tmp_path, broker.url)
            agent.environment = environment(setting)
            with collector, agent:
                async with Link(BrokerSettings(url=broker.url), name="ops1").session() as session:
                    await session.subscribe(Topics("time").filter(Kind.RESULT))
                    await until(lambda: "agent said hello" in collector.log.read_text())
                    for disturb in (_jump(setting), _stand_still(agent)):
                        await _cycle(session, module, disturb)
                assert (agent.stop(), collector.stop()) == (0, 0)


async def _cycle(session: Session, module: DevantechModule, disturb: Callable[[], Awaitable[None]]) -> None:
    """Have the board cycled, disturb it in mid-dwell, and look at what the module says that it did."""
    done = len(module.transitions)
    asked = {"action": "cycle", "board": "evm-01", "expires_at": time.time() + 20, "id": f"c-{done}"}
    topic = Topics("time").build(Kind.COMMAND, agent="pc-01", operator="ops1")
    await session.publish(topic, json.dumps(asked).encode())
    async with asyncio.timeout(30):
        async for message in session.messages():
            step = decode(CommandStep, message.payload)
            if step.phase == "dwell":
                await disturb()
            if step.final:
                break
    assert step.state is State.SUCCEEDED, step
    moves = module.transitions[done:]
    assert [(move.port, move.energised) for move in moves] == [(4, False), (3, False), (3, True), (4, True)]
    off_s = moves[2].at - moves[1].at
    assert OFF_TIME_S <= off_s < OFF_TIME_S + STOOD_STILL_S + 10
    assert abs(step.times["off_s"] - off_s) < 10, "it tells of no hour that nobody waited"


def _jump(setting: Path) -> Callable[[], Awaitable[None]]:
    async def disturb() -> None:
        for jump in ("-3600", "@1970-01-02 00:00:00", "+7200"):
            await asyncio.to_thread(setting.write_text, f"{jump}\n")
            await asyncio.sleep(0.2)

    return disturb


def _stand_still(agent: AgentProcess) -> Callable[[], Awaitable[None]]:
    async def disturb() -> None:
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STOOD_STILL_S)
        agent.process.send_signal(signal.SIGCONT)

    return disturb


@needs_faketime
async def test_a_collector_whose_clock_is_wrong_until_it_is_set(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (T04): every PC seems to be off by as much, which shows; nothing is lost without a word.

    An hour late in one laboratory and an hour early in another, at the same time.
    """
    async with asyncio.TaskGroup() as both:
        for wrong in ("-3600", "+3600"):
            (tmp_path / wrong).mkdir()
            both.create_task(_wrong(tmp_path / wrong, wrong), name=f"the collector's clock at {wrong}")


async def _wrong(place: Path, wrong: str) -> None:
    setting = place / "clock"
    setting.write_text(f"{wrong}\n")
    ahead = "boardherd_agent_clock_ahead_seconds"
    async with Laboratory(Boardherd(), place, agents=2, rate=50) as lab:
        await lab.collector.end()
        for ending in ("", "-wal", "-shm"):
            (place / f"history.db{ending}").unlink(missing_ok=True)
        lab.collector.environment |= environment(setting)
        lab.collector.start()
        await lab.fresh()
        await until(lambda: said(lab.collector, "the clock of a test PC is off") == len(lab.pcs))
        found = {series: value for series, value in web.metrics(place).items() if series.startswith(ahead)}
        assert list(found.values()) == pytest.approx([-float(wrong)] * len(lab.pcs), abs=5)
        setting.write_text("+0\n")
        await until(lambda: said(lab.collector, "the clock of this machine was set") == 1, 20)
        await lab.fresh()
        verdict = await lab.settle(20)
        assert verdict.settled, verdict
        with closing(sqlite3.connect(place / "history.db")) as db:
            (sooner,) = db.execute("SELECT max(timestamp - received_at) / 1e6 FROM pc_stats").fetchone()
        assert sooner < 600, "nothing is stored as if it had yet to come"
