"""Server-sent events: "the fleet has changed", so that the page need not ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from boardherd_collector.web.sources import FleetSource

PAUSE_S = 0.5
"""At most so often is a change announced, however many there are."""
TICK_S = 5.0
"""At least so often something is said: what ages on the page (an agent gone silent) changes without a message."""


async def changes(
    fleet: FleetSource, stopping: asyncio.Event, *, pause_s: float = PAUSE_S, tick_s: float = TICK_S
) -> AsyncIterator[str]:
    """Yield an event for the present state, one after each change and one each tick, until ``stopping``."""
    yield "retry: 2000\n\n"
    while not stopping.is_set():
        version = fleet.version
        yield f"event: fleet\ndata: {version}\n\n"
        waited = 0.0
        while not stopping.is_set() and waited < tick_s and (waited == 0 or fleet.version == version):
            await _pause(stopping, pause_s)
            waited += pause_s


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
