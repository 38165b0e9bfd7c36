"""Carrying out one command: on, off, toggle, cycle; and finishing what a crash interrupted.

Every phase is journalled before it begins. The second half of a cycle is never left to luck: a stop in the
off time switches on at once where that is allowed and says so, and a start finds the cycle in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from boardherd_agent.control.journal import Entry, Journal, JournalAway
from boardherd_agent.control.power import Sleep, Target
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.clock import Clock
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.inventory import MIN_OFF_TIME_S
from boardherd_shared.records import BootTimes, Power
from boardherd_shared.values import one_line

FINISH_WITHIN_S = 15 * 60.0
"""A cycle that was interrupted longer ago than this is reported, and the board stays as it is."""

RECOVERY_PATIENCE_S = 30.0
"""How long a start waits for a device before it reports an interrupted command with the state unknown."""

STOP_GRACE_S = 5.0
"""How long a stop may take to switch a board on again whose cycle it interrupts."""

Announce = Callable[[CommandStep], None]
T = TypeVar("T")

log = structlog.get_logger()


class Liveness(Protocol):
    """What the watching side offers to whoever switched a board on."""

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        """Return the boot's times once ``board`` is alive, or None after ``timeout`` seconds."""
        ...

    def describe(self, board: str) -> str:
        """Return the present verdict on ``board`` in words."""
        ...


