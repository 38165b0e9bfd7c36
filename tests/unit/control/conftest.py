"""A control wing for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import Lab, open_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A control wing that has run for a minute, in the state that the lab of these tests describes."""
    async with open_lab(tmp_path) as lab:
        lab.clock.advance(60)
        yield lab
