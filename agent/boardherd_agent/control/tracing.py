"""Tracing a relay: each port that powers a board here goes off and on in turn, and who falls silent hangs on it.

Allowed only to whoever has locked every board on the module. Ports are switched as a cycle does it: minimum off
time, stagger, every step in the journal, and the second half is never left to luck.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from boardherd_agent.control.gate import Gate, TooEarlyError
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import FeedLine, Sleep, Target
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.safety import Safety
from boardherd_agent.control.stopping import LONGEST_WAIT_S, despite_cancellation
from boardherd_agent.control.wiring import WiringBook
from boardherd_agent.devices.device import DeviceError, DeviceRefused
from boardherd_shared.clock import Clock
from boardherd_shared.command import CommandStep, State
from boardherd_shared.lab import MIN_OFF_TIME_S
from boardherd_shared.records import Power
from boardherd_shared.values import one_line

_LOOK_S = 1.0
"""How long a board may take to answer before it counts as silent."""

_CONSOLE_S = 4.0
"""How long after power-on consoles are listened to, where nobody has fallen silent."""

_LISTEN_S = 0.5


class Eyes(Protocol):
    """Who sees which boards are alive: see :class:`boardherd_agent.watch.witnessing.witness.Witness`."""

    hold_up_s: float
    """How long a board may live on after its power went off."""

    async def answering(self, within_s: float) -> Collection[str]:
        """Look at every board once and return those that answer."""
        ...

    async def silent(self, boards: Collection[str], within_s: float) -> Collection[str]:
        """Look at ``boards`` twice and return those that never answer."""
        ...

    def booted(self, since: int) -> Collection[str]:
        """Return the boards whose console has shown the beginning of a boot since then."""
        ...


@dataclass(frozen=True)
class Row:
    """What one port turned out to feed."""

    port: str
    named: str
    """The board that lab.toml names for it."""
    found: tuple[str, ...] = ()
    """Who fell silent, or began a boot when the port came on."""
    answered: bool = False
    """Whether the board that lab.toml names answered before."""
    skipped: str = ""
    """Why the port was not traced."""

    @property
    def as_told(self) -> bool:
        """Whether lab.toml is right about it."""
        return self.found == (self.named,)

    def __str__(self) -> str:
        """Return "eth-1:4 -> evm-09, lab.toml says evm-08"."""
        if self.skipped:
            return f"{self.port} {self.skipped}, not traced"
        if self.as_told:
            return f"{self.port} -> {self.named} as in lab.toml"
        return f"{self.port} -> {self.result}, lab.toml says {self.named}"

    @property
    def result(self) -> str:
        """What was found, in words."""
        if self.found:
            return " and ".join(self.found)
        return "nobody fell silent" if self.answered else "nobody, and it was not answering before"


@dataclass(frozen=True)
class _Traced:
    """What a row says of the wiring of the board that lab.toml names."""

    kind: Literal["proved", "mixed_up", "not_cut", "nothing"]
    text: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tracer:
    """Traces relays."""

    clock: Clock
    safety: Safety
    book: WiringBook
    eyes: Eyes
    targets: Mapping[str, Target]
    """Everything that can be switched, by name."""
    sleep: Sleep = asyncio.sleep

    async def trace(self, life: Life) -> None:
        """Switch each port of the target off and on in turn, and tell what hangs on it; raises DeviceError."""
        wanted, rows = life.still_wanted, list[Row]()
        for feed in life.target.feeds:
            gate = Gate(replace(life, still_wanted=wanted), self.safety)
            try:
                row = await self._row(life, self._alone(feed), gate)
            except Refused as refused:
                if wanted is not life.still_held:
                    raise
                text = f"{life.target.label}: ended before {feed.relay}:{feed.port}: {refused.text}"
                await life.step(State.FAILED, "; ".join([text, *map(str, rows)]), facts=_facts(rows))
                return
            if gate.begun:  # from now on the deadline does not matter any more, only who holds the boards
                wanted = life.still_held
            rows.append(row)
            self._enter(row)
            await life.step(State.RUNNING, str(row), phase="traced", facts=_facts([row]))
        rows.sort(key=lambda row: row.as_told)  # what is wrong comes first, should the text be too long
        await life.step(State.SUCCEEDED, "; ".join(map(str, rows)), facts=_facts(rows))

    def _alone(self, feed: FeedLine) -> Target:
        return self.targets[f"relay/{feed.relay}/{feed.port}"]

    async def _row(self, life: Life, port: Target, gate: Gate) -> Row:
        if (state := await port.read()) is Power.OFF:
            return Row(port.label, port.board, skipped=f"is {state.upper()}")
        alive = set(await self.eyes.answering(_LOOK_S))
        where = {"port": port.label}
        text = f"switching {port.label} off, {len(alive)} boards answer"
        life.before, life.asked = Power.ON, Power.OFF
        await life.step(State.RUNNING, text, phase="off", facts=where)
        try:
            silent = await self._cut(life, port, gate, alive)
        except asyncio.CancelledError:
            await despite_cancellation(self._stopped(life, port))
            raise
        except DeviceError:
            await self._on(life, port)  # it may be off all the same
            raise
        life.asked = Power.ON
        await life.step(State.RUNNING, f"switching {port.label} on", phase="on", facts=where)
        on = self.clock.up()
        observed = await despite_cancellation(self._on(life, port))
        if observed is not Power.ON and (observed is Power.OFF or port.measurable):
            raise DeviceRefused(f"{port.label} was asked ON but measures {observed.upper()}")
        life.before = life.asked = None
        found = sorted(silent) or await self._booted(on)
        return Row(port.label, port.board, tuple(found), port.board in alive)

    async def _cut(self, life: Life, port: Target, gate: Gate, alive: Collection[str]) -> Collection[str]:
        """Switch a port off for as long as it takes, and return the boards that fell silent."""
        change = await port.switch(Power.OFF, by=life.by, interlocks=gate, sleep=self.sleep)
        if change.observed is not Power.OFF and (change.observed is Power.ON or port.measurable):
            raise DeviceRefused(f"{port.label} was asked OFF but measures {change.observed.upper()}")
        went_off = self.clock.up()
        wait = self.eyes.hold_up_s
        least = max(MIN_OFF_TIME_S, self.safety.least_off(port.board))
        text = f"{port.label} is off; who falls silent?"
        times = {"dwell_s": max(least, wait + 2 * _LOOK_S)}
        await life.went_off(text, phase="dwell", observed=Power.OFF, facts={"port": port.label}, times=times)
        await self.sleep(wait)
        silent = await self.eyes.silent(alive, _LOOK_S)
        left = max(least - (self.clock.up() - went_off) / 1e6, self.safety.off_left(port.board, port.ports))
        await self.sleep(max(0.0, left))
        return silent

    async def _on(self, life: Life, port: Target) -> Power:
        """Switch a port on, when the board behind it has been off for long enough, whoever it was that cut it last."""
        alone = replace(life, target=replace(port, name=life.target.name), still_wanted=_wanted)
        gate = Gate(alone, self.safety, rested=True)
        while True:
            try:
                change = await port.switch(Power.ON, by=life.by, interlocks=gate, sleep=self.sleep)
            except TooEarlyError:
                await self.sleep(self.safety.off_left(port.board, port.ports))
            else:
                return change.observed

    async def _booted(self, since: int) -> Sequence[str]:
        """Return the boards whose console begins a boot within a few seconds of power-on."""
        until = since + round(_CONSOLE_S * 1e6)
        while not (found := self.eyes.booted(since)) and self.clock.up() < until:
            await self.sleep(_LISTEN_S)
        return sorted(found)

    def _enter(self, row: Row) -> None:
        """Enter what a row has shown in the book; of one of several feeds only that another board hangs on it."""
        single = len(self.book.powered_by(row.named)) == 1
        if row.as_told and single:
            self.book.take(
                row.named, _Traced("proved", f"{row.named} fell silent when {row.port} was traced")
            )
        elif row.found and row.named not in row.found and row.answered:
            text = f"{' and '.join(row.found)} fell silent when {row.port} was traced, not {row.named}"
            self.book.take(row.named, _Traced("mixed_up", text, row.found))
        elif row.answered and not row.found and single:
            text = f"{row.named} still answered when {row.port} was traced, and no other board fell silent"
            self.book.take(row.named, _Traced("not_cut", text))

    async def _stopped(self, life: Life, port: Target) -> None:
        """End a trace that is cut short while a port is off: by another command, or by the agent's stop."""
        label = f"{life.target.label}: its trace"
        if life.ended_by:
            text = f"{label} was ended by {life.ended_by}; {port.label} measures {port.known.upper()}"
            await life.step(State.INTERRUPTED, text, observed=port.known)
            return
        left = self.safety.off_left(port.board, port.ports)
        if left > LONGEST_WAIT_S:
            text = f"{label} was ended by the agent's stop, too early to switch {port.label} on; it stays OFF"
            await life.step(State.INTERRUPTED, text, observed=port.known)
            return
        await self.sleep(left)
        try:
            observed, why = await self._on(life, port), ""
        except DeviceError as error:
            observed, why = Power.UNKNOWN, f" ({error})"
        text = f"{label} was ended by the agent's stop; {port.label} was switched on and measures {observed.upper()}"
        await life.step(State.INTERRUPTED, one_line(text + why), observed=observed)


def _wanted() -> None:
    """Want it whatever happens: what was cut gets its power back."""


def _facts(rows: Sequence[Row]) -> dict[str, str]:
    return {row.port: row.skipped or row.result for row in rows}


def half_traced(targets: Mapping[str, Target], step: CommandStep) -> Target | None:
    """Return the port that a trace may have left off, as what is left of its target; None when it left none so.

    Args:
        targets: everything that can be switched, by name.
        step: the last step of the trace that the journal knows.
    """
    relay, _, number = step.facts.get("port", "").rpartition(":")
    port = targets.get(f"relay/{relay}/{number}")
    return replace(port, name=step.target) if port and step.phase in {"off", "dwell", "on"} else None
