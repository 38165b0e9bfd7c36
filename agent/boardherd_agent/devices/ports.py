"""The books of the ports of one device: asked, measured and expected, kept apart.

Free of input and output: the worker tells what it asked and measured, and this keeps the books and finds
the words. A port that cannot be measured is unknown, never off. This is the only place that knows about
polarity.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from boardherd_agent.devices.causes import AWAY, FOUND, OUTAGES, REBOOTED, Link, cause_of
from boardherd_agent.devices.port_status import Expected, Polarity, PortStatus, PortUse
from boardherd_shared.clock import Clock
from boardherd_shared.records import Power
from boardherd_shared.values import one_line

__all__ = ["Expected", "Polarity", "PortBook", "PortStatus", "PortUse", "opposite"]

INTERRUPTED = "interrupted while switching"
NOT_READ = "not read yet"
NOT_USED = "no board here uses it"
NO_SUCH_PORT = "the module has no such port"
NOT_ENDED = "the module did not end its pulse"
NO_READ_BACK = "this device cannot be read back"

WORN_AT = 50_000
"""The switches after which a relay's contact may fail: the electrical life that its makers give at rated load."""

_PULSE_GRACE_US = 1_000_000
"""A module may be this much late with the end of a pulse before that is odd."""


@dataclass
class _Pulse:
    """A state that the device holds for a while by its own clock."""

    held: Power
    until: int
    """When it should end, microseconds since boot."""
    asked_before: Power
    acknowledged: bool = False
    seen: bool = False
    """Whether the held state has been measured."""
    doubted: bool = False
    """Whether the connection broke meanwhile, so that the module may have forgotten it."""


