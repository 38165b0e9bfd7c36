"""D12, D30: a database that is slow, and a whole fleet that comes back to it at once with all it has kept."""

from __future__ import annotations

import sqlite3
import tomllib
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from boardherd.rack.fleet import FleetOptions, SimulatedFleet
from boardherd.rack.fleet_telemetry import lab_text
from boardherd_shared.link import BrokerSettings
from boardherd_shared.topics import Topics
from faults.laboratory import Laboratory
from faults.proxy import Conditions
from faults.systems import SITE, Boardherd
from faults.tracing import interfered, needs_strace
from support.faults import all_is_well, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

AGENTS, BACKLOG_S = 200, 60.0


def metric(lab: Laboratory, name: str) -> float:
    """Return what the collector says of itself."""
    port = tomllib.loads((lab.place / "collector.toml").read_text())["http"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    return float(lines[f"boardherd_collector_{name}"])


@needs_strace
async def test_a_disk_that_takes_a_second_for_every_commit(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (D12): agents wait for their acknowledgements and do not repeat themselves; the lag is told."""
    async with Laboratory(Boardherd(), tmp_path, agents=2, rate=100) as lab:
        await lab.fresh()
        async with interfered(lab.collector, tmp_path, "fdatasync,fsync:delay_exit=1000000"):
            before = metric(lab, "envelopes_stored_total")
            await until(lambda: metric(lab, "envelopes_stored_total") > before + 80, 40)
            await until(lambda: metric(lab, "ingest_lag_seconds") > 1)
        stored, again = metric(lab, "envelopes_stored_total"), metric(lab, "envelopes_duplicate_total")
        assert again < 0.2 * stored, "a storm of repetitions"
        await all_is_well(lab)


@dataclass(frozen=True)
class WithFleet(Boardherd):
    """A collector that knows a simulated fleet."""

    def collector(self, place: Path, broker: str, agents: list[str]) -> list[str]:
        """Return the command of the collector; its lab is the fleet's."""
        command = super().collector(place, broker, agents)
        (place / "lab.toml").write_text(lab_text(SITE, AGENTS, 0))
        return command


async def test_a_fleet_that_comes_back_all_at_once(tmp_path: Path) -> None:
    """DEL-1, DEL-5, I4 (D30): 200 agents with a backlog, thrown out while it drains and let in together again."""
    async with Laboratory(WithFleet(), tmp_path, agents=0) as lab:
        options = FleetOptions(
            agents=AGENTS, boards=0, interval_s=5.0, backlog_s=BACKLOG_S, connections=AGENTS, seed=1
        )
        fleet = SimulatedFleet(
            options, BrokerSettings(url=f"mqtt://127.0.0.1:{lab.trunk.port}"), Topics(SITE)
        )
        async with fleet.running():
            total = fleet.backlog
            assert total >= AGENTS * BACKLOG_S / 5
            await until(lambda: fleet.backlog < 0.8 * total, 40)
            lab.trunk.conditions = Conditions(refuse=True)
            lab.trunk.reset()
            await until(lambda: lab.trunk.open == 0)
            waiting = fleet.backlog
            assert waiting > 0.2 * total, "they have to be thrown out in the middle"
            lab.trunk.conditions = Conditions()
            await until(lambda: fleet.backlog == 0, 40)
            fleet.stop_producing()
            await until(lambda: fleet.pending == 0, 40)
            figures = lab.collector.figures()
        made = sum(dict(shape).get("host", 0) for agent in fleet.agents for shape in agent.shapes)
        with closing(sqlite3.connect(tmp_path / "history.db")) as db:
            samples = "SELECT count(*), count(DISTINCT test_pc || '/' || timestamp) FROM pc_stats"
            assert db.execute(samples).fetchone() == (made, made)
            assert db.execute("SELECT count(*) FROM losses").fetchone() == (0,)
        assert made >= total
        assert figures["rss"] < 200 * 1024**2
        assert lab.tracebacks() == []
        assert lab.collector.deaths == []
