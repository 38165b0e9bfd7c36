"""What a crash interrupted: reported with what is measured, and where that is right, finished.

Nothing is guessed. A cycle whose board was off is finished within fifteen minutes of its intent, a line that
was left pulsing is let go; everything else stays as it is and is reported.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from boardherd_agent.control.ending import measure
from boardherd_agent.control.journal import Entry
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import Sleep, Target
from boardherd_agent.control.safety import Safety
from boardherd_agent.control.stamp import Stamp
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.clock import Clock
from boardherd_shared.command import Action, State
from boardherd_shared.lab import MIN_OFF_TIME_S
from boardherd_shared.records import Power

FINISH_WITHIN_S = 15 * 60.0
"""A cycle that was interrupted longer ago than this is reported, and the board stays as it is."""

PATIENCE_S = 30.0
"""How long a start waits for a device before it reports an interrupted command with the state unknown."""


_CUTS = {Action.CYCLE, Action.TRACE}
"""What cuts power to give it back."""

_PULSES = {Action.RESET, Action.LINE}


@dataclass(frozen=True)
class Recovery:
    """Takes up commands that an earlier run of the agent did not finish."""

    clock: Clock
    safety: Safety
    sleep: Sleep = asyncio.sleep

    async def finish(self, life: Life, entry: Entry) -> None:
        """Report a command of an earlier run, and finish its second half where that is right."""
        try:
            await self._report(life, entry)
        except asyncio.CancelledError:
            if life.ended_by and not life.ended:  # after a stop the next start takes it up again
                what = f"{life.command.action} of {life.target.label}"
                text = f"the agent was interrupted during {what}, and {life.ended_by} came before it was finished"
                await life.step(State.INTERRUPTED, text, observed=life.target.known)
            raise

    async def _report(self, life: Life, entry: Entry) -> None:
        label = life.target.label
        observed = await self._measure_patiently(life.target, entry)
        age = entry.intent.age(self.clock)
        told = f"the agent was interrupted during {life.command.action} of {label} ({_ago(age)} ago)"
        off = entry.off or _off_unnoticed(entry, self.clock)
        if off is None or not _half_done(life, observed):
            await life.step(State.INTERRUPTED, f"{told}; it measures {observed.upper()}", observed=observed)
        elif age > FINISH_WITHIN_S and life.command.action in _CUTS:
            text = f"{told}; it is OFF and stays so, because that is too long ago to finish the cycle"
            await life.step(State.INTERRUPTED, text, observed=observed)
        else:
            await self._finish(life, off, told)

    async def _finish(self, life: Life, off: Stamp, told: str) -> None:
        """Do the second half: after the off time that was asked for, or for a line at once."""
        if life.command.action in _CUTS:
            wanted = max(MIN_OFF_TIME_S, life.command.off_time or life.target.off_time)
            left = max(
                wanted - off.age(self.clock), self.safety.off_left(life.target.board, life.target.ports)
            )
            await self.sleep(max(0.0, left))
            life.asked = Power.ON
        else:
            life.asked = life.target.rest
        try:
            change = await life.target.switch(
                life.asked, by=life.by, interlocks=self.safety, sleep=self.sleep
            )
        except DeviceError as error:
            text = f"{told}; it could not be switched {life.asked} again: {error}"
            await life.step(State.INTERRUPTED, text, observed=Power.UNKNOWN)
            return
        text = f"{told}; it was finished, {life.target.label} measures {change.observed.upper()}"
        await life.step(
            State.INTERRUPTED, text, observed=change.observed, times={"off_s": off.age(self.clock)}
        )

    async def _measure_patiently(self, target: Target, entry: Entry) -> Power:
        """Return the measured state; a device that is away is waited for while the cycle could still be finished."""
        if not target.measurable:
            return Power.UNKNOWN
        patience = FINISH_WITHIN_S if entry.off else entry.intent.age(self.clock) + PATIENCE_S
        while (observed := await measure(target)) is Power.UNKNOWN and entry.intent.age(
            self.clock
        ) < patience:
            await self.sleep(1.0)
        return observed


def _off_unnoticed(entry: Entry, clock: Clock) -> Stamp | None:
    """Return now, for a first half that was begun and of which the journal does not tell whether it was done."""
    step = entry.last_step
    begun = "off" if entry.command.action in _CUTS else "pulse" if entry.command.action in _PULSES else ""
    return Stamp.now(clock) if begun and step.phase == begun and step.before != step.asked else None


def _half_done(life: Life, observed: Power) -> bool:
    """Tell whether the first half was done and the second was not."""
    if life.command.action in _CUTS:
        return observed is Power.OFF or not life.target.measurable
    if life.command.action in _PULSES:
        return observed is not life.target.rest
    return False


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
