"""A program under a lease whose agent cannot be reached any more."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from boardherd.acquiring import Acquirer, Held
from boardherd.exit_codes import Exit, Failure, Silence
from boardherd.leased import run_leased
from boardherd.targets import Target
from boardherd_shared.command import Action, Command, CommandStep, State
from boardherd_shared.records import Verdict
from boardherd_shared.views import FleetView
from unit.cli.fleets import board, fleet

LOCK = "ab" * 16


@dataclass
class Lab:
    """A lab whose agent answers some renewals, and then nothing more."""

    answers: int
    asked: list[Command] = field(default_factory=list)

    async def fleet(self) -> FleetView:
        return fleet()

    async def send(self, command: Command, target: Target) -> AsyncGenerator[CommandStep]:
        self.asked.append(command)
        if len(self.asked) > self.answers:
            raise Silence("nobody answered")
        yield CommandStep(
            id="c1", state=State.SUCCEEDED, action=command.action, agent="pc-01", operator="ops1", at=1.0,
            text="done", lock=LOCK, until=time.time() + 1,
        )  # fmt: skip


def held(seconds: float) -> Held:
    target = Target("lab", "pc-01", board="evm-01")
    return Held(board("evm-01", Verdict.ALIVE, 60), target, LOCK, time.time(), time.monotonic() + seconds)


async def test_a_program_ends_with_its_lease_when_nobody_can_be_asked_to_renew_it() -> None:
    """CMD-4: a holder whose lock may have ended does not go on."""
    lab, told = Lab(answers=2), list[str]()
    acquirer = Acquirer(lab, Command(action=Action.LOCK, for_=0.6, fenced=True), told.append)
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(Failure, match=r"evm-01 is lost: .*; the program was ended") as failed:
        await run_leased(acquirer, held(0.6), program, {}, None, told.append)
    assert failed.value.exit_code == Exit.REFUSED
    assert "could not be renewed, trying again: nobody answered" in told[0]
    assert told[-1] == "evm-01 could not be freed, its lock ends by itself soon: nobody answered"
    assert {command.lock for command in lab.asked} == {LOCK}


async def test_a_board_is_freed_once_its_program_has_ended() -> None:
    lab, told = Lab(answers=9), list[str]()
    acquirer = Acquirer(lab, Command(action=Action.LOCK, for_=60.0, fenced=True), told.append)
    code = await run_leased(
        acquirer, held(60), [sys.executable, "-c", "raise SystemExit(3)"], {}, None, told.append
    )
    assert (code, told) == (3, [])
    assert [command.action for command in lab.asked] == ["unlock"]
