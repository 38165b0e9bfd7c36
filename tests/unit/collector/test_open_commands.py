"""Which commands wait for an answer, and what is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boardherd_collector.open_commands import GRACE_S, LONGEST_S, MAX_OPEN, OpenCommands, Seen, read
from boardherd_shared.command import CommandStep, State
from boardherd_shared.topics import Address, Kind

T = 1_800_000_000.0
AGENT = Address(Kind.COMMAND, "lab", agent="pc-01", operator="ops1")
BOARD = Address(Kind.BOARD_COMMAND, "lab", board="evm-07", operator="ops1")


def seen(address: Address = AGENT, **command: Any) -> Seen:
    return read(address, json.dumps({"action": "cycle", **command}).encode(), T)


def step(id_: str = "x", action: str = "cycle", target: str = "board/evm-07", **values: Any) -> CommandStep:
    values = {"state": State.ACCEPTED, "agent": "pc-01", "operator": "ops1", "text": "accepted"} | values
    return CommandStep(id=id_, action=action, target=target, at=T, **values)


@pytest.mark.parametrize(
    ("address", "command", "target"),
    [
        (AGENT, {"board": "evm-07"}, "board/evm-07"),
        (AGENT, {"relay": "eth-1", "port": 3}, "relay/eth-1/3"),
        (AGENT, {"action": "all-off"}, "agent/pc-01"),
        (BOARD, {}, "board/evm-07"),
        (BOARD, {"action": "reset"}, "line/evm-07/reset"),
        (AGENT, {"action": "line", "board": "evm-07", "line": "boot"}, "line/evm-07/boot"),
    ],
)
def test_targets_are_named_as_agents_name_them(
    address: Address, command: dict[str, Any], target: str
) -> None:
    assert seen(address, **command).target == target


def test_what_cannot_be_read_waits_too() -> None:
    garbage = read(BOARD, b"\xff{", T)
    assert (garbage.action, garbage.target, garbage.named) == ("unreadable", "board/evm-07", False)
    assert garbage.due == T + GRACE_S


@pytest.mark.parametrize(
    ("command", "due"),
    [
        ({}, 30.0),
        ({"valid_for": "2s"}, 2.0),
        ({"expires_at": T - 100}, 0.0),
        ({"expires_at": T + 1e9}, LONGEST_S),
        ({"sent_at": T - 10}, 20.0),
    ],
)
def test_an_answer_is_due_when_nobody_may_act_any_more(command: dict[str, Any], due: float) -> None:
    assert seen(**command).due == pytest.approx(T + due + GRACE_S)


def test_any_word_of_an_agent_is_an_answer() -> None:
    commands = OpenCommands()
    commands.add(seen(id="c-1"))
    commands.add(seen(id="c-1"))
    commands.step(step("c-2", operator="other"))
    assert len(commands) == 1
    commands.step(step("c-1", state=State.REFUSED))
    assert len(commands) == 0
    assert commands.overdue(T + 1e6) == []


@pytest.mark.parametrize(
    ("said", "is_answer"),
    [
        (step(), True),
        (step(target="line/evm-07/reset"), True),
        (step(action="on"), False),
        (step(operator="ops2"), False),
        (step(target="board/evm-08"), False),
    ],
)
def test_a_command_without_an_id_is_told_by_what_it_asks_for(said: CommandStep, is_answer: bool) -> None:
    commands = OpenCommands()
    commands.add(seen(BOARD))
    commands.step(said)
    assert (len(commands) == 0) == is_answer


def test_an_answer_may_come_before_its_command() -> None:
    commands = OpenCommands()
    commands.step(step("c-1"))
    commands.add(seen(id="c-1"))
    assert len(commands) == 0


def test_what_is_overdue_is_so_until_it_is_closed() -> None:
    commands = OpenCommands()
    commands.add(seen(id="c-1", valid_for="1s"))
    commands.add(seen(id="c-2", valid_for="1h"))
    assert [each.id for each in commands.overdue(T + 10)] == ["c-1"]
    assert [each.id for each in commands.overdue(T + 10)] == ["c-1"]
    commands.close("c-1")
    assert commands.overdue(T + 10) == []


def test_the_database_keeps_what_waits_and_forgets_what_does_not() -> None:
    commands = OpenCommands()
    one, two = seen(id="c-1"), seen(id="c-2")
    commands.add(one)
    commands.add(two)
    assert commands.news() == ([one, two], [])
    commands.step(step("c-2"))  # answered while it is written
    commands.kept([one, two], [])
    assert commands.news() == ([], ["c-2"])
    commands.kept([], ["c-2"])
    commands.step(step("c-1"))
    assert commands.news() == ([], ["c-1"])
    after = OpenCommands()
    after.restore([Seen.model_validate_json(one.model_dump_json())])
    assert after.overdue(T + 100) == [one]
    assert after.news() == ([], [])


def test_it_is_bounded_whatever_is_sent() -> None:
    """SEC-2"""
    commands = OpenCommands()
    for number in range(MAX_OPEN + 10):
        commands.add(seen(id=f"c-{number}"))
    assert (len(commands), commands.overlooked) == (MAX_OPEN, 10)
    for number in range(3 * MAX_OPEN):
        commands.step(step(f"other-{number}", operator="x"))
    assert len(commands) == MAX_OPEN
