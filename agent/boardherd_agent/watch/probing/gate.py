"""One gate for all looks of a test PC: never too many at the same time, and the first ones one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

MOST_AT_ONCE = 64
_FIRST_LOOKS_APART_S = 0.1


class Gate:
    """Lets at most so many looks run at the same time. Belongs to one event loop.

    Looks at boards that boot are urgent and go first. Yet neither they nor the others get more than three
    quarters of the places: boards that hang on to their places until a timeout do not hold up a boot, and
    a whole rack that boots does not hide what the other boards do.
    """

    def __init__(self, at_once: int = MOST_AT_ONCE) -> None:
        """Open the gate for ``at_once`` looks."""
        self._at_once = at_once
        self._most = max(1, at_once - at_once // 4)
        self._inside = {True: 0, False: 0}
        self._waiting: dict[bool, deque[asyncio.Future[None]]] = {True: deque(), False: deque()}
        self._seats = 0

    def seat(self) -> int:
        """Return the place of one more probe in the order of first looks."""
        self._seats += 1
        return self._seats - 1

    def first_look_after(self, seat: int, steady_s: float) -> float:
        """Return the seconds from the start until the first look of the probe with this seat.

        All first looks together take one interval of ``steady_s`` seconds, or less where there are few.
        """
        return seat * min(_FIRST_LOOKS_APART_S, steady_s / max(1, self._seats))

    @contextlib.asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the time of one look."""
        await self._enter(urgent=urgent)
        try:
            yield
        finally:
            self._inside[urgent] -= 1
            self._admit()

    async def _enter(self, *, urgent: bool) -> None:
        if self._free(urgent=urgent) and not self._waiting[urgent]:
            self._inside[urgent] += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting[urgent].append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given in the moment of giving up
                self._inside[urgent] -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        """Give free places to those who wait, the urgent ones first."""
        for urgent in (True, False):
            waiting = self._waiting[urgent]
            while waiting and self._free(urgent=urgent):
                place = waiting.popleft()
                if not place.done():  # else whoever waited for it has given up
                    self._inside[urgent] += 1
                    place.set_result(None)

    def _free(self, *, urgent: bool) -> bool:
        return sum(self._inside.values()) < self._at_once and self._inside[urgent] < self._most
