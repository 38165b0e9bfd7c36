"""What a person typed, and what is meant by it."""

from __future__ import annotations

import re

import pytest

from boardherd.aim import Aim
from boardherd.commands.carrying import with_lock
from boardherd.exit_codes import Exit, Failure
from boardherd.targets import HERE, Named, Target, board_target, named, port_target, whereabouts
from boardherd_shared.command import Action, Command
from boardherd_shared.records import Verdict
from unit.cli.fleets import board, fleet


@pytest.mark.parametrize("name", ["evm-01", "J721E_EVM #1", "EVM-01", "j721e_evm #1"])
def test_a_board_is_found_by_id_and_by_name(name: str) -> None:
    assert board_target(fleet(), name) == Target("lab", "pc-01", board="evm-01")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("evm-1", "did you mean"), ("AM62 EVM", "did you mean AM62x EVM?"), ("zzz", 'there is no board "zzz"')],
)
def test_an_unknown_board_is_told_with_what_may_be_meant(name: str, hint: str) -> None:
    with pytest.raises(Failure) as told:
        board_target(fleet(), name)
    assert hint in told.value.message
    assert told.value.exit_code == Exit.USAGE


def test_without_the_collector_names_are_not_known() -> None:
    with pytest.raises(Failure, match="the collector, which knows the names, does not answer"):
        board_target(fleet(source="broker"), "zzz")


def test_a_name_of_two_boards_is_told() -> None:
    twins = tuple(board(id_, Verdict.ALIVE, 1, name="twin") for id_ in ("evm-01", "evm-02"))
    with pytest.raises(Failure, match="several boards: evm-01, evm-02; use the id"):
        board_target(fleet(boards=twins), "twin")


def test_a_board_without_a_pc_cannot_be_switched() -> None:
    stray = board("evm-09", Verdict.UNKNOWN, 1).model_copy(update={"pc": None})
    with pytest.raises(Failure, match="evm-09 belongs to no test PC, so nobody can switch it"):
        board_target(fleet(boards=(stray,)), "evm-09")


def test_a_port_is_found() -> None:
    assert port_target(fleet(), "eth-1:4") == Target("lab", "pc-02", relay="eth-1", port=4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eth-1", "write RELAY:PORT"),
        ("eth-1:0", "write RELAY:PORT"),
        ("eth-2:1", 'there is no relay "eth-2"; did you mean eth-1?'),
        ("eth-1:8", r"port 8 of eth-1 belongs to no test PC.*in use: 1, 2, 3, 4, 5"),
    ],
)
def test_a_wrong_port_is_told(name: str, words: str) -> None:
    with pytest.raises(Failure, match=words):
        port_target(fleet(), name)


@pytest.mark.parametrize(
    ("aim", "words"),
    [
        (Aim("eth-1", "relay"), "pc-01, pc-02 all use eth-1; choose one with --pc"),
        (Aim("eth-7", "relay"), 'there is no relay "eth-7"; did you mean eth-1?'),
        (Aim("eth-1", "relay", pc="pc-77"), 'there is no test PC "pc-77"'),
    ],
)
def test_a_relay_that_several_use_is_traced_by_one_that_is_named(aim: Aim, words: str) -> None:
    with pytest.raises(Failure, match=re.escape(words)):
        aim.among(fleet())


def test_a_relay_is_called_by_its_id() -> None:
    assert Target("lab", "pc-01", relay="eth-1").label == "eth-1"


def test_a_port_is_sent_the_lock_of_its_board() -> None:
    target = port_target(fleet(), "eth-1:4")
    command = Command(action=Action.OFF)
    environment = {"BOARD": "evm-04", "BOARD_LOCK": "ab" * 16}
    assert with_lock(command, target, environment).lock == "ab" * 16
    assert with_lock(command, target, {**environment, "BOARD": "evm-01"}).lock is None
    assert with_lock(command, target, {"BOARD": "evm-04"}).lock is None
    named_itself = command.model_copy(update={"lock": "cd" * 16})
    assert with_lock(named_itself, target, environment).lock == "cd" * 16


@pytest.mark.parametrize(
    ("aim", "found"),
    [
        (Aim("evm-01"), Target("lab", "pc-01", board="evm-01")),
        (Aim("eth-1:4", "port or board"), Target("lab", "pc-02", relay="eth-1", port=4)),
        (Aim("evm-02", "port or board"), Target("lab", "pc-01", board="evm-02")),
        (Aim("PC-02", "pc"), Target("lab", "pc-02")),
        (Aim("eth-1", "relay", pc="pc-02"), Target("lab", "pc-02", relay="eth-1")),
    ],
)
def test_a_name_is_found_as_what_it_should_be(aim: Aim, found: Target) -> None:
    assert aim.among(fleet()) == found


@pytest.mark.parametrize(
    ("aim", "found"),
    [
        (Aim("evm-77"), Target("", HERE, board="evm-77")),
        (Aim("eth-9:4", "port or board"), Target("", HERE, relay="eth-9", port=4)),
        (Aim("pc-77", "pc"), Target("", "pc-77")),
        (Aim("eth-9", "relay"), Target("", HERE, relay="eth-9")),
    ],
)
def test_the_agent_here_is_asked_by_ids_that_nobody_has_looked_up(aim: Aim, found: Target) -> None:
    assert aim.here() == found


@pytest.mark.parametrize(
    ("aim", "words"),
    [
        (Aim("J721E_EVM #1"), "is no id of a board, and the agent knows no names"),
        (Aim("eth-1", "port"), "is no relay port; write RELAY:PORT"),
        (Aim("Rack 3 left", "relay"), "is no id of a relay, and the agent knows no names"),
    ],
)
def test_the_agent_here_knows_no_names(aim: Aim, words: str) -> None:
    with pytest.raises(Failure, match=words):
        aim.here()


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        ("pc-02", Named("pc", "pc-02")),
        ("evm-01", Named("board", "evm-01")),
        ("J721E_EVM #1", Named("board", "evm-01")),
        ("eth-1", Named("relay", "eth-1")),
    ],
)
def test_a_thing_is_found_by_id_and_by_name(name: str, thing: Named) -> None:
    assert named(fleet(), name) == thing


def test_a_name_of_two_kinds_of_things_is_told_and_can_be_chosen_from() -> None:
    twin = fleet().relays[0].model_copy(update={"id": "pc-01"})
    both = fleet(relays=(twin,))
    with pytest.raises(Failure, match=r"means several things \(pc pc-01, relay pc-01\); choose with --kind"):
        named(both, "pc-01")
    assert named(both, "pc-01", "relay") == Named("relay", "pc-01")


def test_only_what_was_retired_may_be_unknown() -> None:
    with pytest.raises(Failure, match='there is no PC "pc-09"; did you mean pc-0'):
        named(fleet(), "pc-09", "pc")
    assert named(fleet(), "pc-09", "pc", gone=True) == Named("pc", "pc-09")


@pytest.mark.parametrize(
    ("pc", "words"),
    [
        ("pc-01", "pc-01 is online, last seen 2 s ago"),
        ("pc-02", "pc-02 is offline, last seen 3 min ago"),
        ("pc-09", "pc-09 has never been heard of"),
    ],
)
def test_where_the_agent_may_be(pc: str, words: str) -> None:
    assert whereabouts(fleet(), pc) == words
