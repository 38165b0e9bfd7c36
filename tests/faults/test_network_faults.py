"""N01 to N06, N09, N10, D15, D16, D18: connections refused, reset, stalled, slow, lossy where it hurts, or denied."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults import web
from faults.laboratory import Laboratory
from faults.proxy import Conditions
from faults.raw_mqtt import raw_client
from faults.systems import Boardherd
from support.faults import all_is_well, said, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]


def laboratory(place: Path, rate: float = 200.0) -> Laboratory:
    return Laboratory(Boardherd(), place, rate=rate, seed="network")


async def test_a_broker_that_refuses_is_asked_ever_less_often(tmp_path: Path) -> None:
    """DEL-1, DEL-5, OPS-1 (N01): it backs off, says so once, and is back in time."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        line = lab.pcs[0].line
        line.conditions = Conditions(refuse=True)
        line.reset()
        before = line.tally.connections
        await asyncio.sleep(8.0)
        assert 1 <= line.tally.connections - before <= 8
        await all_is_well(lab)
        words = [text[20:] for text in lab.pcs[0].child.log.read_text().splitlines() if "the broker" in text]
        assert any("the broker is away, trying again" in text for text in words)
        assert all(one != other for one, other in itertools.pairwise(words)), "once for each change"


async def test_lines_that_stall_are_given_up_in_time(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (N02): the peer is silent and TCP says nothing; noticed within 1.5 keepalives and 5 s.

    The agent's line in one laboratory and the collector's in another, at the same time.
    """
    async with asyncio.TaskGroup() as both:
        for whose in ("agent", "collector"):
            (tmp_path / whose).mkdir()
            both.create_task(_stalled(tmp_path / whose, whose), name=f"{whose}'s line")


async def _stalled(place: Path, whose: str) -> None:
    async with laboratory(place) as lab:
        await lab.fresh()
        line = lab.pcs[0].line if whose == "agent" else lab.trunk
        child = lab.pcs[0].child if whose == "agent" else lab.collector
        word = "the broker is away" if whose == "agent" else "component=broker ok=False"
        before = said(child, word)
        line.conditions = Conditions(stalled=frozenset({"up", "down"}))
        began = time.monotonic()
        await until(lambda: said(child, word) > before, 1.5 * 5 + 5 + 2)
        assert time.monotonic() - began < 15
        await all_is_well(lab)


async def test_a_connection_reset_at_any_byte(tmp_path: Path) -> None:
    """DEL-1 (N03): RST in mid-packet, on the agent's and the collector's line."""
    rng = random.Random(5)
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        for number in range(8):
            line = (lab.trunk, lab.pcs[0].line)[number % 2]
            resets = line.tally.resets
            line.conditions = Conditions(cut_after=rng.randrange(1, 20_000))
            await until(lambda line=line, resets=resets: line.tally.resets > resets, 40)
            line.conditions = Conditions()
        await all_is_well(lab)


async def test_a_slow_and_narrow_line_brings_no_storm_of_repetitions(tmp_path: Path) -> None:
    """DEL-1 (N04): 500 ms each way and 20 kB/s; what arrives is what is new."""
    async with laboratory(tmp_path, rate=50.0) as lab:
        await lab.fresh()
        lab.pcs[0].line.conditions = Conditions(latency_s=0.4, jitter_s=0.2, bytes_per_s=20_000)
        await asyncio.sleep(8.0)
        await all_is_well(lab)
        stored, doubled = _envelopes(lab)
        assert stored > 20
        assert doubled < 0.2 * stored


def _envelopes(lab: Laboratory) -> tuple[int, int]:
    """Return how many envelopes the collector counted as stored, and how many as arrived before."""
    found = web.metrics(lab.place)
    name = "boardherd_collector_envelopes_{}_total"
    return int(found[name.format("stored")]), int(found[name.format("duplicate")])


async def test_half_of_the_acknowledgements_vanish(tmp_path: Path) -> None:
    """DEL-1 (D15, N06): the broker believes them delivered; envelopes come again and are stored once."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        line = lab.pcs[0].line
        line.conditions = Conditions(drop_acks=0.5)
        await until(lambda: line.tally.done["acks dropped"] > 5, 40)
        await all_is_well(lab)
        await until(lambda: _envelopes(lab)[1] > 0)


async def test_acknowledgements_twice_late_and_in_any_order(tmp_path: Path) -> None:
    """DEL-1 (D16): nothing is taken for acknowledged that was not."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        line = lab.pcs[0].line
        line.conditions = Conditions(double_acks=1.0)
        await asyncio.sleep(2.0)
        line.conditions = Conditions(delay_acks_s=4.0)
        await asyncio.sleep(5.0)
        assert line.tally.done["acks doubled"] > 5
        assert line.tally.done["acks delayed"] > 5
        await all_is_well(lab)


async def test_every_envelope_arrives_twice(tmp_path: Path) -> None:
    """DEL-1 (D18): the network doubles what the agent sends."""
    async with laboratory(tmp_path) as lab:
        lab.pcs[0].line.conditions = Conditions(double_telemetry=1.0)
        await lab.fresh()
        await asyncio.sleep(3.0)
        assert lab.pcs[0].line.tally.done["telemetry doubled"] > 10
        await until(lambda: _envelopes(lab)[1] > 10)
        await all_is_well(lab)


async def test_a_link_that_flaps(tmp_path: Path) -> None:
    """DEL-1, OPS-3 (N05): gone for some tenths of a second and back, again and again; nothing piles up.

    As with a cable that is loose, packets go nowhere while it is out; now and then it takes so long that the
    connection is found reset afterwards. An interface of our own that could be taken down would need special rights.
    """
    rng = random.Random(55)
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        before = [child.figures() for child in lab.children]
        for flap in range(20):
            for line in lab.proxies:
                line.conditions = Conditions(stalled=frozenset({"up", "down"}))
            await asyncio.sleep(rng.uniform(0.05, 0.25))
            for line in lab.proxies:
                line.conditions = Conditions()
                if flap % 8 == 7:
                    line.reset()
            await asyncio.sleep(rng.uniform(0.05, 0.2))
        await all_is_well(lab)
        after = [child.figures() for child in lab.children]
    for name in ("fds", "threads"):
        assert all(now[name] <= then[name] + 1 for now, then in zip(after, before, strict=True)), name


async def test_somebody_takes_over_the_connection_of_an_agent(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (N09): each connect has a client id of its own, so whoever stole one is not fought over it.

    How two agents of one name are told from each other, and that they do not fight, is a test of the agent.
    """
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        pc = lab.pcs[0]
        for theft in range(3):
            connections = pc.line.tally.connections
            stolen = re.findall(rf" as ({pc.name}-\w+) ", lab.broker.log.read_text())[-1]
            async with raw_client(lab.broker.port, stolen) as thief:
                await lab.fresh()
                assert pc.line.tally.connections == connections + 1, "one connect for one theft"
                await thief.heard()
            words = "the broker is away, trying again"
            await until(lambda times=theft + 1, words=words: said(pc.child, words) == times)
        await all_is_well(lab)


@dataclass(frozen=True)
class Guarded(Boardherd):
    """With a broker that has an access list, and agents that soon tell of missing answers."""

    broker_extra: str = "persistence false\nacl_file {place}/acl\n"

    def agent(self, place: Path, agent: str, broker: str, rate: float) -> list[str]:
        return [*super().agent(place, agent, broker, rate), "--silence", "2"]


async def test_a_broker_that_comes_to_deny_topics(tmp_path: Path) -> None:
    """DEL-1, OPS-1 (N10): it answers success to what it drops; the agents tell of it, also in the database.

    One may no longer say what it has, the other no longer hear that it arrived; a third is not concerned.
    """
    allowed, denied = "topic readwrite #\n", "topic deny boardherd/v1/faults/pc-0{}/{}\n"
    (tmp_path / "acl").write_text(allowed)
    async with Laboratory(Guarded(), tmp_path, agents=3, rate=50) as lab:
        await lab.fresh()
        (tmp_path / "acl").write_text(allowed + denied.format(0, "telemetry") + denied.format(1, "ack"))
        lab.broker.send(signal.SIGHUP)
        word = "the collector is there and does not answer what is sent"
        await until(lambda: all(said(pc.child, word) for pc in lab.pcs[:2]), 60)
        assert not said(lab.pcs[2].child, word)
        (tmp_path / "acl").write_text(allowed)
        lab.broker.send(signal.SIGHUP)
        await until(lambda: all(said(pc.child, "the collector answers again") for pc in lab.pcs[:2]), 30)
        await all_is_well(lab)

        def told() -> list[tuple[str]]:
            with closing(sqlite3.connect(lab.place / "history.db")) as db:
                return db.execute(
                    "SELECT DISTINCT pc.id FROM events JOIN test_pcs AS pc ON pc.number = test_pc"
                    " WHERE event = 'fault' AND text LIKE ? ORDER BY 1", (f"{word}%",)
                ).fetchall()  # fmt: skip

        await until(lambda: told() == [("pc-00",), ("pc-01",)], 30)
