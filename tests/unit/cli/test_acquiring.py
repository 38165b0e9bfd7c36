"""Getting a board: lost races, waiting, and what cannot be had."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest

from boardherd.acquiring import Acquirer, Wanted
from boardherd.exit_codes import Exit, Failure, Silence
from boardherd.targets import Target
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.records import Verdict
from boardherd_shared.views import FleetView, LockView
from unit.cli.fleets import NOW, board, fleet

LOCK = "ab" * 16
DONE = {"state": State.SUCCEEDED, "lock": LOCK, "until": NOW + 120}
LOST = {"state": State.REFUSED, "code": Refusal.LOCKED, "text": "locked by ci-2"}
Answer = dict[str, Any] | Failure


@dataclass
class Lab:
    """A lab of three boards that are alive, whose agents answer as they are told to."""

    answers: dict[str, list[Answer]]
    views: list[FleetView | Failure] = field(default_factory=list)
    asked: list[tuple[str, Command]] = field(default_factory=list)

    async def fleet(self) -> FleetView:
        view = self.views.pop(0) if self.views else alive()
        if isinstance(view, Failure):
            raise view
        return view

    async def send(self, command: Command, target: Target) -> AsyncGenerator[CommandStep]:
        assert target.board
        self.asked.append((target.board, command))
        answer = self.answers[target.board].pop(0)
        if isinstance(answer, Failure):
            raise answer
        values = {"text": "done", "id": "c1", "agent": "pc-01", "operator": "ops1", "at": 1.0, **answer}
        yield CommandStep(action=command.action, **values)


def alive(**locks: LockView) -> FleetView:
    boards = tuple(
        board(id_, Verdict.ALIVE, 60, platform="j721e", lock=locks.get(id_.replace("-", "_")))
        for id_ in ("evm-01", "evm-02", "evm-03")
    )
    return fleet(boards=boards)


def taken() -> LockView:
    return LockView(owner="ci-1", use="busy", since=NOW, until=NOW + 600)


@pytest.fixture
def told() -> list[str]:
    return []


def acquirer(lab: Lab, told: list[str]) -> Acquirer:
    return Acquirer(lab, Command(action=Action.LOCK, for_=120.0, fenced=True), told.append, 0.001, 0.01)


async def test_a_lost_race_is_tried_on_the_next_board(told: list[str]) -> None:
    lab = Lab({"evm-01": [LOST], "evm-02": [LOST], "evm-03": [LOST]})
    with pytest.raises(Failure, match=r"evm-01 \(locked by ci-2\), evm-02 \(locked by ci-2\)"):
        await acquirer(lab, told).acquire(Wanted("j721e"), 0)
    assert sorted(name for name, _ in lab.asked) == ["evm-01", "evm-02", "evm-03"]
    lab = Lab({"evm-01": [LOST], "evm-02": [DONE]}, [alive(evm_03=taken())])
    held = await acquirer(lab, told).acquire(Wanted("j721e"), 0)
    assert (held.board.id, held.lock, held.until) == ("evm-02", LOCK, NOW + 120)
    assert all(command.fenced and command.for_ == 120.0 for _, command in lab.asked)
    assert told == []


async def test_what_is_locked_or_dead_is_not_even_asked(told: list[str]) -> None:
    lab = Lab({"evm-02": [DONE]}, [alive(evm_01=taken(), evm_03=taken())])
    held = await acquirer(lab, told).acquire(Wanted("j721e"), 0)
    assert held.board.id == "evm-02"
    assert [name for name, _ in lab.asked] == ["evm-02"]


async def test_without_waiting_it_says_why_nothing_can_be_had(told: list[str]) -> None:
    view = alive(evm_01=taken(), evm_02=taken(), evm_03=taken())
    with pytest.raises(
        Failure, match=r"no board of platform j721e was free: evm-01 \(locked by ci-1"
    ) as failed:
        await acquirer(Lab({}, [view]), told).acquire(Wanted("j721e"), 0)
    assert failed.value.exit_code == Exit.REFUSED


async def test_waiting_is_told_once_for_each_reason_and_survives_a_lab_that_cannot_be_seen(
    told: list[str],
) -> None:
    busy = alive(evm_01=taken(), evm_02=taken(), evm_03=taken())
    lab = Lab({"evm-01": [DONE]}, [busy, busy, Failure(Exit.UNREACHABLE, "the broker is away"), busy])
    lab.views.append(alive(evm_02=taken(), evm_03=taken()))
    held = await acquirer(lab, told).acquire(Wanted("j721e"), 60)
    assert held.board.id == "evm-01"
    assert [words.split()[0] for words in told] == ["waiting", "the", "waiting"]
    assert "more for a board of platform j721e: evm-01 (locked by ci-1 until " in told[0]
    assert told[1] == "the broker is away"


async def test_an_agent_that_does_not_answer_is_passed_over(told: list[str]) -> None:
    lab = Lab({"evm-01": [Silence("nobody")], "evm-02": [Silence("nobody")], "evm-03": [Silence("nobody")]})
    with pytest.raises(Failure, match=r"evm-01 \(pc-01 does not answer\)"):
        await acquirer(lab, told).acquire(Wanted("j721e"), 0)


async def test_what_no_board_grants_is_not_waited_for(told: list[str]) -> None:
    too_long = {"state": State.REFUSED, "code": Refusal.INVALID, "text": "at most 8 h at a time"}
    lab = Lab({id_: [too_long] for id_ in ("evm-01", "evm-02", "evm-03")})
    with pytest.raises(Failure, match="at most 8 h"):
        await acquirer(lab, told).acquire(Wanted("j721e"), 600)
    assert told == []


async def test_what_the_lab_does_not_have_is_a_usage_error(told: list[str]) -> None:
    with pytest.raises(Failure, match="the lab has no board of platform am62x with GPU") as failed:
        await acquirer(Lab({}), told).acquire(Wanted("am62x", ["GPU"]), 600)
    assert failed.value.exit_code == Exit.USAGE


async def test_a_lock_is_renewed_and_given_back_by_its_id(told: list[str]) -> None:
    """CMD-4: what has ended cannot be renewed."""
    lab = Lab({"evm-01": [DONE, {**DONE, "until": NOW + 160}, {"state": State.SUCCEEDED}, LOST]})
    it = acquirer(lab, told)
    held = await it.acquire(Wanted(board="evm-01"), 0)
    renewed = await it.renew(held)
    assert renewed.until == NOW + 160
    assert renewed.sure_until >= held.sure_until
    await it.release(renewed)
    assert [(c.action, c.lock) for _, c in lab.asked[1:]] == [("lock", LOCK), ("unlock", LOCK)]
    with pytest.raises(Failure, match="locked by ci-2") as failed:
        await it.renew(held)
    assert failed.value.exit_code == Exit.REFUSED
