"""The fleet as text, compared with what a person should read."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Literal

import pytest

from boardherd import history_tables, tables
from boardherd.output import emit_labelled, fitting, plain_table, without_empty_columns
from boardherd.printable import printable
from boardherd.tables import Cell, Table
from boardherd_shared.model import PcStatus, RelayStatus
from boardherd_shared.records import Blame, Health, Power, Verdict, Wiring
from boardherd_shared.views import BoardView, PcView, RelayView
from boardherd_shared.why.everything import Cause
from unit.cli.fleets import NOW, board, fleet, host, micros_ago, port


def text(table: Table) -> str:
    return plain_table(without_empty_columns(table))


def test_the_list_of_pcs() -> None:
    assert text(tables.pcs_table(fleet().pcs)) == (
        "PC     STATUS     SEEN   CPU  MEM  DISK  LOAD  TESTS  OS            AGENT  RACK  NOTE\n"
        "pc-01  ● online   2 s    12%  43%  61%   0.42  7      ubuntu_24_04  0.1.0  r1\n"
        "pc-02  ● offline  3 min                                                          silent for 3 min"
    )


def test_the_list_of_boards() -> None:
    assert text(tables.boards_table(fleet().boards, fleet())) == (
        "BOARD   NAME          PLATFORM  PC     VERDICT        FOR     POWER            WHY\n"
        "evm-01  J721E_EVM #1  j721e     pc-01  ● alive        14 min  eth-1:1 on\n"
        "evm-02  AM62x EVM     am62x     pc-01  ● silent       83 min  eth-1:2 on       "
        "ssh closed, last words: Kernel panic\n"
        "evm-03                am62x     pc-01  ● powered off  60 s    eth-1:3 off\n"
        "evm-04                          pc-02  ● unknown              eth-1:4 unknown  agent pc-02 silent for 3 min"
    )


def test_the_list_of_ports() -> None:
    assert text(tables.ports_table(fleet().relays[0].ports, fleet())) == (
        "PORT     STATE      FOR  BOARD   ASKED  SWITCHED  BY    NOTE\n"
        "eth-1:1  ● on       2 h  evm-01\n"
        "eth-1:2  ● on       2 h  evm-02  on     12x       ops1\n"
        "eth-1:3  ○ off      2 h  evm-03  on                     is off, but was asked to be on\n"
        "eth-1:4  ? unknown       evm-04                         pc-02 is offline\n"
        "eth-1:5  ? unknown                                      the module does not answer"
    )


def test_what_an_offline_pc_last_said_is_never_shown_as_the_state() -> None:
    """The record of eth-1:4 says off, but its PC is offline: unknown, never off."""
    row = tables.ports_table([port(4, Power.OFF, pc="pc-02")], fleet()).rows[0]
    assert row[1].text == "? unknown"


def test_counts_in_three_lines() -> None:
    assert plain_table(tables.summary(fleet()), headings=False) == (
        "2 test PCs  1 online, 1 offline\n"
        "4 boards    1 alive, 1 silent, 1 powered off, 1 unknown\n"
        "1 relay     1 active"
    )


def test_a_narrow_terminal_loses_the_least_important_columns_and_never_the_reason() -> None:
    table = without_empty_columns(tables.boards_table(fleet().boards, fleet()))
    assert fitting(table, 120).headings == table.headings
    assert fitting(table, 80).headings == ("BOARD", "NAME", "VERDICT", "POWER", "WHY")
    assert fitting(table, 10).headings == ("BOARD", "VERDICT", "POWER", "WHY")


def test_troubles_name_causes_and_leave_out_what_follows_from_them() -> None:
    assert [(what, why) for what, _, why in tables.troubles(fleet())] == [
        ("pc-02", "silent for 3 min; nothing is known of its 1 board"),
        ("eth-1:3", "is off, but was asked to be on"),
        ("eth-1:5", "unknown: the module does not answer"),
        ("evm-02", "silent for 83 min, blame board: ssh closed, last words: Kernel panic"),
    ]


def test_a_dead_module_is_one_trouble_and_not_one_per_port_and_board() -> None:
    dead = RelayView(
        id="eth-1",
        status=RelayStatus.ACTIVE,
        ports=tuple(port(number, Power.UNKNOWN, reason="no answer from 10.0.5.21") for number in (1, 2)),
    )
    boards = (board("evm-01", Verdict.UNKNOWN, 9, blame=Blame.RELAY),)
    pcs = fleet().pcs[:1]
    assert tables.troubles(fleet(relays=(dead,), boards=boards, pcs=pcs)) == [
        ("eth-1", "bad", "no answer from 10.0.5.21")
    ]


def test_a_sick_pc_an_older_inventory_and_a_stranger_are_troubles() -> None:
    pcs = (
        PcView(id="pc-01", status=PcStatus.ONLINE, sample=host(status=Health.CRITICAL, disk_percent=98)),
        PcView(id="pc-02", status=PcStatus.ONLINE, inventory_current=False),
        PcView(id="pc-03", status=PcStatus.ONLINE, known=False),
        PcView(id="pc-04", status=PcStatus.MAINTENANCE),
    )
    told = tables.troubles(fleet(pcs=pcs, boards=(), relays=()))
    assert [what for what, _, _ in told] == ["pc-01", "pc-02", "pc-03"]
    assert told[0] == ("pc-01", "bad", "critical: cpu 12%, memory 43%, disk 98%")


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({"expected": "on"}, "is off, normally on"),
        ({"expected": "on", "asked": Power.OFF}, ""),
        ({"expected": "any"}, ""),
    ],
)
def test_a_port_that_is_as_it_was_asked_to_be_is_not_odd(more: dict[str, object], note: str) -> None:
    row = tables.ports_table([port(1, Power.OFF, **more)], fleet()).rows[0]
    assert row[-1].text == note


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert tables.ago(seconds) == words


def test_moments_of_another_day_carry_the_date() -> None:
    assert len(tables.moment(micros_ago(0), NOW)) == len("09:14:03")
    assert len(tables.moment(micros_ago(3 * 86400), NOW)) == len("2026-11-17 09:14")


def test_texts_of_the_network_cannot_drive_the_terminal() -> None:
    """SEC-2"""
    assert printable("evm\x1b[2J\x9b1m\u202e\n#7 ü") == "evm\\x1b[2J\\x9b1m\\u202e\\n#7 ü"
    assert "\x1b" not in plain_table(Table(("A",), ((Cell("\x1b[31m"),),)))


def with_wiring(view: BoardView, state: Literal["proved", "suspect"], slow: str | None = None) -> BoardView:
    assert view.state is not None
    wiring = Wiring(state=state, at=micros_ago(600), text="evm-02 fell silent in its place")
    return view.model_copy(update={"state": view.state.model_copy(update={"wiring": wiring, "slow": slow})})


def test_suspect_wiring_is_a_trouble_and_proved_wiring_is_none() -> None:
    alive = board("evm-01", Verdict.ALIVE, 60)
    suspect = with_wiring(alive, "suspect")
    (trouble,) = tables.troubles(fleet(boards=(suspect,), pcs=(), relays=()))
    assert trouble == ("evm-01", "warn", "wiring suspect, power is refused: evm-02 fell silent in its place")
    assert tables.troubles(fleet(boards=(with_wiring(alive, "proved"),), pcs=(), relays=())) == []


def test_a_slow_boot_and_suspect_wiring_stand_beside_the_board() -> None:
    view = with_wiring(board("evm-01", Verdict.ALIVE, 60), "suspect", "login took 41 s, usually 19 s")
    row = tables.boards_table([view], fleet()).rows[0]
    assert row[-1].text == (
        "wiring suspect, power is refused: evm-02 fell silent in its place; slow boot: login took 41 s, usually 19 s"
    )


def test_causes_are_a_line_each() -> None:
    found = (
        Cause(
            subject="pc-02", state="offline", since=NOW - 840, blame=Blame.AGENT, boards=("a", "b"), text="2 boards",
            try_="see",
        ),
        Cause(subject="evm-03", state="powered off", blame=Blame.NOBODY, boards=("evm-03",), text="", try_="on"),
    )  # fmt: skip
    assert text(tables.causes_table(found, NOW)) == (
        "WHAT    STATE          FOR     BLAME  WHY\n"
        "pc-02   ● offline      14 min  agent  2 boards\n"
        "evm-03  ● powered off"
    )


class Screen(io.StringIO):
    """A terminal, as far as a program asks."""

    def isatty(self) -> bool:
        return True


def test_a_labelled_text_goes_on_below_itself_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    with contextlib.redirect_stdout(screen):
        emit_labelled("  evidence ", Cell("ping and ssh no answer (5 s ago), console: last words \x1b[2J"))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert plain.splitlines() == [
        "  evidence ping and ssh no answer (5 s ago),",
        "           console: last words \\x1b[2J",
    ]


def test_the_boots_of_a_board_end_with_what_is_usual() -> None:
    rows = [{"at": NOW, "times": {"console_s": 1.94, "login_s": 61.0, "slow": "login took 61.0 s"}}]
    table = without_empty_columns(history_tables.boots(rows, {"login_s": 20.0, "console_s": 1.9}))
    assert table.headings == ("WHEN", "CONSOLE", "LOGIN", "SLOW")
    assert [cell.text for cell in table.rows[0]][1:] == ["1.9 s", "61.0 s", "login took 61.0 s"]
    assert [cell.text for cell in table.rows[1]] == ["usually", "1.9 s", "20.0 s", ""]
