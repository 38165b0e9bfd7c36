"""N01 to N06, D15, D16, D18: connections that are refused, reset, stalled, slow, and lossy where it hurts."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path

import pytest

from faults.laboratory import Laboratory
from faults.proxy import Conditions
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


@pytest.mark.parametrize("whose", ["the agent's", "the collector's"])
async def test_a_line_that_stalls_is_given_up_in_time(tmp_path: Path, whose: str) -> None:
    """DEL-1, OPS-1 (N02): the peer is silent and TCP says nothing; noticed within 1.5 keepalives and 5 s."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        line = lab.pcs[0].line if whose == "the agent's" else lab.trunk
        child = lab.pcs[0].child if whose == "the agent's" else lab.collector
        word = "the broker is away" if whose == "the agent's" else "component=broker ok=False"
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
    import tomllib
    import urllib.request

    port = tomllib.loads((lab.place / "collector.toml").read_text())["http"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    name = "boardherd_collector_envelopes_{}_total"
    return int(float(lines[name.format("stored")])), int(float(lines[name.format("duplicate")]))


async def test_half_of_the_acknowledgements_vanish(tmp_path: Path) -> None:
    """DEL-1 (D15, N06): the broker believes them delivered; envelopes come again and are stored once."""
    async with laboratory(tmp_path) as lab:
        await lab.fresh()
        lab.pcs[0].line.conditions = Conditions(drop_acks=0.5)
        await asyncio.sleep(7.0)
        assert lab.pcs[0].line.tally.done["acks dropped"] > 5
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
