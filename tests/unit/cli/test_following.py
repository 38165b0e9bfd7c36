"""The life of a command, put together from what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from boardherd.exit_codes import Exit, Failure, Silence
from boardherd.following import Letter, follow, letter
from boardherd_shared.command import Action, Command, CommandStep, State


def step(state: State, **more: Any) -> CommandStep:
    return CommandStep(
        id="c1", state=state, action="cycle", agent="pc-01", operator="ops1", at=1.0, text="x", **more
    )


async def arriving(*steps: CommandStep, then: asyncio.Event | None = None) -> AsyncIterator[CommandStep]:
    for it in steps:
        yield it
    await (then or asyncio.Event()).wait()


def sent(timeout: float = 5.0, patience: float = 5.0) -> Letter:
    return Letter("c1", b"", timeout, patience)


async def test_a_step_that_comes_twice_is_told_once_and_the_last_one_ends_it() -> None:
    accepted, done = step(State.ACCEPTED), step(State.SUCCEEDED)
    steps = [it async for it in follow(arriving(accepted, accepted, done, accepted), sent())]
    assert steps == [accepted, done]


async def test_nobody_answering_is_silence() -> None:
    with pytest.raises(Silence, match=r"nobody answered within 0.01 s, and the command is no longer valid"):
        [it async for it in follow(arriving(), sent(timeout=0.01))]


async def test_falling_silent_says_how_to_learn_the_outcome() -> None:
    with pytest.raises(Failure, match=r"pc-01 began and then fell silent; .*--id c1") as told:
        [it async for it in follow(arriving(step(State.ACCEPTED)), sent(patience=0.01))]
    assert told.value.exit_code == Exit.UNREACHABLE
    assert not isinstance(told.value, Silence)


async def test_a_wait_that_was_announced_is_waited_for() -> None:
    """An off time of the inventory's may be longer than the patience for anything else."""
    late = asyncio.Event()

    async def waiting() -> AsyncIterator[CommandStep]:
        yield step(State.RUNNING, phase="dwell", times={"dwell_s": 5.0})
        await late.wait()
        yield step(State.SUCCEEDED)

    asyncio.get_running_loop().call_later(0.05, late.set)
    steps = [it async for it in follow(waiting(), sent(patience=0.01))]
    assert steps[-1].state is State.SUCCEEDED


def test_the_times_of_a_command_are_part_of_the_patience() -> None:
    command = Command(id="c1", action=Action.CYCLE, off_time=30.0, wait_alive=90.0)
    assert letter(command, b"", 15.0).patience == 15 + 30 + 90 + 60
