"""Time and death made by hand: a clock that runs at once, a loop that follows it, points at which a process dies."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

_TRUE_START = 1_760_000_000.0
"""What time it really is when a world begins, Unix seconds."""


class Killed(BaseException):
    """What the code of a dead process meets wherever it would touch the world."""


class Points:
    """The instants at which one run of the process can be hurt."""

    def __init__(self) -> None:
        self.dead = False
        self._left = 0
        self._hurt: Callable[[], None] | None = None

    def arm(self, count: int, hurt: Callable[[], None]) -> None:
        """Call ``hurt`` when so many points have been reached."""
        self._left, self._hurt = count, hurt

    def disarm(self) -> bool:
        """Take it back; False when it has happened."""
        waited, self._hurt = self._hurt is not None, None
        return waited

    def die(self) -> None:
        """Let the process be dead from here on."""
        self.dead = True

    def check(self) -> None:
        """Raise Killed in a dead process."""
        if self.dead:
            raise Killed

    async def reach(self) -> None:
        """Be at a point."""
        self.check()
        await asyncio.sleep(0)
        if self._hurt:
            self._left -= 1
            if self._left <= 0:
                hurt, self._hurt = self._hurt, None
                hurt()
        self.check()


class WorldClock:
    """The three clocks of a machine whose wall clock may be wrong; ``now`` is the truth, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.error = 0.0
        """Seconds by which the wall clock is ahead of the truth."""
        self._booted = -100.0
        self._boots = 0

    @property
    def boot(self) -> str:
        """Identity of the machine's boot."""
        return f"00000000-0000-4000-8000-{self._boots:012}"

    @property
    def server(self) -> float:
        """What time it really is, Unix seconds."""
        return _TRUE_START + self.now

    def wall(self) -> int:
        """Return microseconds since 1970, as this machine believes."""
        return round((self.server + self.error) * 1e6)

    def up(self) -> int:
        """Return microseconds since boot."""
        return round((self.now - self._booted) * 1e6)

    def reboot(self) -> None:
        """Let the machine start again."""
        self._booted = self.now
        self._boots += 1


class _Selector(selectors.DefaultSelector):
    """Never waits: it moves the clock to when the next timer is due."""

    def __init__(self, clock: WorldClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self._clock.now += max(timeout, 1e-6)
        return super().select(0)


class HandLoop(asyncio.SelectorEventLoop):
    """An event loop in which a sleep costs nothing."""

    def __init__(self, clock: WorldClock) -> None:
        self._world = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        """Return the world's time."""
        return self._world.now
