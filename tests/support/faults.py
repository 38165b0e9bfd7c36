"""What every case of the fault laboratory ends with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from faults.laboratory import Laboratory
from faults.oracle import Verdict
from faults.processes import Child

WITHIN_S = 35.0
"""DEL-5: back within 30 s of the end of an outage, and fresh data within 5 s of that."""
_MAX_RSS = 200 * 1024**2
_MAX_FILES = 100
_MAX_THREADS = 20


async def all_is_well(lab: Laboratory, *, declared: bool = False) -> Verdict:
    """Mend everything and check the invariants; return the balance.

    I1 conservation: every accepted record is stored, or declared lost where ``declared`` allows that. I2
    uniqueness. I3 liveness: fresh data within the promised time. I4 bounds of memory, files and threads. I8 no
    traceback, and no process that ended by itself.
    """
    await lab.heal()
    assert await lab.fresh(WITHIN_S) <= WITHIN_S
    verdict = await lab.settle()
    assert verdict.settled, verdict
    assert verdict.volatile_missing == 0, verdict
    assert declared or verdict.declared == 0, verdict
    assert verdict.stored + verdict.declared == verdict.accepted > 0
    for child in lab.children:
        figures = child.figures()
        assert figures["rss"] < _MAX_RSS, (child.command, figures)
        assert figures["fds"] < _MAX_FILES, (child.command, figures)
        assert figures["threads"] < _MAX_THREADS, (child.command, figures)
        assert child.deaths == [], (child.command, child.deaths)
    assert lab.tracebacks() == []
    return verdict


def said(child: Child, text: str) -> int:
    """Return how often the log of ``child`` says ``text``."""
    return child.log.read_text(errors="replace").count(text) if child.log.exists() else 0


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)
