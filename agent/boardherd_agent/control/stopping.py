"""What a stop of the agent, or of one command, still lets happen: a board that was cut gets its power back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

STOP_GRACE_S = 7.0
"""How long a stop may take to switch a board on again whose cycle it interrupts."""

_SWITCHING_S = 1.5
"""What switching may take of that."""

LONGEST_WAIT_S = STOP_GRACE_S - _SWITCHING_S
"""A board that has to stay off for longer than this stays off at a stop."""

T = TypeVar("T")


async def despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Finish ``work`` even if cancelled meanwhile, within the grace of a stop; then let the cancellation through."""
    task = asyncio.create_task(work, name="second half of a cycle")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOP_GRACE_S)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        raise