class PortBook:
    """The statuses of the ports in use on one device."""

    def __init__(
        self,
        relay: str,
        uses: Mapping[int, PortUse],
        clock: Clock,
        on_change: Callable[[PortStatus], None],
        on_worn: Callable[[PortStatus], None] = lambda _: None,
    ) -> None:
        """Begin with every port unknown.

        Args:
            relay: id of the relay.
            uses: the ports in use, and what for.
            clock: for the times in statuses.
            on_change: called when the observed or asked state of a port, its drift or the reason changes.
            on_worn: called once for a port when it has been switched :data:`WORN_AT` times.
        """
        self.module = ""
        """What the device says it is, as it stands in every status."""
        self.measurable = True
        """Whether the device can be asked what its ports do."""
        self._relay, self._clock = relay, clock
        self._on_change, self._on_worn = on_change, on_worn
        self._uses = dict(uses)
        self._status = {port: self._first(port, use) for port, use in uses.items()}
        self._known = dict(self._status)
        """For each port the last status in which its state was known."""
        self._drifting: dict[int, int] = {}
        """Since when each port is not what it should be, kept while the device does not answer."""
        self._energised = {port for port, use in uses.items() if self._asked_energised(use)}
        """The outputs that were energised at the last reading; before the first, those that should be."""
        self._driven: int | None = None
        """The port that is being switched by us just now."""
        self._pulses: dict[int, _Pulse] = {}
        self._notes: dict[int, str] = {}
        """What became of the last switch of each port of a device that cannot be read back."""

    def __contains__(self, port: int) -> bool:
        return port in self._uses

    def status(self, port: int) -> PortStatus:
        """Return what is known of a port; one that is not in use here is unknown."""
        if port not in self._status:
            return replace(self._first(port, PortUse("")), reason=NOT_USED)
        return replace(self._status[port], module=self.module, measurable=self.measurable)

    def energised(self, port: int, power: Power) -> bool:
        """Return what the output must be to give the board this power."""
        if power is Power.UNKNOWN:
            raise ValueError("a port can be switched on or off only")
        return (power is Power.ON) == (self._uses[port].polarity == "NO")

    def min_off(self, port: int) -> float:
        """Return how long a port stays off at least, in seconds."""
        return self._uses[port].min_off

    @contextlib.contextmanager
    def driving(self, port: int) -> Iterator[None]:
        """Take the changes of a port for our own doing while it is switched, and judge it afterwards."""
        self._driven = port
        try:
            yield
        finally:
            self._driven = None
            self._update(port)

    def asked(self, port: int, power: Power) -> None:
        """Note what is about to be asked of the device; a pulse that was under way ends with it."""
        self._pulses.pop(port, None)
        self._notes.pop(port, None)
        self._update(port, asked=power)

    def pulsing(self, port: int, held: Power, seconds: float) -> None:
        """Note that the device is about to be asked to hold a state for ``seconds`` and then to leave it."""
        until = self._clock.up() + round(seconds * 1e6)
        self._pulses[port] = _Pulse(held, until, self._status[port].asked)
        self._notes.pop(port, None)
        self._update(port, asked=opposite(held))

    def acknowledged(self, port: int, by: str, *, moved: bool) -> None:
        """Note that the device acknowledged a switch, or the begin of a pulse, which changed the port if ``moved``."""
        status = self._status[port]
        count, reason = status.switch_count + moved, status.reason
        if pulse := self._pulses.get(port):
            pulse.acknowledged = True
        if not self.measurable:
            count += self._pulses.pop(port, None) is not None  # nobody will see its end
            reason = self._notes[port] = f"asked {status.asked.upper()}, acknowledged; {NO_READ_BACK}"
        now = self._clock.wall()
        self._update(port, reason=reason, switch_count=count, switched_at=now, switched_by=one_line(by))

    def refused(self, port: int, reason: str) -> None:
        """Note that the device said no; a pulse that it refused was never asked of it."""
        if pulse := self._pulses.pop(port, None):
            self._update(port, asked=pulse.asked_before)
        self.remark(port, reason)

    def remark(self, port: int, reason: str) -> None:
        """Note what is odd about a port."""
        self._notes[port] = one_line(reason)
        self._update(port, reason=self._notes[port])

    def interrupted(self, port: int) -> None:
        """Note that nobody waited to see what a switch did."""
        self._update(port, observed=Power.UNKNOWN, reason=INTERRUPTED)

    def accepted(self, port: int, by: str) -> None:
        """Take the measured state of a port for the one that was asked, and ``by`` for whoever asked."""
        self._pulses.pop(port, None)
        observed, who = self._status[port].observed, one_line(f"{by} (accepted it as it was)")
        self._update(port, asked=observed, reason="", switched_at=self._clock.wall(), switched_by=who)

    def metered(self, watts: Mapping[int, float]) -> None:
        """Take in what each port draws; a value that is no number counts as not measured."""
        for port in self._uses:
            value = watts.get(port)
            self._update(port, watts=value if value is not None and math.isfinite(value) else None)

    def lost(self, reason: str) -> None:
        """Note that the device does not answer, so that no port is known."""
        self._notes.clear()
        for port in self._uses:
            self._update(port, observed=Power.UNKNOWN, watts=None, reason=one_line(reason))

    def unread(self) -> None:
        """Note that the device answers, but cannot say what its ports do."""
        for port in self._uses:
            asked = self._status[port].asked
            words = NO_READ_BACK if asked is Power.UNKNOWN else f"asked {asked.upper()}; {NO_READ_BACK}"
            self._update(port, observed=Power.UNKNOWN, reason=self._notes.get(port, words))

    def measured(self, outputs: Mapping[int, bool], link: Link) -> list[int]:
        """Take in a reading of all outputs, and return the ports that an outage led away from what was asked.

        Args:
            outputs: for each output whether it is energised.
            link: how the connection fared since the reading before.
        """
        energised = {port for port, on in outputs.items() if on}
        cause = cause_of(link, self._energised, energised, self._driven)
        dropped = self._energised - energised - {self._driven}
        self._energised = energised
        for pulse in self._pulses.values():
            pulse.doubted |= link >= Link.BROKEN
            if cause == REBOOTED and dropped:
                pulse.until = min(pulse.until, self._clock.up() - _PULSE_GRACE_US)
        return [port for port in self._uses if self._observe(port, outputs.get(port), cause)]

    def _observe(self, port: int, energised: bool | None, cause: str) -> bool:
        """Take in one port; tell whether an outage just led it away from what was asked."""
        observed = _power(energised, self._uses[port].polarity)
        if self._is_settled(port, observed):
            return False
        known = self._known[port]
        pulse = self._pulses.get(port)
        reason = self._explain(port, observed, cause)
        over = pulse if port not in self._pulses else None
        returned = over is not None and over.acknowledged and observed is not over.held
        count, switched_at = self._status[port].switch_count, self._status[port].switched_at
        if returned:
            count, switched_at = count + 1, self._clock.wall()
        self._update(port, observed=observed, reason=reason, switch_count=count, switched_at=switched_at)
        status, news = self._status[port], known.observed is not observed or over is not None
        return reason in OUTAGES and news and status.drifts and status.asked is not Power.UNKNOWN

    def _is_settled(self, port: int, observed: Power) -> bool:
        """Tell whether a port is as it was and as it should be: so are most of them at every reading."""
        status = self._status[port]
        return (
            status.observed is observed is status.wanted
            and not status.reason
            and status.drift_since is None
            and port not in self._pulses
            and status.module == self.module
            and status.measurable == self.measurable
        )

    def _explain(self, port: int, observed: Power, cause: str) -> str:
        """Return what is odd about a port being ``observed``; ``cause`` explains a change away from what was wanted."""
        status, known = self._status[port], self._known[port]
        if observed is Power.UNKNOWN:
            return NO_SUCH_PORT
        if (words := self._pulse_words(port, observed, cause)) is not None:
            return words
        if observed == status.wanted:
            return ""
        if known.observed is Power.UNKNOWN:
            at_start = cause if cause == REBOOTED else FOUND
            return "" if status.asked is Power.UNKNOWN else at_start
        return known.reason if known.observed is observed else cause

    def _pulse_words(self, port: int, observed: Power, cause: str) -> str | None:
        """Return what a pulse has to do with a port being ``observed``; None when it has nothing to do with it."""
        pulse = self._pulses.get(port)
        if pulse is None:
            return None
        late = self._clock.up() - pulse.until
        if observed is pulse.held:
            if late < _PULSE_GRACE_US:
                pulse.seen = True
                return f"{observed} for a while by the module's own clock"
            del self._pulses[port]
            forgotten = REBOOTED if cause == REBOOTED else AWAY
            return forgotten if pulse.doubted else NOT_ENDED
        if pulse.seen or late >= 0:
            del self._pulses[port]
        return ""

    def _update(self, port: int, **changes: Any) -> None:
        """Change the status of a port, and tell about it if it shows."""
        old = self._status[port]
        changes |= {"module": self.module, "measurable": self.measurable}
        if changes.get("observed", old.observed) is not old.observed:
            changes["since"] = self._clock.wall()
        same = all(getattr(old, key) == value for key, value in changes.items())
        new = old if same else replace(old, **changes)
        if (since := self._drift_since(new)) != new.drift_since:
            new = replace(new, drift_since=since)
        if new is old:
            return
        self._status[port] = new
        if new.observed is not Power.UNKNOWN:
            self._known[port] = new
        if _shown(new) != _shown(old):
            self._on_change(new)
        if old.switch_count < WORN_AT <= new.switch_count:
            self._on_worn(new)

    def _drift_since(self, status: PortStatus) -> int | None:
        """Return since when a port is not what it should be; while we switch it, nothing new is said of that."""
        port = status.port
        if status.observed is Power.UNKNOWN:
            return None
        if port == self._driven or port in self._pulses:
            return self._drifting.get(port)
        if not status.drifts:
            self._drifting.pop(port, None)
            return None
        return self._drifting.setdefault(port, self._clock.wall())

    def _asked_energised(self, use: PortUse) -> bool:
        return _power(True, use.polarity) is use.asked

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
            line=use.line,
            measurable=self.measurable,
        )


def opposite(power: Power) -> Power:
    """Return the other of on and off."""
    return Power.OFF if power is Power.ON else Power.ON


def _power(energised: bool | None, polarity: Polarity) -> Power:
    """Return what an output means for the board; on the normally closed contact, energised is off."""
    if energised is None:
        return Power.UNKNOWN
    return Power.ON if energised == (polarity == "NO") else Power.OFF


def _shown(status: PortStatus) -> tuple[object, ...]:
    """Return what of a status is told as soon as it changes; a count or a meter alone waits for the next refresh."""
    return status.observed, status.asked, status.reason, status.drift_since
