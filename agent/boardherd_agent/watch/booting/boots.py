"""The boots of one board: each is timed, compared with those before, and told of once."""

from __future__ import annotations

from collections.abc import Callable

from boardherd_agent.watch.booting.boot_history import BootHistory
from boardherd_agent.watch.booting.boot_timer import BootTimer, Cause
from boardherd_agent.watch.judging.evidence import Evidence, Heard, Look
from boardherd_agent.watch.judging.standing import Rules
from boardherd_shared.clock import seconds
from boardherd_shared.records import BootTimes, Power

_LOGIN_GRACE_S = 5.0
"""How long the boot times of a board that answers wait for its login prompt, if the console is read."""

OnBoot = Callable[[str, BootTimes, str], None]
"""Takes board, times, and how it went: "booted", "did not come up within 90 s"."""


class Boots:
    """Times what happens from a power-on, or from a restart that the console showed, until the board is alive."""

    def __init__(self, board: str, rules: Rules, history: BootHistory, on_boot: OnBoot) -> None:
        """Prepare; ``on_boot`` hears of each boot when the board is alive, or when its boot time is over."""
        self._board = board
        self._boot_time_s, self._settle_s = rules.boot_time_s, rules.settle_s
        self._history = history
        self._on_boot = on_boot
        self._timer = BootTimer()

    @property
    def slow(self) -> str | None:
        """How the last boot was slower than this board's own past, in words; None when it was not."""
        return self._history.slow(self._board)

    def power_changed(self, before: Evidence, evidence: Evidence, *, by_us: bool) -> None:
        """Take note of the power, given what was known ``before``."""
        on = evidence.powered_on
        if evidence.power is Power.OFF or (on != before.powered_on and self._never_went_dark(before)):
            self._timer.cancel()
        elif on is not None and on != before.powered_on:
            self._timer.start(on, Cause.SWITCHED if by_us else Cause.OUTSIDE)

    def looked(self, look: Look) -> None:
        """Take note of a look."""
        self._timer.looked(look)

    def heard(self, heard: Heard, evidence: Evidence) -> None:
        """Take note of what the console said; ``evidence`` has it already."""
        if heard.stage is not None and not self._timer.open and _began_again(heard, evidence):
            self._timer.start(heard.up, Cause.RESTART)
        self._timer.heard(heard)

    @property
    def under_way(self) -> bool:
        """Whether a boot is measured that has not been told of yet."""
        return self._timer.open

    def times(self) -> BootTimes:
        """Return what has been measured of the last boot, and how it was slower than usual."""
        times = self._timer.times()
        return self._history.compare(self._board, times) if self._timer.cause is Cause.SWITCHED else times

    def conclude(self, now: int, evidence: Evidence, alive_since: int | None) -> None:
        """Tell of the boot under way once it is over: alive with nothing to wait for, or out of time."""
        timer = self._timer
        if not timer.open:
            return
        if evidence.wiring.state == "suspect":  # nobody knows whether this board was cut at all
            timer.cancel()
            return
        if alive_since is not None and self._complete(seconds(now - alive_since), evidence):
            self._told(came_up=True)
        elif timer.elapsed(now) - self._nobody_looked(evidence) >= self._boot_time_s:
            self._told(came_up=alive_since is not None)

    def _told(self, *, came_up: bool) -> None:
        self._timer.open = False
        times, cause = self.times(), self._timer.cause
        if came_up and cause is Cause.SWITCHED:
            self._history.remember(self._board, times)
        how = "booted" if came_up else f"did not come up within {self._boot_time_s:g} s"
        self._on_boot(self._board, times, f"{how}{cause}")

    def _complete(self, up_for_s: float, evidence: Evidence) -> bool:
        deaf = not evidence.console or bool(evidence.console_state.trouble)
        return deaf or self._timer.login_seen or up_for_s >= _LOGIN_GRACE_S

    def _never_went_dark(self, evidence: Evidence) -> bool:
        """Tell whether the board went on answering while its relay was off, so that nothing boots now."""
        off = evidence.off_since
        settled = None if off is None else off + round(self._settle_s * 1e6)
        return settled is not None and any(at > settled for at in evidence.answered.values())

    def _nobody_looked(self, evidence: Evidence) -> float:
        """Return for how long of this boot the agent stood still, in seconds."""
        stalled, began = evidence.stalled, self._timer.began or 0
        return max(0.0, seconds(stalled.up - max(stalled.began, began)))


def _began_again(heard: Heard, evidence: Evidence) -> bool:
    """Tell whether the console just showed the beginning of a boot of a board that had come further before."""
    if evidence.restarted != heard.up or (evidence.switched and evidence.power is Power.OFF):
        return False
    return evidence.up_before_restart is not None or heard.up in evidence.restarts
