"""What a person typed, and what is meant by it."""

from __future__ import annotations

import pytest

from boardherd.exit_codes import Exit, Failure
from boardherd.targets import Target, board_target, port_target, whereabouts
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
    ("pc", "words"),
    [
        ("pc-01", "pc-01 is online, last seen 2 s ago"),
        ("pc-02", "pc-02 is offline, last seen 3 min ago"),
        ("pc-09", "pc-09 has never been heard of"),
    ],
)
def test_where_the_agent_may_be(pc: str, words: str) -> None:
    assert whereabouts(fleet(), pc) == words
