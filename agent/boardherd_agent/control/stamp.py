"""A moment that can still be aged after a restart, and after a reboot of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from boardherd_shared.clock import Clock


@dataclass(frozen=True)
class Stamp:
    """When something happened, by all three clocks. Times are microseconds."""

    boot: str
    up: int
    wall: int

    @classmethod
    def now(cls, clock: Clock) -> Self:
        """Return the present moment."""
        return cls(clock.boot, clock.up(), clock.wall())

    def age(self, clock: Clock) -> float:
        """Return the seconds since then, never negative; over a reboot only the wall clock can tell."""
        passed = clock.up() - self.up if self.boot == clock.boot else clock.wall() - self.wall
        return max(0.0, passed / 1e6)
