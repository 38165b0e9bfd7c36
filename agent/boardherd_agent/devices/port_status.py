"""What a relay port is for, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boardherd_shared.clock import Clock
from boardherd_shared.records import Power, RelayRecord

Polarity = Literal["NO", "NC"]
Expected = Literal["on", "off", "any"]


@dataclass(frozen=True)
class PortUse:
    """What a port is for, and what was known of it before this program started."""

    board: str
    polarity: Polarity = "NO"
    expected: Expected = "any"
    asked: Power = Power.UNKNOWN
    switch_count: int = 0
    switched_at: int | None = None
    switched_by: str | None = None
    line: str = ""
    """Which of the board's lines it is, such as ``reset``; empty for a port that powers the board."""
    min_off: float = 0.0
    """How long it stays off at least before it is brought back on after an outage, seconds."""


@dataclass(frozen=True)
class PortStatus:
    """What is known of a port. Power is in the board's sense: on means that the board gets power."""

    relay: str
    port: int
    board: str
    observed: Power
    """As the device said when it was last read; unknown while it does not answer."""
    asked: Power
    """What was last asked of the device; of a pulse, the state at its end."""
    expected: Expected
    since: int
    """When the observed state began, wall clock in microseconds."""
    switch_count: int
    """Acknowledged switches that changed the port, both edges of a pulse among them."""
    switched_at: int | None
    switched_by: str | None
    reason: str
    """Why the state is unknown, or what is odd about it; empty when nothing is."""
    module: str
    """What the device says it is, and how that differs from the inventory."""
    line: str = ""
    """Which of the board's lines it is; empty for a port that powers the board."""
    drift_since: int | None = None
    """Since when the observed state is not the wanted one, wall clock in microseconds; None while it is."""
    watts: float | None = None
    """The power drawn at the last reading, where the device measures it."""
    measurable: bool = True
    """False when the device cannot be asked what its ports do: ``observed`` then stays unknown."""

    @property
    def wanted(self) -> str:
        """The state that the port should have: what was asked, else what the inventory calls normal."""
        return self.expected if self.asked is Power.UNKNOWN else self.asked

    @property
    def drifts(self) -> bool:
        """Whether the port is known to be in another state than the wanted one."""
        return self.observed is not Power.UNKNOWN and self.wanted not in {"any", self.observed}

    def record(self, clock: Clock, change: bool) -> RelayRecord:
        """Return this as a record of the present moment; ``change`` is False for a mere refresh."""
        return RelayRecord(
            at=clock.wall(),
            up=clock.up(),
            relay=self.relay,
            port=self.port,
            observed=self.observed,
            asked=self.asked,
            expected=self.expected,
            since=self.since,
            drift_since=self.drift_since,
            board=self.board or None,
            line=self.line or None,
            watts=self.watts,
            measurable=self.measurable,
            switch_count=self.switch_count,
            switched_at=self.switched_at,
            switched_by=self.switched_by,
            module=self.module,
            reason=self.reason,
            change=change,
        )
