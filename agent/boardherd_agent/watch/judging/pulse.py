"""Notices when the agent itself stood still: frozen, swapped out, or the PC was asleep."""

from __future__ import annotations

from boardherd_agent.watch.judging.evidence import Stalled

BEAT_S = 0.5
"""Somebody must call :meth:`Pulse.beat` this often."""

_LATE_US = 1_500_000
"""A beat that comes so long after the one before shows that the agent stood still in between."""


class Pulse:
    """One for all boards of a PC. Whoever runs first after a standstill finds it, so nobody judges without knowing."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._stalled = Stalled(0, 0)

    def beat(self, now: int) -> Stalled:
        """Take note that the agent runs at ``now``, microseconds since boot; return the last standstill."""
        if self._last is not None and now - self._last > _LATE_US:
            self._stalled = Stalled(now, self._last)
        self._last = now
        return self._stalled
