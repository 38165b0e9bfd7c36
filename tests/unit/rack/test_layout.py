"""What is wired to what in the demo rack, and the lab.toml that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardherd.rack import layout
from boardherd_shared.inventory import Inventory

PLACE = layout.BoardPlace("127.0.0.1", 2201, 2202, Path('/srv/rack with "quotes"/evm-01-console'), 4.0)


def written(rack: layout.Layout, site: str = "demo", pc: str = "demo-pc") -> Inventory:
    modules = [layout.lab_module(module, "127.0.0.1", 17494 + n) for n, module in enumerate(rack.modules)]
    boards = [
        layout.lab_board(
            board, pc, layout.BoardPlace("127.0.0.1", 2200, 2300, Path(f"/run/rack/{board.id}"), 4.0)
        )
        for board in rack.boards
    ]
    return Inventory.parse("".join([layout.lab_head(site, pc), *modules, *boards]))


@pytest.mark.parametrize(("boards", "modules"), [(6, 2), (1, 1), (7, 1), (23, 3), (127, 16)])
def test_every_size_gives_a_valid_lab(boards: int, modules: int) -> None:
    rack = layout.plan(boards, modules)
    lab = written(rack, "lab", "pc-01").lab
    assert (lab.site, set(lab.pc)) == ("lab", {"pc-01"})
    assert (len(lab.board), len(lab.relay)) == (boards, modules)
    assert len({board.name for board in lab.board.values()}) == boards


def test_the_demo_rack_is_what_a_lab_would_have() -> None:
    inventory = written(layout.plan())
    boards = inventory.lab.board
    assert inventory.find_board("J721E_EVM #1") == "evm-01"
    assert {relay.driver for relay in inventory.lab.relay.values()} == {"devantech"}
    assert all(board.normally == "on" and board.off_time == 2.0 for board in boards.values())
    assert all("console" in board.probes and board.capabilities for board in boards.values())
    assert {len({feed.relay for feed in board.power}) for board in boards.values()} == {1, 2}


def test_only_the_last_board_has_two_feeds_and_they_come_in_order() -> None:
    boards = list(written(layout.plan(5, 2)).lab.board.values())
    assert [len(board.power) for board in boards] == [1, 1, 1, 1, 2]
    first, second = boards[-1].power
    assert first.after == 0
    assert second.after > 0
    assert first.relay != second.relay


def test_paths_with_quotes_survive() -> None:
    rack = layout.plan(1, 1)
    text = layout.lab_head("demo", "demo-pc") + layout.lab_module(rack.modules[0], "127.0.0.1", 17494)
    board = Inventory.parse(text + layout.lab_board(rack.boards[0], "demo-pc", PLACE)).lab.board["evm-01"]
    assert board.serial_port == str(PLACE.console)
    assert board.probes == ("ssh:2201", "tcp:2202", "console")


@pytest.mark.parametrize(
    ("boards", "modules", "sentence"),
    [
        (8, 1, "1 modules have room for 1 to 7 boards, not 8"),
        (0, 1, "1 modules have room for 1 to 7 boards, not 0"),
        (1, 0, "a rack has 1 to 16 modules, not 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_in_words(boards: int, modules: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        layout.plan(boards, modules)
