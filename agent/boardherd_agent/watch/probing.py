"""When to look: gently at boards that answer, closely at boards that boot, ever less at silent ones."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from boardherd_agent.watch.evidence import Answer, Look
from boardherd_agent.watch.probes import Probe
from boardherd_agent.watch.texts import brief
from boardherd_shared.clock import Clock
from boardherd_shared.command import Duration
from boardherd_shared.records import Verdict


class Pace(BaseModel):
    """How often boards are looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steady: Duration = Field(10.0, ge=0.05, description="time between looks at a board that answers")
    ssh: Duration = Field(
        30.0,
        ge=0.05,
        description="the same for the ssh probe: servers log and count connections without a login",
    )
    booting: Duration = Field(0.5, ge=0.05, description="time between looks at a board that boots")
    slowest: Duration = Field(
        60.0, ge=0.05, description="silent boards are looked at ever less, up to this far apart"
    )
    timeout: Duration = Field(3.0, ge=0.05, description="how long a board may take to answer")
    timeout_booting: Duration = Field(
        1.0, ge=0.05, description="the same while it boots, so that the next look comes soon"
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
    steady = max(pace.steady, pace.ssh) if probe.startswith("ssh") else pace.steady
    if not misses:
        return steady
    return max(steady, min(pace.slowest, steady * 2.0 ** min(misses - 1, 20)))


class Prober:
    """Keeps one probe looking at one board."""

    def __init__(
        self,
        probe: Probe,
        pace: Pace,
        clock: Clock,
        *,
        verdict: Callable[[], Verdict],
        on_look: Callable[[Look], None],
        rng: random.Random | None = None,
    ) -> None:
        """Prepare; ``verdict`` tells what is thought of the board now, ``on_look`` hears of every look."""
        self.name = probe.name
        self._probe = probe
        self._pace = pace
        self._clock = clock
        self._verdict = verdict
        self._on_look = on_look
        self._rng = rng or random.Random()
        self._hurry = asyncio.Event()
        self._misses = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._hurry.clear()
            look = await self._look()
            self._misses = self._misses + 1 if look.answer == "no" else 0
            self._on_look(look)
            await self._wait(interval(self._pace, self.name, self._verdict(), look.answer, self._misses))

    async def look(self) -> None:
        """Look once now, beside the regular looks, and tell of it."""
        self._on_look(await self._look())

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
            wall=wall,
            duration_s=outcome.duration_s,
        )

    async def _wait(self, interval_s: float) -> None:
        """Wait with jitter, so that the looks at many boards spread out; a hurry ends the wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s * self._rng.uniform(0.8, 1.0)):
                await self._hurry.wait()
