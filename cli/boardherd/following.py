"""The life of one command as it arrives, however it travelled: each step once, the last one final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from boardherd.exit_codes import Exit, Failure, Silence
from boardherd_shared.command import Command, CommandStep

SLACK_S = 60.0
"""How much longer than the times of the command itself an agent may be silent between two steps."""

_WAITS = ("dwell_s", "wait_s")
"""The times of a step that say how long the next one will take."""


@dataclass(frozen=True)
class Letter:
    """A command ready to be sent."""

    id: str
    payload: bytes
    timeout: float
    """Seconds in which somebody has to answer; for as long the command is valid."""
    patience: float
    """Seconds that may pass between two steps."""
    topic: str = ""
    """Where it is published; empty where there is no broker."""


def letter(command: Command, payload: bytes, timeout: float, topic: str = "") -> Letter:
    """Return ``command`` ready to be sent."""
    patience = timeout + (command.off_time or 0) + (command.wait_alive or 0) + SLACK_S
    return Letter(str(command.id), payload, timeout, patience, topic)


async def follow(
    arriving: AsyncIterator[CommandStep], sent: Letter, *, again: str = "with the same command and --id"
) -> AsyncGenerator[CommandStep]:
    """Yield the steps of a command as they arrive, each once although it may come twice; the last one is final.

    Args:
        arriving: steps of this command; what it raises ends the life.
        sent: the command.
        again: how to learn the outcome later, before the command's id.

    Raises:
        Silence: nobody answered while the command was valid.
        Failure: somebody began and then fell silent.
    """
    seen: list[CommandStep] = []
    patience = sent.timeout
    while not (seen and seen[-1].final):
        try:
            async with asyncio.timeout(patience):
                step = await _new(arriving, seen)
        except TimeoutError as error:
            raise _silence(sent, seen, again) from error
        seen.append(step)
        patience = sent.patience + max((step.times.get(name, 0.0) for name in _WAITS), default=0.0)
        yield step


async def _new(arriving: AsyncIterator[CommandStep], seen: list[CommandStep]) -> CommandStep:
    async for step in arriving:
        if step not in seen:
            return step
    raise AssertionError("the stream of steps never ends by itself")


def _silence(sent: Letter, seen: list[CommandStep], again: str) -> Failure:
    if not seen:
        return Silence(f"nobody answered within {sent.timeout:g} s, and the command is no longer valid")
    who = f"{seen[-1].agent} began and then fell silent"
    return Failure(Exit.UNREACHABLE, f"{who}; learn the outcome {again} {sent.id}")
