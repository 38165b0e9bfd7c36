"""What a crash in the middle of a command leaves, and what the next start makes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.journal import Journal
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import targets_of
from boardherd_shared.command import Action, Command, CommandStep, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import LAB, Lab, open_lab, relay_with


async def crash_in(path: Path, clock: FakeClock, action: Action, *, off: bool) -> None:
    """Leave in the journal what a kill -9 in the middle of a command leaves."""
    async with ControlFile(path / "control.db") as file:
        journal = Journal(file, clock)
        command = Command(action=action, board="evm-07", id="abc")
        boards = Inventory.parse(LAB).boards_of("pc-01")
        name = "line/evm-07/reset" if action is Action.RESET else "board/evm-07"
        target = targets_of(boards, lambda _: relay_with(clock), "agent/pc-01")[name]
        life = Life(command, target, "ops1", "pc-01", "abc", journal, [].append, clock)
        await journal.intend(command, life.make(State.ACCEPTED, "accepted"), named=True)
        if off:
            await journal.note_off(life.make(State.RUNNING, "off"))


async def first_step(lab: Lab) -> CommandStep:
    await lab.until(lambda: bool(lab.steps))
    return lab.steps[0]


@pytest.mark.parametrize("away", [3, 600])
async def test_the_second_half_of_a_cycle_is_finished_after_a_crash(tmp_path: Path, away: float) -> None:
    """CMD-3: the crash is reported as interrupted, with what was seen."""
    clock = FakeClock()
    relay = relay_with(clock, p3=Power.OFF)
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    clock.advance(away)
    async with open_lab(tmp_path, relay) as lab:
        step = await first_step(lab)
        again = await lab.send({"action": "cycle", "board": "evm-07", "id": "abc"})
    assert (step.state, step.observed) == (State.INTERRUPTED, "on")
    assert "it was finished, evm-07 measures ON" in step.text
    assert relay.transitions == [(3, Power.ON)]
    assert again == [step]


@pytest.mark.parametrize(
    ("action", "off", "away", "seen", "words"),
    [
        (Action.CYCLE, True, 1000, Power.OFF, "it is OFF and stays so, because that is too long ago"),
        (Action.CYCLE, True, 10, Power.ON, "it measures ON"),
        (Action.CYCLE, False, 10, Power.ON, "it measures ON"),
        (Action.CYCLE, False, 10, Power.OFF, "it measures OFF"),
        (Action.OFF, False, 10, Power.OFF, "it measures OFF"),
        (Action.ON, False, 10, Power.OFF, "it measures OFF"),
    ],
)
async def test_other_interrupted_commands_are_only_reported(
    tmp_path: Path, action: Action, off: bool, away: float, seen: Power, words: str
) -> None:
    """CMD-3: read back and reported, never guessed; starting never switches anything else."""
    clock = FakeClock()
    relay = relay_with(clock, p3=seen)
    await crash_in(tmp_path, clock, action, off=off)
    clock.advance(away)
    async with open_lab(tmp_path, relay) as lab:
        step = await first_step(lab)
    assert step.state is State.INTERRUPTED
    assert words in step.text
    assert relay.transitions == []


async def test_a_start_waits_for_the_relay_before_it_finishes_a_cycle(tmp_path: Path) -> None:
    """CMD-3."""
    clock = FakeClock()
    relay = relay_with(clock, p3=Power.OFF)
    relay.offline = True
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    async with open_lab(tmp_path, relay) as lab:

        async def come_back(seconds: float) -> None:
            relay.offline = len(lab.slept) < 5

        lab.sleeper = come_back
        step = await first_step(lab)
    assert step.observed == "on"
    assert relay.transitions == [(3, Power.ON)]


async def test_the_off_time_that_was_asked_for_is_kept_over_a_crash(tmp_path: Path) -> None:
    """CMD-3: finished, and not early."""
    clock = FakeClock()
    relay = relay_with(clock, p3=Power.OFF)
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    clock.advance(1)
    async with open_lab(tmp_path, relay) as lab:
        step = await first_step(lab)
        assert sum(lab.slept) == pytest.approx(4.0)
    assert step.times["off_s"] == pytest.approx(5.0)


async def test_a_line_that_was_left_pulsing_is_let_go(tmp_path: Path) -> None:
    """CMD-3."""
    clock = FakeClock()
    relay = relay_with(clock, p6=Power.ON)
    await crash_in(tmp_path, clock, Action.RESET, off=True)
    clock.advance(5)
    async with open_lab(tmp_path, relay) as lab:
        step = await first_step(lab)
    assert (step.state, relay.transitions) == (State.INTERRUPTED, [(6, Power.OFF)])


async def test_an_errand_that_was_interrupted_is_said_to_be(tmp_path: Path) -> None:
    """CMD-3: a lock is in the book of locks or it is not; the command does not guess."""
    clock = FakeClock()
    await crash_in(tmp_path, clock, Action.LOCK, off=False)
    async with open_lab(tmp_path, relay_with(clock)) as lab:
        step = await first_step(lab)
        assert lab.desk.locks.of("evm-07") is None
    assert step.text == "the agent was interrupted during lock"


async def test_off_ends_what_a_start_would_finish_and_that_is_said(tmp_path: Path) -> None:
    """CMD-3: the interrupted command has its end, and the board stays off."""
    clock = FakeClock()
    relay = relay_with(clock, p3=Power.OFF)
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    async with open_lab(tmp_path, relay) as lab:
        asleep = asyncio.Event()

        async def block(_: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

        lab.sleeper = block
        await asleep.wait()
        lab.submit({"action": "off", "board": "evm-07", "id": "off"}, operator="ops2")
        await lab.until(lambda: any(step.id == "off" and step.final for step in lab.steps))
        ended = next(step for step in lab.steps if step.id == "abc" and step.final)
    assert ended.state is State.INTERRUPTED
    assert "off by ops2 came before it was finished" in ended.text
    assert relay.transitions == []
