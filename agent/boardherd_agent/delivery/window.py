"""Which envelope may go out next: pure bookkeeping of what is on its way.

One slot of the window is reserved for the newest envelope, so that the present is seen at once while a
backlog drains, oldest first, through the others. With a window of one the two take turns. And where the
collector makes the backlog wait, because many agents have one, only the reserved slot remains, for what is new.
"""

from __future__ import annotations

from collections.abc import Collection, KeysView, Mapping
from dataclasses import dataclass
from typing import Literal

from boardherd_agent.delivery.envelopes import Key

RESEND_AFTER_S = 5.0
"""An envelope is sent again after this time, or after four times the usual if that is longer."""
MAX_STRIKES = 10
"""An envelope is given up after so many sends that had no answer while others had one."""

PRESENT = 3
"""So many of the newest numbers at the beginning are new: what is told of one moment may be in as many envelopes."""

Lane = Literal["newest", "backlog"]


@dataclass
class _Flight:
    lane: Lane
    sent_at: float
    acks_then: int
    sends: int = 1
    strikes: int = 0


class Window:
    """What is on its way to the collector and not acknowledged. Times are seconds of any steady clock."""

    def __init__(self, resend_after_s: float = RESEND_AFTER_S) -> None:
        """Begin with a window of one and nothing on its way; an answer is waited for ``resend_after_s`` at least."""
        self._patience = resend_after_s
        self._granted = 1
        self._waiting = False
        self._old: Mapping[str, int] = {}
        self._flights: dict[Key, _Flight] = {}
        self._turn: Lane = "newest"
        self._smoothed = 0.0
        self._acks = 0

    @property
    def flying(self) -> KeysView[Key]:
        """What is on its way."""
        return self._flights.keys()

    @property
    def resend_after(self) -> float:
        """How long an answer is waited for, in seconds."""
        return max(self._patience, 4 * self._smoothed)

    @property
    def waiting(self) -> bool:
        """Whether the backlog waits for its turn."""
        return self._waiting

    def begin(self, numbers: Mapping[str, int]) -> None:
        """Note up to which number of each stream the spool had come when the collector was asked."""
        self._old = {stream: last - PRESENT for stream, last in numbers.items()}

    def grant(self, size: int, *, wait: bool = False) -> None:
        """Take over the size that the collector grants. A smaller one, or having to wait, calls nothing back."""
        self._granted, self._waiting = size, wait

    def admits(self, key: Key) -> bool:
        """Tell whether ``key`` may be sent: while the backlog waits, only what is new."""
        return not self._waiting or key.seq > self._old.get(key.stream, 0)

    def lane(self) -> Lane | None:
        """Return what may be sent now besides what is on its way: the newest, the oldest, or nothing."""
        if self._waiting:
            return None if self._newest_flies() else "newest"
        if len(self._flights) >= self._granted:
            return None
        if self._granted == 1:
            return self._turn
        return "backlog" if self._newest_flies() else "newest"

    def _newest_flies(self) -> bool:
        return any(flight.lane == "newest" for flight in self._flights.values())

    def sent(self, key: Key, lane: Lane, now: float) -> None:
        """Note that ``key`` is on its way."""
        self._flights[key] = _Flight(lane, now, self._acks)
        self._turn = "backlog" if lane == "newest" else "newest"

    def overdue(self, now: float) -> Key | None:
        """Return what has been waiting too long for an answer, the longest first."""
        late = min(self._flights, key=lambda key: self._flights[key].sent_at, default=None)
        if late is None or now < self._flights[late].sent_at + self.resend_after:
            return None
        return late

    def deadline(self) -> float | None:
        """Return when something becomes overdue, or None if nothing is on its way."""
        first = min((flight.sent_at for flight in self._flights.values()), default=None)
        return None if first is None else first + self.resend_after

    def resent(self, key: Key, now: float) -> None:
        """Note that ``key`` was sent again; harmless when its answer came meanwhile."""
        if flight := self._flights.get(key):
            # Silence counts against an envelope only if the collector was answering at all.
            flight.strikes += self._acks > flight.acks_then
            flight.sends += 1
            flight.sent_at, flight.acks_then = now, self._acks

    def hopeless(self, key: Key) -> bool:
        """Tell whether ``key`` should be given up: many sends without an answer while others had theirs."""
        flight = self._flights.get(key)
        return flight is not None and flight.strikes + (self._acks > flight.acks_then) >= MAX_STRIKES

    def acknowledged(self, keys: Collection[Key], now: float) -> None:
        """Note that these have arrived for good."""
        for key in keys:
            self._acks += 1
            flight = self._flights.pop(key, None)
            if flight and flight.sends == 1:  # which of several sends was answered, nobody knows
                took = now - flight.sent_at
                self._smoothed += (took - self._smoothed) / 8 if self._smoothed else took

    def forget(self, key: Key) -> None:
        """Note that ``key`` is not to be sent any more."""
        self._flights.pop(key, None)

    def reset(self) -> None:
        """Begin a new session: nothing is on its way, and the collector has granted one."""
        self._granted, self._waiting = 1, False
        self._flights.clear()
