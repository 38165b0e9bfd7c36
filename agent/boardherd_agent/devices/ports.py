"""What is known of the ports of one device: asked, measured and expected, kept apart.

Free of input and output: the worker tells what it asked and measured, and this keeps the books and finds
the words. A port that cannot be measured is unknown, never off. This is the only place that knows about
polarity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from boardherd_shared.clock import Clock
from boardherd_shared.records import Power, RelayRecord
from boardherd_shared.values import one_line

OUTSIDE = "switched from outside"
REBOOTED = "module rebooted"
INTERRUPTED = "interrupted while switching"
NOT_READ = "not read yet"
NOT_USED = "no board here uses it"
NO_SUCH_PORT = "the module has no such port"

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


@dataclass(frozen=True)
class PortStatus:
    """What is known of a port. Power is in the board's sense: on means that the board gets power."""

    relay: str
    port: int
    board: str
    observed: Power
    """As the device said when it was last read; unknown while it does not answer."""
    asked: Power
    """What was last asked of the device."""
    expected: Expected
    since: int
    """When the observed state began, wall clock in microseconds."""
    switch_count: int
    """Acknowledged switches that changed the port."""
    switched_at: int | None
    switched_by: str | None
    reason: str
    """Why the state is unknown, or what is odd about it; empty when nothing is."""
    module: str
    """What the device says it is, and how that differs from the inventory."""

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
            board=self.board or None,
            switch_count=self.switch_count,
            switched_at=self.switched_at,
            switched_by=self.switched_by,
            module=self.module,
            reason=self.reason,
            change=change,
        )


class PortBook:
    """The statuses of the ports in use on one device."""

    def __init__(
        self,
        relay: str,
        uses: Mapping[int, PortUse],
        clock: Clock,
        on_change: Callable[[PortStatus], None],
    ) -> None:
        """Begin with every port unknown; see :class:`~boardherd_agent.devices.worker.RelayWorker`."""
        self.module = ""
        """What the device says it is, as it stands in every status."""
        self._relay, self._clock, self._on_change = relay, clock, on_change
        self._uses = dict(uses)
        self._status = {port: self._first(port, use) for port, use in uses.items()}
        self._known = dict(self._status)
        """For each port the last status in which its state was known."""

    def __contains__(self, port: int) -> bool:
        return port in self._uses

    def status(self, port: int) -> PortStatus:
        """Return what is known of a port; one that is not in use here is unknown."""
        if port not in self._status:
            return replace(self._first(port, PortUse("")), reason=NOT_USED)
        return replace(self._status[port], module=self.module)

    def energised(self, port: int, power: Power) -> bool:
        """Return what the output must be to give the board this power."""
        if power is Power.UNKNOWN:
            raise ValueError("a port can be switched on or off only")
        return (power is Power.ON) == (self._uses[port].polarity == "NO")

    def asked(self, port: int, power: Power) -> None:
        """Note what is about to be asked of the device."""
        self._update(port, asked=power)

    def switched(self, port: int, by: str, *, moved: bool) -> None:
        """Note that the device acknowledged a switch, which changed the port if ``moved``."""
        count = self._status[port].switch_count + moved
        self._update(port, switch_count=count, switched_at=self._clock.wall(), switched_by=one_line(by))

    def remark(self, port: int, reason: str) -> None:
        """Note what is odd about a port."""
        self._update(port, reason=one_line(reason))

    def interrupted(self, port: int) -> None:
        """Note that nobody waited to see what a switch did."""
        self._update(port, observed=Power.UNKNOWN, reason=INTERRUPTED)

    def lost(self, reason: str) -> None:
        """Note that the device does not answer, so that no port is known."""
        for port in self._uses:
            self._update(port, observed=Power.UNKNOWN, reason=one_line(reason))

    def measured(self, outputs: Mapping[int, bool], *, reopened: bool, ours: int | None) -> None:
        """Take in a reading of all outputs.

        Args:
            outputs: for each output whether it is energised.
            reopened: whether the connection is new since the reading before.
            ours: the port that is being switched by us just now.
        """
        cause = REBOOTED if reopened and _all_released(outputs, ours) else OUTSIDE
        for port, use in self._uses.items():
            self._observe(port, _power(outputs.get(port), use.polarity), cause)

    def _observe(self, port: int, observed: Power, cause: str) -> None:
        """Take in one port; ``cause`` explains a change that leads away from what was wanted."""
        status, known = self._status[port], self._known[port]
        if observed is Power.UNKNOWN:
            reason = NO_SUCH_PORT
        elif observed == _wanted(status) or known.observed is Power.UNKNOWN:
            reason = ""
        elif known.observed is observed:
            reason = known.reason
        else:
            reason = cause
        self._update(port, observed=observed, reason=reason)

    def _update(self, port: int, **changes: Any) -> None:
        """Change the status of a port, and tell about it if it shows."""
        old = self._status[port]
        new = replace(old, module=self.module, **changes)
        if new.observed is not old.observed:
            new = replace(new, since=self._clock.wall())
        self._status[port] = new
        if new.observed is not Power.UNKNOWN:
            self._known[port] = new
        if (new.observed, new.asked, new.reason) != (old.observed, old.asked, old.reason):
            self._on_change(new)

    def _first(self, port: int, use: PortUse) -> PortStatus:
        return PortStatus(
            relay=self._relay,
            port=port,
            board=use.board,
            observed=Power.UNKNOWN,
            asked=use.asked,
            expected=use.expected,
            since=self._clock.wall(),
            switch_count=use.switch_count,
            switched_at=use.switched_at,
            switched_by=use.switched_by,
            reason=NOT_READ,
            module=self.module,
        )


def _power(energised: bool | None, polarity: Polarity) -> Power:
    """Return what an output means for the board; on the normally closed contact, energised is off."""
    if energised is None:
        return Power.UNKNOWN
    return Power.ON if energised == (polarity == "NO") else Power.OFF


def _wanted(status: PortStatus) -> str:
    """Return the state a port should have: what was asked, else what the inventory calls normal."""
    return status.expected if status.asked is Power.UNKNOWN else status.asked


def _all_released(outputs: Mapping[int, bool], ours: int | None) -> bool:
    """Return whether no output is energised but the one that we are switching.

    So comes a module back that lost its supply. Outputs that changed since the connection broke were then
    dropped by the module, not switched one by one by somebody else.
    """
    return not any(energised for port, energised in outputs.items() if port != ours)