@dataclass
class Life:
    """The life of one command: makes its steps, journals and announces them."""

    command: Command
    target: Target
    operator: str
    agent: str
    command_id: str
    journal: Journal
    announce: Announce
    clock: Clock
    before: Power | None = None
    asked: Power | None = None
    ended: bool = False

    def make(self, state: State, text: str, **more: object) -> CommandStep:
        """Return a step of this command."""
        return CommandStep(
            id=self.command_id,
            state=state,
            action=self.command.action,
            target=self.target.name,
            agent=self.agent,
            operator=self.operator,
            on_behalf_of=self.command.on_behalf_of,
            reason=self.command.reason,
            at=self.clock.wall() / 1e6,
            text=one_line(text),
            before=self.before,
            asked=self.asked,
            **more,  # type: ignore[arg-type]
        )

    async def step(self, state: State, text: str, **more: object) -> None:
        """Take a step: into the journal first, then to everybody who listens."""
        step = self.make(state, text, **more)
        await self._note(self.journal.note(step))
        self.ended = step.final
        self.announce(step)

    async def went_off(self) -> None:
        """Write down that the board of a cycle is off since now."""
        await self._note(self.journal.note_off(self.command_id))

    async def _note(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write to the journal if that is possible: a disk that fills up in mid-cycle must not leave a board dark."""
        try:
            await writing
        except JournalAway as away:
            log.warning("a step could not be journalled", command=self.command_id, why=str(away))


@dataclass(frozen=True)
class Executor:
    """Carries commands out on their targets."""

    clock: Clock
    liveness: Liveness
    sleep: Sleep = asyncio.sleep

    async def carry_out(self, life: Life) -> None:
        """Do what the command asks for; every end, good or bad, is a final step."""
        try:
            await self._act(life)
        except DeviceError as error:
            observed = await _measure(life.target)
            await life.step(State.FAILED, f"{life.target.label}: {error}", observed=observed)
        except asyncio.CancelledError:
            if not life.ended:
                await _despite_cancellation(self._stopped(life))
            raise

    async def _act(self, life: Life) -> None:
        action = life.command.action
        life.before = await life.target.read()
        if (expect := life.command.expect) and life.before != expect:
            text = f"{life.target.label} is {life.before.upper()}, not {expect.upper()}; nothing was switched"
            await life.step(State.REFUSED, text, code=Refusal.UNEXPECTED_STATE, observed=life.before)
        elif action is Action.TOGGLE and life.before is Power.UNKNOWN:
            text = (
                f"the state of {life.target.label} is unknown, so there is nothing to toggle; use on or off"
            )
            await life.step(State.REFUSED, text, code=Refusal.UNKNOWN_STATE, observed=life.before)
        elif action is Action.TOGGLE:
            await self._toggle(life)
        elif action is Action.CYCLE and life.before is not Power.OFF:
            await self._cycle(life)
        elif action is Action.OFF:
            await self._switch(life, Power.OFF)
        else:
            await self._switch(life, Power.ON)

    async def _toggle(self, life: Life) -> None:
        await life.step(State.RUNNING, f"toggling {life.target.label}", phase="toggle")
        began = self.clock.up()
        life.before, observed = await life.target.toggle(by=_by(life), sleep=self.sleep)
        life.asked = Power.OFF if life.before is Power.ON else Power.ON
        await self._conclude(life, observed, {"switched_s": self._since(began)})

    async def _switch(self, life: Life, power: Power) -> None:
        life.asked = power
        await life.step(State.RUNNING, f"switching {life.target.label} {power}", phase=power)
        began = self.clock.up()
        observed = await life.target.switch(power, by=_by(life), sleep=self.sleep)
        await self._conclude(life, observed, {"switched_s": self._since(began)})

    async def _cycle(self, life: Life) -> None:
        off_time = max(MIN_OFF_TIME_S, life.command.off_time or life.target.off_time)
        life.asked = Power.OFF
        await life.step(State.RUNNING, f"switching {life.target.label} off", phase="off")
        off = await life.target.switch(Power.OFF, by=_by(life), sleep=self.sleep)
        if off is not Power.OFF:
            text = (
                f"{life.target.label} was asked OFF but measures {off.upper()}; it was not switched on again"
            )
            await life.step(State.FAILED, text, phase="off", observed=off)
            return
        went_off = self.clock.up()
        await life.went_off()
        await life.step(State.RUNNING, f"off, waiting {off_time:g} s", phase="dwell", observed=off)
        try:
            await self.sleep(off_time)
        except asyncio.CancelledError:
            await _despite_cancellation(self._stop_in_dwell(life, went_off))
            raise
        life.asked = Power.ON
        await life.step(State.RUNNING, f"switching {life.target.label} on", phase="on")
        # From here to the read-back a stop waits: a cancelled "on" could leave the board dark.
        observed = await _despite_cancellation(life.target.switch(Power.ON, by=_by(life), sleep=self.sleep))
        await self._conclude(life, observed, {"off_s": self._since(went_off)})

    async def _conclude(self, life: Life, observed: Power, times: dict[str, float]) -> None:
        label, asked = life.target.label, life.asked
        if observed is not asked:
            text = f"{label} was asked {str(asked).upper()} but measures {observed.upper()}"
            await life.step(State.FAILED, text, observed=observed, times=times)
            return
        wait = life.command.wait_alive
        if observed is Power.ON and wait and life.target.board:
            await self._wait_alive(life, wait, times)
            return
        done = f"off {times['off_s']:.1f} s, on again" if "off_s" in times else observed.value
        await life.step(State.SUCCEEDED, f"{label}: {done}", observed=observed, times=times)

    async def _wait_alive(self, life: Life, timeout: float, times: dict[str, float]) -> None:
        board = life.target.label
        text = f"{board} is on, waiting up to {timeout:g} s for it to come alive"
        await life.step(State.RUNNING, text, phase="waiting", observed=Power.ON, times=times)
        boot = await self.liveness.wait_alive(board, timeout)
        if boot is None:
            text = (
                f"{board} is on but did not come alive within {timeout:g} s: {self.liveness.describe(board)}"
            )
            await life.step(State.FAILED, text, phase="waiting", observed=Power.ON, times=times)
            return
        times = times | boot.model_dump(exclude_none=True)
        await life.step(State.SUCCEEDED, f"{board}: {_tell(times)}", observed=Power.ON, times=times)

    async def _stop_in_dwell(self, life: Life, went_off: int) -> None:
        """End a cycle whose off time is cut short by the agent's stop."""
        label = life.target.label
        if (off_for := self._since(went_off)) < MIN_OFF_TIME_S:
            await self.sleep(MIN_OFF_TIME_S - off_for)
        life.asked = Power.ON
        try:
            observed = await life.target.switch(Power.ON, by=_by(life), sleep=self.sleep)
        except DeviceError as error:
            observed, label = Power.UNKNOWN, f"{label} ({error})"
        text = f"the agent stopped in the off time; {label} was switched on early and measures {observed.upper()}"
        await life.step(State.INTERRUPTED, text, observed=observed, times={"off_s": self._since(went_off)})

    async def _stopped(self, life: Life) -> None:
        """Report a command that the agent's stop cut short, with what the device says now."""
        observed = await _measure(life.target)
        text = f"the agent stopped during {life.command.action} of {life.target.label}; it measures {observed.upper()}"
        await life.step(State.INTERRUPTED, text, observed=observed)

    async def recover(self, life: Life, entry: Entry) -> None:
        """Deal with a command that the last run of the agent did not finish: report, never guess."""
        label = life.target.label
        observed = await self._measure_patiently(life.target, entry)
        age = self._age(entry)
        told = f"the agent was interrupted during {life.command.action} of {label} ({_ago(age)} ago)"
        half_done = life.command.action is Action.CYCLE and entry.off_up is not None
        if not half_done or observed is not Power.OFF:
            await life.step(State.INTERRUPTED, f"{told}; it measures {observed.upper()}", observed=observed)
            return
        if age > FINISH_WITHIN_S:
            text = f"{told}; it is OFF and stays so, because that is too long ago to finish the cycle"
            await life.step(State.INTERRUPTED, text, observed=observed)
            return
        await self.sleep(max(0.0, MIN_OFF_TIME_S - self._off_for(entry)))
        life.asked = Power.ON
        try:
            observed = await life.target.switch(Power.ON, by=_by(life), sleep=self.sleep)
        except DeviceError as error:
            text = f"{told}; it is OFF and could not be switched on again: {error}"
            await life.step(State.INTERRUPTED, text, observed=Power.UNKNOWN)
            return
        text = f"{told}; the cycle was finished, it measures {observed.upper()}"
        await life.step(State.INTERRUPTED, text, observed=observed, times={"off_s": self._off_for(entry)})

    async def _measure_patiently(self, target: Target, entry: Entry) -> Power:
        """Return the measured state; a device that is away is waited for while the cycle could still be finished."""
        patience = FINISH_WITHIN_S if entry.off_up is not None else self._age(entry) + RECOVERY_PATIENCE_S
        while (observed := await _measure(target)) is Power.UNKNOWN and self._age(entry) < patience:
            await self.sleep(1.0)
        return observed

    def _since(self, up: int) -> float:
        return (self.clock.up() - up) / 1e6

    def _age(self, entry: Entry) -> float:
        """Return the seconds since the intent; over a reboot only the wall clock can tell."""
        if entry.boot == self.clock.boot:
            return (self.clock.up() - entry.intent_up) / 1e6
        return max(0.0, (self.clock.wall() - entry.intent_at) / 1e6)

    def _off_for(self, entry: Entry) -> float:
        if entry.boot == self.clock.boot and entry.off_up is not None:
            return (self.clock.up() - entry.off_up) / 1e6
        return max(0.0, (self.clock.wall() - (entry.off_at or self.clock.wall())) / 1e6)


async def _measure(target: Target) -> Power:
    """Return the state as measured now, unknown when the device does not say."""
    try:
        return await target.read()
    except DeviceError:
        return Power.UNKNOWN


async def _despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Finish ``work`` even if cancelled meanwhile, within the grace of a stop; then let the cancellation through."""
    task = asyncio.create_task(work, name="second half of a cycle")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOP_GRACE_S)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        raise


def _by(life: Life) -> str:
    """Return who is named as having switched: the sender, and the person a service acts for."""
    person = life.command.on_behalf_of
    return f"{person} via {life.operator}" if person else life.operator


def _tell(times: dict[str, float]) -> str:
    """Return the phases of a cycle in a line: "off 5.0 s, console 0.4 s, ssh 4.1 s; alive"."""
    parts = [
        f"{name.removesuffix('_s')} {value:.1f} s" for name, value in times.items() if name != "switched_s"
    ]
    return ", ".join([*parts[:-1], parts[-1]]) + "; alive" if parts else "alive"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
