"""Tasks that belong to an object and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Background:
    """A task group whose context is entered and left by its owner's own context.

    Leaving it cancels the tasks and waits for them. A task that fails cancels whoever entered the context and
    then comes out of it in an exception group; an exception of the body passes as it is.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        # The group has to see its own cancellation of the body, and would wrap anything else it saw.
        if isinstance(exc, asyncio.CancelledError):
            await self._group.__aexit__(type(exc), exc, tb)
        else:
            await self._group.__aexit__(None, None, None)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` as a task, which may be cancelled at any time."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
