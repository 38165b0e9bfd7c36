"""A clock that a test moves by hand."""

from __future__ import annotations


class FakeClock:
    """A :class:`boardherd_shared.clock.Clock` that stands still until told otherwise. Microseconds."""

    def __init__(self, wall: int = 1_700_000_000_000_000, up: int = 1_000_000_000) -> None:
        self.boot = "00000000-0000-4000-8000-000000000001"
        self._wall = wall
        self._up = up

    def wall(self) -> int:
        """Return microseconds since 1970."""
        return self._wall

    def up(self) -> int:
        """Return microseconds since boot."""
        return self._up

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._wall += round(seconds * 1e6)
        self._up += round(seconds * 1e6)

    def set_wall(self, wall: int) -> None:
        """Set the wall clock, as a person or NTP would; the time since boot goes on undisturbed."""
        self._wall = wall
