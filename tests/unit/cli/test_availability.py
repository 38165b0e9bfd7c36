"""Who holds a board, and whether it can be had."""

from __future__ import annotations

from typing import Any

import pytest

from boardherd.availability import hindrance, suits
from boardherd.holding import deadline, holder, lock_on
from boardherd.tables import boards_table, held_boards, locks_table, pcs_table, relay_heading
from boardherd_shared.locks import Lock
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Verdict
from boardherd_shared.views import BoardView, FleetView, LockView
from unit.cli.fleets import MICROS, NOW, board, fleet


def lock(**more: Any) -> LockView:
    values: dict[str, Any] = {"owner": "ci-1", "use": "busy", "since": NOW - 60, "until": NOW + 600}
    return LockView(**(values | more))


def with_first(**changes: Any) -> FleetView:
    view = fleet()
    first = view.boards[0].model_copy(update=changes)
    return view.model_copy(update={"boards": (first, *view.boards[1:])})


def why(view: FleetView, index: int = 0) -> str:
    return hindrance(view.boards[index], view)


def test_a_board_that_is_alive_and_free_can_be_had() -> None:
    assert why(fleet()) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lock": lock()}, "locked by ci-1 until "),
        ({"lock": lock(on_behalf_of="anna")}, "locked by ci-1 for anna until "),
        ({"lock": lock(until=NOW - 1)}, ""),
        ({"status": BoardStatus.DEACTIVATED}, "deactivated"),
        ({"status": BoardStatus.ERROR, "fault": "cycled too often"}, "in error: cycled too often"),
        ({"status": BoardStatus.UPDATING_SDK}, "updating sdk"),
        ({"pc": "pc-02"}, "pc-02 is offline"),
        ({"pc": None}, "its test PC is unknown"),
    ],
)
def test_what_keeps_a_board_from_being_had_is_said(changes: dict[str, Any], words: str) -> None:
    told = why(with_first(**changes))
    assert told.startswith(words) if words else told == ""


def test_a_board_that_does_not_live_cannot_be_had() -> None:
    view = fleet()
    assert [why(view, index) for index in range(1, 4)] == [
        "silent for 83 min",
        "powered off for 60 s",
        "pc-02 is offline",
    ]


def test_maintenance_of_the_pc_or_of_a_relay_keeps_boards_from_being_had() -> None:
    view = fleet()
    pc = view.pcs[0].model_copy(update={"status": PcStatus.MAINTENANCE})
    assert why(view.model_copy(update={"pcs": (pc,)})) == "pc-01 is in maintenance"
    relay = view.relays[0].model_copy(update={"status": RelayStatus.MAINTENANCE})
    assert why(view.model_copy(update={"relays": (relay,)})) == "its relay eth-1 is in maintenance"


@pytest.mark.parametrize(
    ("platform", "capabilities", "fits"),
    [
        (None, (), True),
        ("j721e", ("CAMERA",), True),
        ("J721E", ("camera", "cmd"), True),
        ("am62x", (), False),
        (None, ("GPU",), False),
    ],
)
def test_which_boards_will_do(platform: str | None, capabilities: tuple[str, ...], fits: bool) -> None:
    assert suits(fleet().boards[0], platform, capabilities) is fits


def test_the_lock_in_a_boards_own_record_counts_without_the_collector() -> None:
    view = board("evm-01", Verdict.ALIVE, 60)
    assert view.state is not None
    kept = Lock(id="a" * 32, owner="ops1", since=MICROS, until=MICROS + 60_000_000)
    locked = view.model_copy(update={"state": view.state.model_copy(update={"lock": kept})})
    told = lock_on(locked, NOW)
    assert told == LockView(owner="ops1", use="busy", since=NOW, until=NOW + 60)
    assert "a" * 32 not in told.model_dump_json()
    assert lock_on(locked, NOW + 61) is None


def test_a_deadline_of_another_day_has_its_date() -> None:
    assert len(deadline(NOW + 60, NOW)) in {len("14:05"), len("2026-11-20 14:05")}
    assert deadline(NOW + 3 * 86400, NOW).count("-") == 2
    assert holder(lock(until=NOW + 3 * 86400), NOW).startswith("ci-1 until 20")


def test_tables_name_the_holder() -> None:
    view = with_first(lock=lock(reason="nightly"))
    [(held, _)] = held_boards(view)
    assert held.id == "evm-01"
    rows = boards_table(view.boards, view)
    column = rows.headings.index("HOLDER")
    assert [row[column].text.split(" until")[0] for row in rows.rows] == ["ci-1", "", "", ""]
    [row] = locks_table(held_boards(view), NOW).rows
    assert [cell.text for cell in row][2:5] == ["ci-1", "", "busy"]
    assert (row[7].text, row[8].text) == ("10 min", "nightly")


def test_a_view_without_a_record_has_no_lock() -> None:
    stray = BoardView(
        id="x", status=BoardStatus.OFFLINE, verdict=Verdict.UNKNOWN, is_alive=False, text="not heard yet"
    )
    assert lock_on(stray, NOW) is None


def test_what_people_decided_is_in_the_tables() -> None:
    view = with_first(deactivated="by ops1: DDR is broken", contested_by=("pc-02",), fault="cycled too often")
    words = boards_table(view.boards, view).rows[0][-1].text
    assert words == "out of use: by ops1: DDR is broken; declared by pc-02 too; cycled too often"
    pc = view.pcs[0].model_copy(update={"maintenance": "ops1: new disk"})
    assert pcs_table([pc]).rows[0][-1].text == "ops1: new disk"
    relay = view.relays[0].model_copy(update={"maintenance": "ops1: new firmware"})
    assert relay_heading(relay)[-1].text == "ops1: new firmware"
