"""Power cycles whose agent is killed; ``python -m faults.kills`` does the same a thousand times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faults.kills import kill

COUNT = int(os.environ.get("BOARDHERD_KILLS", "25"))

pytestmark = [pytest.mark.system, pytest.mark.timeout(90 + COUNT)]


async def test_a_killed_cycle_is_finished_or_reported(tmp_path: Path) -> None:
    """CMD-1, CMD-3: no port moves twice in a phase, no board is left off without a word, nor switched on early."""
    tally = await kill(COUNT, pcs=5, seed=1, place=tmp_path)
    assert tally.kills >= COUNT
    assert tally.wrong == []
