"""When to look: gently at boards that answer, closely at boards that boot, ever less at silent ones."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from boardherd_agent.watch.judging.evidence import Answer, Look
from boardherd_agent.watch.probes import Probe
from boardherd_agent.watch.probing.gate import MOST_AT_ONCE, Gate
from boardherd_agent.watch.texts import brief
from boardherd_shared.clock import Clock
from boardherd_shared.command import Duration
from boardherd_shared.records import Verdict

COSTLY = frozenset({"ssh", "https", "command"})
"""Kinds of probes whose looks cost somebody something: a line in a log, a handshake, a process."""
_MOST_APART_S = 0.1
"""When a board's probes are told to look now, they do so within this time, and not at the same instant."""


class Pace(BaseModel):
    """How often boards are looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steady: Duration = Field(10.0, ge=0.05, description="time between looks at a board that answers")
    ssh: Duration = Field(
        30.0,
        ge=0.05,
        description="the same for the probes ssh, https and command: servers log and count connections without a login",
    )
    booting: Duration = Field(0.5, ge=0.05, description="time between looks at a board that boots")
    slowest: Duration = Field(
        60.0, ge=0.05, description="silent boards are looked at ever less, up to this far apart"
    )
    timeout: Duration = Field(3.0, ge=0.05, description="how long a board may take to answer")
    timeout_booting: Duration = Field(
        1.0, ge=0.05, description="the same while it boots, so that the next look comes soon"
    )
    at_once: int = Field(
        MOST_AT_ONCE, ge=1, le=1000, description="at most so many looks run at the same time on this PC"
    )
    settle: Duration = Field(
        5.0, description="how long a board may still answer after its power went off: supplies hold up"
    )
    tick: Duration = Field(1.0, ge=0.05, description="how often verdicts are checked for the passing of time")

    @property
    def stale(self) -> float:
        """The age in seconds from which a look tells nothing any more."""
        return 3 * (self.slowest + self.timeout)


def interval(pace: Pace, probe: str, verdict: Verdict, answer: Answer, misses: int) -> float:
    """Return the seconds until the next look.

    Args:
        pace: the numbers.
        probe: name of the probe.
        verdict: what is thought of the board after the last look.
        answer: the last look's.
        misses: looks in a row that were answered "no".
    """
    booting = verdict is Verdict.BOOTING
    if answer == "unavailable":
        return min(pace.steady, pace.slowest) if booting else pace.slowest
    if booting or (verdict is Verdict.UNKNOWN and misses == 1):
        return pace.booting
    if misses == 1:  # a first miss is soon confirmed or refuted
        return pace.steady
    costly = probe.partition("-")[0] in COSTLY
    steady = max(pace.steady, pace.ssh) if costly else pace.steady
    if not misses:
        return steady
    return max(steady, min(pace.slowest, steady * 2.0 ** min(misses - 1, 20)))


class Prober:
    """Keeps one probe looking at one board: never twice at once, and only when there is a place at the gate."""

    def __init__(
        self,
        probe: Probe,
        pace: Pace,
        clock: Clock,
        *,
        verdict: Callable[[], Verdict],
        on_look: Callable[[Look], None],
        gate: Gate | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare.

        Args:
            probe: what looks.
            pace: how often.
            clock: tells when it looked.
            verdict: tells what is thought of the board now.
            on_look: hears of every look.
            gate: what all looks of this PC go through; one of its own if not given.
            rng: for the jitter.
        """
        self.name = probe.name
        self._probe = probe
        self._pace = pace
        self._clock = clock
        self._verdict = verdict
        self._on_look = on_look
        self._gate = gate or Gate(pace.at_once)
        self._seat = self._gate.seat()
        self._rng = rng or random.Random()
        self._hurry = asyncio.Event()
        self._looking = asyncio.Lock()
        self._misses = 0

    async def run(self) -> None:
        """Look until cancelled; for the first time when it is this probe's turn among those of the PC."""
        await self._wait(self._gate.first_look_after(self._seat, self._pace.steady))
        while True:
            self._hurry.clear()
            answer = await self.look()
            wait_s = interval(self._pace, self.name, self._verdict(), answer, self._misses)
            await self._wait(wait_s * self._rng.uniform(0.8, 1.0))  # so that looks do not fall into step

    async def look(self) -> Answer:
        """Look once now, or right after the look that is under way; tell of it and return the answer."""
        async with self._looking, self._gate.turn(urgent=self._verdict() is Verdict.BOOTING):
            look = await self._look()
            self._misses = self._misses + 1 if look.answer == "no" else 0
        self._on_look(look)
        return look.answer

    def hurry(self) -> None:
        """Look now."""
        self._hurry.set()

    def restart(self) -> None:
        """Look now, and forget past silence and the waits that it has stretched: the board starts anew."""
        self._misses = 0
        self._hurry.set()

    async def _look(self) -> Look:
        booting = self._verdict() is Verdict.BOOTING
        wall, up = self._clock.wall(), self._clock.up()
        outcome = await self._probe.check(self._pace.timeout_booting if booting else self._pace.timeout)
        return Look(
            up=up,
            probe=self.name,
            answer=outcome.answer,
            text=brief(outcome.text),
            stack_up=outcome.stack_up,
            loader=brief(outcome.loader),
            wall=wall,
            duration_s=outcome.duration_s,
        )

    async def _wait(self, wait_s: float) -> None:
        """Wait; a hurry ends that, but not at the same instant for all probes of a board."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._hurry.wait()
            await asyncio.sleep(self._rng.uniform(0, min(_MOST_APART_S, self._pace.booting / 2)))
