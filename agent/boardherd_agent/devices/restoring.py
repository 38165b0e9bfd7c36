"""Which ports are to be brought back after an outage, and when. Free of input and output."""

from __future__ import annotations

from boardherd_shared.records import Power

AFTER_OUTAGE = "boardherd (after outage)"
"""Who is named as having switched a port that was brought back."""


class RestorePlan:
    """The ports that wait to be brought back; times are seconds of a clock that never jumps.

    Ports to be released come at once. Those to be switched on first stay off for a while, and then come one
    after the other, so that their supply is not asked for all their inrush currents at the same time.
    """

    def __init__(self, stagger: float) -> None:
        """Begin with nothing to do; ``stagger`` is the least time between two switch-ons."""
        self._stagger = stagger
        self._due: dict[int, tuple[Power, float]] = {}
        self._last_on = float("-inf")

    def __contains__(self, port: int) -> bool:
        return port in self._due

    def add(self, port: int, power: Power, rested: float) -> None:
        """Note that a port is to be brought to ``power``; one that waits already keeps its place.

        Args:
            port: its number.
            power: on, which waits until ``rested``, or off, which does not.
            rested: from when on it has been off for long enough.
        """
        self._due.setdefault(port, (power, rested if power is Power.ON else float("-inf")))

    def forget(self, port: int) -> None:
        """Note that a port is somebody else's business from here on, or is done."""
        self._due.pop(port, None)

    def switched_on(self, now: float) -> None:
        """Note that a port of this device has just been switched on, by whomever."""
        self._last_on = now

    def next(self, now: float) -> int | None:
        """Return the port whose turn it is, if it is any port's turn."""
        due = [(self._when(port), port) for port in self._due]
        when, port = min(due, default=(float("inf"), 0))
        return port if when <= now else None

    def wait(self, now: float) -> float:
        """Return the seconds until it is the next port's turn; infinite when none waits."""
        return max(0.0, min((self._when(port) for port in self._due), default=float("inf")) - now)

    def _when(self, port: int) -> float:
        power, due = self._due[port]
        return max(due, self._last_on + self._stagger) if power is Power.ON else due
