"""Carrying out one command on its target: on, off, toggle, cycle, lines, restore, all-off.

Every phase is journalled before it begins. The second half of a cycle is never left to luck: a stop in the
off time switches on at once where that is allowed and says so, and a start finds the cycle in the journal
(see :mod:`boardherd_agent.control.recovery`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from boardherd_agent.control.ending import Ending, Liveness, as_asked, measure
from boardherd_agent.control.gate import Gate, TooEarlyError
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import FeedLine, Sleep, Target, combine
from boardherd_agent.control.proving import Onlooker, Proving
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.safety import Safety
from boardherd_agent.control.stopping import LONGEST_WAIT_S, despite_cancellation
from boardherd_agent.control.tracing import Tracer
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.clock import Clock
from boardherd_shared.command import Action, Refusal, State
from boardherd_shared.lab import MIN_OFF_TIME_S
from boardherd_shared.records import Power

_RETURN_LOOKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Pauses before each look whether the module has ended its pulse."""

T = TypeVar("T")


@dataclass(frozen=True)
class Executor:
    """Carries commands out on their targets."""

    clock: Clock
    liveness: Liveness
    safety: Safety
    proving: Proving
    tracer: Tracer
    sleep: Sleep = asyncio.sleep

    @property
    def _ending(self) -> Ending:
        return Ending(self.liveness, self.safety)

    async def carry_out(self, life: Life) -> None:
        """Do what the command asks for; every end, good or bad, is a final step."""
        try:
            await self._act_or_fail(life)
        except asyncio.CancelledError:  # be it while a failure is looked into
            if not life.ended:
                await despite_cancellation(self._stopped(life))
            raise

    async def _act_or_fail(self, life: Life) -> None:
        try:
            await self._act(life)
        except Refused as refused:
            late = refused.code is Refusal.EXPIRED
            text = f"expired: {life.target.label} had to wait until the deadline had passed; nothing was switched"
            text = text if late else f"refused: {refused.text}; nothing was switched"
            state = State.EXPIRED if late else State.REFUSED
            await life.step(state, text, code=refused.code, observed=life.before)
        except DeviceError as error:
            observed = await measure(life.target)
            await life.step(State.FAILED, f"{life.target.label}: {error}", observed=observed)

    async def _act(self, life: Life) -> None:
        match life.command.action:
            case Action.ALL_OFF:
                await self._all_off(life)
            case Action.RESET | Action.LINE:
                await self._line(life)
            case Action.RESTORE:
                await self._restore(life)
            case Action.TRACE:
                await self.tracer.trace(life)
            case _:
                await self._power(life)

    async def _power(self, life: Life) -> None:
        action, label = life.command.action, life.target.label
        if action in {Action.ON, Action.OFF} and not life.command.expect:
            await self._switch(life, Power(action))  # reads by itself what was before
            return
        life.before = await life.target.read()
        if (expect := life.command.expect) and life.before != expect:
            text = f"{label} is {life.before.upper()}, not {expect.upper()}; nothing was switched"
            await life.step(State.REFUSED, text, code=Refusal.UNEXPECTED_STATE, observed=life.before)
        elif action is Action.TOGGLE and life.before is Power.UNKNOWN:
            text = f"the state of {label} is unknown, so there is nothing to toggle; use on or off"
            await life.step(State.REFUSED, text, code=Refusal.UNKNOWN_STATE, observed=life.before)
        elif action is Action.TOGGLE:
            await self._toggle(life)
        elif action is Action.CYCLE and life.before is not Power.OFF:
            await self._cycle(life)
        else:
            await self._switch(life, Power.OFF if action is Action.OFF else Power.ON)

    async def _toggle(self, life: Life) -> None:
        life.tell(f"toggling {life.target.label}", phase="toggle")
        if life.before is Power.OFF:
            await self._stay_off(life)
        life.still_wanted()
        began = self.clock.up()
        with self.proving.looking_on(life) as onlooker:
            life.before, observed = await self._when_rested(
                life,
                lambda gate: life.target.toggle(by=life.by, interlocks=gate, sleep=self.sleep),
                Gate(life, self.safety, rested=True),
            )
            onlooker.switched(life.before, observed)
        life.asked = Power.OFF if life.before is Power.ON else Power.ON
        await self._ending.conclude(life, observed, {"switched_s": self._since(began)})

    async def _switch(self, life: Life, power: Power) -> None:
        life.asked = power
        if power is Power.ON and life.target.known is not Power.ON:
            await self._stay_off(life)
        life.tell(f"switching {life.target.label} {power}", phase=power)
        life.still_wanted()
        began = self.clock.up()
        with self.proving.looking_on(life) as onlooker:
            change = await self._when_rested(
                life,
                lambda gate: life.target.switch(power, by=life.by, interlocks=gate, sleep=self.sleep),
                Gate(life, self.safety, rested=power is Power.ON, each=power is Power.ON),
            )
            onlooker.switched(change.before, change.observed)
        life.before = change.before
        await self._ending.conclude(life, change.observed, {"switched_s": self._since(began)})

    async def _when_rested(self, life: Life, act: Callable[[Gate], Awaitable[T]], gate: Gate) -> T:
        """Switch, and wait before that for a board that somebody else has switched off a moment ago."""
        while True:
            try:
                return await act(gate)
            except TooEarlyError:
                await self._stay_off(life)

    async def _set(self, life: Life, power: Power, gate: Gate | Safety) -> Power:
        change = await life.target.switch(power, by=life.by, interlocks=gate, sleep=self.sleep)
        return change.observed

    async def _stay_off(self, life: Life) -> None:
        """Wait until the minimum off time has passed, and say so."""
        left = self.safety.off_left(life.target.board, life.target.ports)
        if left > 0:
            text = f"{life.target.label} went off only just now; it stays off for {left:.1f} s more"
            await life.step(State.RUNNING, text, phase="min-off", times={"wait_s": left})
            await self.sleep(left)

    async def _cycle(self, life: Life) -> None:
        least = max(MIN_OFF_TIME_S, self.safety.least_off(life.target.board))
        off_time = max(least, life.command.off_time or life.target.off_time)
        if life.target.is_board:
            await self._count_cycle(life.target.board)
        life.asked = Power.OFF
        await life.step(State.RUNNING, f"switching {life.target.label} off", phase="off")
        life.still_wanted()
        native = _native(life.target, off_time)
        if native and not self.safety.expect_on(native.id, off_time):
            native = None  # the module would switch it on without a look at the others of its supply
        try:
            with self.proving.looking_on(life) as onlooker:
                await self._off_and_on(life, off_time, native, onlooker)
        finally:
            if native:
                self.safety.expect_no_more(native.id)

    async def _off_and_on(
        self, life: Life, off_time: float, native: FeedLine | None, onlooker: Onlooker
    ) -> None:
        """Do both halves of a cycle; ``native`` is the feed whose module times it."""
        if native:
            switched = await native.worker.pulse(
                native.port, Power.OFF, off_time, by=life.by, still_wanted=life.still_wanted
            )
            off = switched.observed
            self.safety.expect_by(native.id, off_time)
            await self.safety.went_off(native.id)
        else:
            off = await self._set(life, Power.OFF, Gate(life, self.safety))
        if not as_asked(life, off):
            text = (
                f"{life.target.label} was asked OFF but measures {off.upper()}; it was not switched on again"
            )
            await life.step(State.FAILED, text, phase="off", observed=off)
            return
        went_off = self.clock.up()
        onlooker.went_off(off_time)
        timed_by = "timed by the module" if native else "waiting"
        text = f"off, {timed_by}, {off_time:g} s"
        await life.went_off(text, phase="dwell", observed=off, times={"dwell_s": off_time})
        try:
            await self.sleep(max(0.0, off_time - self._since(went_off)))
            if not native and (left := self.safety.off_left(life.target.board, life.target.ports)) > 0:
                await self.sleep(left)  # somebody else has switched it on and off again meanwhile
        except asyncio.CancelledError:
            await despite_cancellation(self._left_in_dwell(life, went_off, native))
            raise
        life.asked = Power.ON
        await life.step(State.RUNNING, f"switching {life.target.label} on", phase="on")
        # From here to the read-back a stop waits: a cancelled "on" could leave the board dark.
        on = self._returned(life, native) if native else self._on_again(life)
        observed = await despite_cancellation(on)
        onlooker.came_on()
        times = {"off_s": self._since(went_off)}
        if as_asked(life, observed) and (why := await onlooker.objection()):
            await life.step(State.FAILED, why, observed=observed, times=times)
        else:
            await self._ending.conclude(life, observed, times)

    async def _on_again(self, life: Life) -> Power:
        """Switch on what this command has switched off: nothing but the off time of its ports can hold that up."""
        gate = Gate(life, self.safety, rested=True, each=True, begun=True)
        return await self._when_rested(life, functools.partial(self._set, life, Power.ON), gate)

    async def _count_cycle(self, board: str) -> None:
        """Count towards the breaker; a board that is alive begins anew."""
        if self.liveness.alive(board):
            await self.safety.forgive(board)
        await self.safety.cycled(board)

    async def _returned(self, life: Life, feed: FeedLine) -> Power:
        """Look until the module has ended its pulse; switch on if it does not."""
        await self.safety.came_on(feed.id)
        for pause in _RETURN_LOOKS:
            await self.sleep(pause)
            if (observed := await feed.worker.read(feed.port)) is not Power.OFF:
                return observed
        return await self._set(life, Power.ON, self.safety)

    async def _line(self, life: Life) -> None:
        """Pulse a line, or put it to a level."""
        target, level = life.target, life.command.level or "pulse"
        life.before = await target.read()
        if level != "pulse":
            await self._switch_line(life, Power(level))
            return
        away = Power.OFF if target.rest is Power.ON else Power.ON
        feed = target.feeds[0]
        life.asked = away
        await life.step(State.RUNNING, f"{target.label}: {target.pulse:g} s {away}", phase="pulse")
        life.still_wanted()
        began = self.clock.up()
        if feed.worker.can_pulse(feed.port, target.pulse):
            await feed.worker.pulse(feed.port, away, target.pulse, by=life.by, still_wanted=life.still_wanted)
            await self.sleep(max(0.0, target.pulse - self._since(began)))
            observed = await self._rested(life, feed)
        else:
            await feed.worker.switch(feed.port, away, by=life.by, still_wanted=life.still_wanted)
            await life.went_off(f"{target.label} is {away.upper()}", phase="pulse")
            try:
                await self.sleep(target.pulse)
            finally:  # a stop in mid-pulse ends the pulse at once
                back = await despite_cancellation(feed.worker.switch(feed.port, target.rest, by=life.by))
            observed = back.observed
        life.asked = target.rest
        await self._ending.conclude(life, observed, {"pulse_s": self._since(began)})

    async def _switch_line(self, life: Life, level: Power) -> None:
        feed = life.target.feeds[0]
        life.asked = level
        await life.step(State.RUNNING, f"switching {life.target.label} {level}", phase=level)
        life.still_wanted()
        began = self.clock.up()
        switched = await feed.worker.switch(feed.port, level, by=life.by, still_wanted=life.still_wanted)
        await self._ending.conclude(life, switched.observed, {"switched_s": self._since(began)})

    async def _rested(self, life: Life, feed: FeedLine) -> Power:
        observed = Power.UNKNOWN
        for pause in _RETURN_LOOKS:
            await self.sleep(pause)
            observed = await feed.worker.read(feed.port)
            if observed in {life.target.rest, Power.UNKNOWN}:
                break
        return observed

    async def _restore(self, life: Life) -> None:
        """Bring each port back to what was last asked of it."""
        life.before = await life.target.read()
        await life.step(State.RUNNING, f"restoring {life.target.label}", phase="restore")
        if life.before is not Power.ON:
            await self._stay_off(life)
        life.still_wanted()
        observed, gate = [], Gate(life, self.safety)
        for feed in life.target.feeds:
            async with gate.turn(feed.id):
                switched = await feed.worker.restore(feed.port, by=life.by)
            observed.append(switched.observed)
            if switched.before is Power.ON and switched.observed is not Power.ON:
                await self.safety.went_off(feed.id)
        state = combine(observed)
        await life.step(
            State.SUCCEEDED, f"{life.target.label}: {state.value}, as asked before", observed=state
        )

    async def _all_off(self, life: Life) -> None:
        """Switch off every port at once; what fails does not keep the others from going off."""
        life.asked = Power.OFF
        await life.step(State.RUNNING, f"switching {len(life.target.feeds)} ports off", phase="off")
        gate, refusals, failures = Gate(life, self.safety), list[Refused](), list[str]()

        async def off(feed: FeedLine) -> None:
            try:
                switched = await feed.worker.switch(feed.port, Power.OFF, by=life.by, still_wanted=gate.check)
                gate.moved()
                await self.safety.went_off(feed.id)
                if switched.observed is Power.ON:
                    failures.append(f"{feed.relay}:{feed.port} still measures ON")
            except DeviceError as error:
                failures.append(f"{feed.relay}:{feed.port}: {error}")
            except Refused as refused:
                refusals.append(refused)
                failures.append(f"{feed.relay}:{feed.port}: {refused.text}")

        async with asyncio.TaskGroup() as tasks:
            for feed in life.target.feeds:
                tasks.create_task(off(feed), name=f"all-off {feed.relay}:{feed.port}")
        if refusals and len(refusals) == len(life.target.feeds):
            raise refusals[0]
        done = len(life.target.feeds) - len(failures)
        if failures:
            text = f"{_ports(done)} off, {len(failures)} not: {'; '.join(failures)}"
            await life.step(State.FAILED, text, observed=Power.UNKNOWN)
        else:
            await life.step(State.SUCCEEDED, f"{_ports(done)} off{life.remark}", observed=Power.OFF)

    async def _left_in_dwell(self, life: Life, went_off: int, native: FeedLine | None) -> None:
        """End a cycle whose off time is cut short: by another command, or by the agent's stop."""
        label, times = life.target.label, {"off_s": self._since(went_off)}
        if life.ended_by:
            observed, rests = await self._resting(life)
            text = f"{label}: ended in its off time by {life.ended_by}; {rests}"
            await life.step(State.INTERRUPTED, text, observed=observed, times=times)
            return
        if native:
            observed, _ = await self._resting(life)
            text = f"the agent stopped in the off time of {label}; the module itself switches it on in time"
            await life.step(State.INTERRUPTED, text, observed=observed, times=times)
            return
        left = max(
            MIN_OFF_TIME_S - times["off_s"], self.safety.off_left(life.target.board, life.target.ports)
        )
        if left > LONGEST_WAIT_S:
            observed, rests = await self._resting(life)
            text = f"the agent stopped in the off time of {label}, too early to switch it on; {rests}"
            await life.step(State.INTERRUPTED, text, observed=observed, times=times)
            return
        await self.sleep(max(0.0, left))
        life.asked = Power.ON
        try:
            observed = await self._set(life, Power.ON, self.safety)
        except DeviceError as error:
            observed, label = Power.UNKNOWN, f"{label} ({error})"
        text = f"the agent stopped in the off time; {label} was switched on early and measures {observed.upper()}"
        await life.step(State.INTERRUPTED, text, observed=observed, times={"off_s": self._since(went_off)})

    async def _resting(self, life: Life) -> tuple[Power, str]:
        """Return what a target left in its off time measures, and that in words: somebody may have pressed it on."""
        observed = await measure(life.target)
        if as_asked(life, observed):
            return Power.OFF, "it stays OFF"
        return observed, f"it measures {observed.upper()}"

    async def _stopped(self, life: Life) -> None:
        """Report a command that was cut short, with what the device says now."""
        observed = await measure(life.target)
        what = f"{life.command.action} of {life.target.label}"
        why = f"{what} was ended by {life.ended_by}" if life.ended_by else f"the agent stopped during {what}"
        await life.step(State.INTERRUPTED, f"{why}; it measures {observed.upper()}", observed=observed)

    def _since(self, up: int) -> float:
        return (self.clock.up() - up) / 1e6


def _native(target: Target, seconds: float) -> FeedLine | None:
    """Return the feed whose module can time the off time itself; only a single feed can be left to it."""
    if len(target.feeds) != 1:
        return None
    feed = target.feeds[0]
    return feed if feed.worker.can_pulse(feed.port, seconds) else None


def _ports(count: int) -> str:
    return "1 port is" if count == 1 else f"{count} ports are"
