"""The fleet as text, compared with what a person should read."""

from __future__ import annotations

import pytest

from boardherd import tables
from boardherd.output import fitting, plain_table, without_empty_columns
from boardherd.printable import printable
from boardherd.tables import Cell, Table
from boardherd_shared.model import PcStatus, RelayStatus
from boardherd_shared.records import Blame, Health, Power, Verdict
from boardherd_shared.views import PcView, RelayView
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
