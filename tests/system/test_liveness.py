"""``boardherd why`` blames the right part: real processes, a rack that has faults, one after another."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from liveness import trial
from liveness.lab import LivenessLab
from liveness.situations import SITUATIONS, Situation

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LivenessLab]:
    async with LivenessLab(tmp_path_factory.mktemp("liveness")) as lab:
        await trial.settle(lab, lab.options.boards)
        yield lab


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
async def test_why_blames_the_right_part_and_heals(lab: LivenessLab, situation: Situation) -> None:
    if not situation.possible():
        pytest.skip(
            "this machine permits ICMP to everybody, or runs the tests without the right to forbid it"
        )
    outcome = await trial.attempt(lab, situation)
    assert outcome.right, outcome.answer.text
    assert len(outcome.answer.lines) <= 5, outcome.answer.text
    assert outcome.healed, outcome.answer.text
