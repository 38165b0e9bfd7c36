"""Work that many readers want at once, done once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """One making at a time: who waited while another was being made shares the next with all others who did.

    So nobody gets what is older than the question, and the cost does not grow with the number of readers.
    """

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._made: T | None = None
        self._began = float("-inf")

    async def get(self) -> T:
        """Return what was made after this call; a failure is raised to every caller that made it."""
        asked = time.monotonic()
        async with self._lock:
            if self._made is None or self._began < asked:
                self._made = None
                self._began = time.monotonic()
                self._made = await self._make()
            return self._made
