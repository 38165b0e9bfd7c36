"""Makes one fault after another, asks ``boardherd why`` until it is right, mends it, and asks again."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from liveness.lab import CONSOLE_ONLY, INTERVAL_S, TIMEOUT_S, Answer, LivenessLab
from liveness.situations import Situation

PATIENCE_S = 45.0
"""How long a wrong answer is asked again before the trial gives up."""

TWO_INTERVALS_S = 2 * (INTERVAL_S + TIMEOUT_S)


@dataclass(frozen=True)
class Outcome:
    """How one situation went."""

    situation: Situation
    answer: Answer
    """The first right answer, or the last wrong one."""
    right: bool
    seconds: float
    """From the fault to the right answer."""
    healed: bool
    healing_s: float
    """From its end to an answer that blames nobody."""


async def attempt(lab: LivenessLab, situation: Situation) -> Outcome:
    """Play one situation on a lab in which nothing is wrong."""
    async with situation.make(lab):
        began = time.monotonic()
        answer, right = await _ask(lab, situation.thing, lambda said: fits(situation, said))
        seconds = time.monotonic() - began
    began = time.monotonic()
    _, healed = await _ask(lab, situation.thing, lambda said: said.verdict == "alive")
    return Outcome(situation, answer, right, seconds, healed, time.monotonic() - began)


def fits(situation: Situation, answer: Answer) -> bool:
    """Tell whether an answer blames the right part, and says why."""
    return (
        re.fullmatch(situation.verdict, answer.verdict) is not None
        and answer.blame == situation.blame
        and re.search(situation.says, answer.text) is not None
    )


async def settle(lab: LivenessLab, boards: int) -> None:
    """Wait until every board of a lab is alive; what is watched by its console alone must boot for that."""
    await lab.boardherd("power", "cycle", CONSOLE_ONLY, "--wait-alive", "30s")
    for number in range(1, boards + 1):
        answer, alive = await _ask(lab, f"evm-{number:02}", lambda said: said.verdict == "alive")
        assert alive, answer.text


async def _ask(lab: LivenessLab, thing: str, enough: Callable[[Answer], bool]) -> tuple[Answer, bool]:
    """Return the first answer that is enough, or else the last one, and whether it was."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = await lab.why(thing)
        if enough(answer):
            return answer, True
        if time.monotonic() > until:
            return answer, False
        await asyncio.sleep(0.1)
