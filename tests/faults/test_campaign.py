"""The campaign in little: a seeded storm over whole processes, and the ordinary ways beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.laboratory import Laboratory
from faults.ordinary import SYSTEMS
from faults.processes import python

pytestmark = [pytest.mark.system, pytest.mark.timeout(110)]


def test_a_short_campaign_comes_out_even(tmp_path: Path) -> None:
    """DEL-1, DEL-2, DEL-5: I1, I2, I3, I8 after half a minute of storm; ``make faults`` goes on for an hour."""
    results = tmp_path / "results.json"
    arguments = (
        "--minutes",
        0.4,
        "--round",
        24,
        "--agents",
        2,
        "--per-minute",
        110,
        "--seed",
        "short",
        "--json",
        results,
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run(
        python("faults.campaign", *arguments, "--keep", tmp_path / "files"),
        env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    (result,) = json.loads(results.read_text())
    assert sum(result["faults"].values()) >= 20
    assert (result["undeclared"], result["doubled"], result["invented"]) == (0, 0, 0)
    assert result["stored"] + result["declared"] == result["accepted"] > 1000
    assert "| boardherd |" in run.stdout


async def test_the_same_witness_sees_what_the_ordinary_way_loses(tmp_path: Path) -> None:
    """The comparison is fair and can tell: without faults nothing is missing; after one crash of the broker much is."""
    async with Laboratory(SYSTEMS["qos1-defaults"], tmp_path, rate=200) as lab:
        await lab.fresh()
        assert (await lab.settle(20)).settled
        await lab.collector.end(signal.SIGKILL)
        await asyncio.sleep(2.0)
        await lab.broker.end(signal.SIGKILL)
        await lab.heal()
        await lab.fresh()
        verdict = await lab.settle(5)
    assert len(verdict.missing) > 50, "the broker had said that it has them"
    assert verdict.declared == 0
