"""The five lines of ``why``: a table of situations with the answer a lab engineer would give, line by line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_shared.model import PcStatus, RelayStatus
from boardherd_shared.records import Blame, Power, Verdict
from boardherd_shared.spans import coarse, fine, moment
from boardherd_shared.views import BoardView, FleetView
from boardherd_shared.why import UnknownThingError, Why, explain
from boardherd_shared.why.case import WIDTH
from boardherd_shared.why.parents import explain_pc, explain_relay
from unit.shared.why_situations import HOUR, MIN, NOW, SITUATIONS, Lab, away, console, silent

TABLE = Path(__file__).with_name("why_table.txt")


def table() -> dict[str, str]:
    """Return the five lines of each situation, as they are written down."""
    blocks = TABLE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {name: lines.rstrip("\n") for name, _, lines in (block.partition("\n") for block in blocks)}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_told_as_the_table_says(name: str) -> None:
    assert "\n".join(SITUATIONS[name].why().lines()) == table()[name]


def test_the_table_has_every_situation_and_no_other() -> None:
    assert list(table()) == list(SITUATIONS)
    assert len(SITUATIONS) >= 30


@pytest.mark.parametrize("name", SITUATIONS)
def test_there_are_five_lines_none_too_long(name: str) -> None:
    lines = SITUATIONS[name].why().lines()
    assert len(lines) == 5
    assert all(0 < len(line) <= WIDTH and line.isprintable() for line in lines)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("blame", Blame)
def test_every_verdict_and_blame_has_an_answer(verdict: Verdict, blame: Blame) -> None:
    for more in (
        {},
        {"probes": ()},
        {"told": False},
        {"board": {"power": ()}},
        {"commands": (), "uses": None},
    ):
        why = Lab(verdict, blame, **more).why()
        assert why.try_
        assert why.verdict is verdict


@given(
    reason=st.text(max_size=300),
    words=st.text(max_size=300),
    probe=st.sampled_from(["yes", "no", "unavailable"]),
)
def test_whatever_the_world_says_stays_on_its_line(reason: str, words: str, probe: str) -> None:
    clean = "".join(char for char in words if char.isprintable())
    lab = Lab(
        Verdict.UNKNOWN,
        Blame.RELAY,
        "".join(char for char in reason if char.isprintable()),
        probes=(console(probe, clean, 5),),
        port={"observed": Power.UNKNOWN, "reason": clean},
    )
    lines = lab.why().lines()
    assert len(lines) == 5
    assert all(len(line) <= WIDTH and "\n" not in line for line in lines)


def test_the_answer_goes_through_json_and_back() -> None:
    why = SITUATIONS["hung: kernel panic on the console"].why()
    document = why.model_dump(mode="json")
    assert document["try"] == "boardherd power cycle evm-07 --wait-alive"
    assert Why.model_validate(document | {"unheard_of": 1}) == why


def test_a_board_is_found_by_its_name_too() -> None:
    lab = Lab()
    assert explain(lab.fleet(), "j721e_evm #7", now=NOW).board == "evm-07"


def test_an_unknown_board_is_refused_with_those_that_may_be_meant() -> None:
    with pytest.raises(UnknownThingError, match=r'there is no board "evm-70"; did you mean evm-07\?'):
        explain(Lab().fleet(), "evm-70", now=NOW)
    with pytest.raises(UnknownThingError, match=r'there is no board "zzz"$'):
        explain(Lab().fleet(), "zzz", now=NOW)


def test_a_name_that_two_boards_have_is_refused() -> None:
    fleet = Lab().fleet()
    twin = fleet.boards[0].model_copy(update={"id": "evm-08"})
    both = fleet.model_copy(update={"boards": (*fleet.boards, twin)})
    with pytest.raises(UnknownThingError, match="several boards: evm-07, evm-08; use the id"):
        explain(both, "J721E_EVM #7", now=NOW)


def test_the_order_of_the_past_does_not_matter() -> None:
    lab = SITUATIONS["hung, and a cycle did not help"]
    other = replace(lab, commands=lab.commands[::-1], events=lab.events[::-1])
    assert other.why() == lab.why()


def test_refused_commands_have_switched_nothing() -> None:
    from unit.shared.why_situations import CYCLED, Command

    refused = Command("off", "eve", NOW - 10, "refused")
    assert "eve" not in silent(commands=(refused, CYCLED)).why().power


def parent(fleet: FleetView, kind: str, id_: str) -> str:
    return "\n".join((explain_pc if kind == "pc" else explain_relay)(fleet, id_).lines())


def test_a_pc_is_told_in_five_lines_too() -> None:
    assert parent(away().fleet(), "pc", "pc-01") == (
        "pc-01  OFFLINE for 14 min: silent for 14 min\n"
        "  boards   1 unknown\n"
        "  evidence last heard 14 min ago\n"
        "  holder   nobody has a board of it\n"
        "  try      see whether pc-01 runs; on it: systemctl status boardherd-agent, boardherd doctor"
    )


@pytest.mark.parametrize(
    ("pc", "words"),
    [
        ({}, "nothing"),
        (
            {"status": PcStatus.MAINTENANCE, "maintenance": "ops1: new disk"},
            "boardherd maintenance pc-01 off",
        ),
        ({"known": False}, "name it in lab.toml"),
        ({"inventory_current": False}, "give it the lab.toml of the collector"),
        ({"online": False, "last_seen_s": None, "status": PcStatus.OFFLINE}, "install and start the agent"),
        ({"online": False, "text": "stopped for 3 min", "status": PcStatus.OFFLINE}, "systemctl start"),
    ],
)
def test_what_to_do_about_a_pc(pc: dict[str, Any], words: str) -> None:
    assert words in explain_pc(Lab(pc=pc).fleet(), "pc-01").try_


def test_a_pc_with_a_silent_board_leads_to_it() -> None:
    why = explain_pc(silent().fleet(), "pc-01")
    assert (why.parts, why.try_) == ("1 silent (evm-07)", "boardherd why evm-07")


def test_a_relay_is_told_in_five_lines_too() -> None:
    dead = SITUATIONS["relay module dead, board silent"].fleet()
    assert parent(dead, "relay", "eth-1") == (
        "eth-1  FAULT: 10.0.5.21 does not answer: timed out\n"
        "  ports    3 UNKNOWN evm-07\n"
        "  evidence ETH_008_B, 10.0.5.21, not read now\n"
        "  holder   nobody has a board of it\n"
        "  try      check power and network of eth-1 (10.0.5.21); boardherd show eth-1"
    )


@pytest.mark.parametrize(
    ("lab", "words"),
    [
        (Lab(), "nothing"),
        (SITUATIONS["module rebooted: off, and should be on"], "boardherd relay restore eth-1:3"),
        (SITUATIONS["relay in maintenance, board off"], "boardherd maintenance eth-1 off"),
        (Lab(relay={"status": RelayStatus.INACTIVE}), "name a port of it in lab.toml"),
    ],
)
def test_what_to_do_about_a_relay(lab: Lab, words: str) -> None:
    assert words in explain_relay(lab.fleet(), "eth-1").try_


@pytest.mark.parametrize("kind", ["pc", "relay"])
def test_an_unknown_parent_is_refused(kind: str) -> None:
    with pytest.raises(UnknownThingError, match="did you mean"):
        parent(Lab().fleet(), kind, "pc-02" if kind == "pc" else "eth-2")


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [
        (-3, "0 s", "0 s"),
        (59.9, "59 s", "59 s"),
        (95, "95 s", "1 min 35 s"),
        (838, "13 min", "13 min 58 s"),
        (2 * HOUR, "2 h", "2 h"),
        (5 * HOUR + 5 * MIN, "5 h", "5 h 5 min"),
        (76 * HOUR, "3 d", "3 d 4 h"),
    ],
)
def test_lengths_of_time_in_words(seconds: float, short: str, long: str) -> None:
    assert (coarse(seconds), fine(seconds)) == (short, long)


def test_a_time_that_no_calendar_holds_is_no_crash() -> None:
    assert moment(1e30, NOW) == "at an unknown time"
    assert moment(NOW, NOW) == "09:54"


def test_a_board_of_the_fleet_alone_can_be_explained() -> None:
    bare = BoardView(id="x", status="OFFLINE", verdict=Verdict.UNKNOWN, is_alive=False)  # type: ignore[arg-type]
    why = explain(FleetView(site="lab", at=NOW, boards=(bare,)), "x", now=NOW)
    assert why.headline == "x  UNKNOWN"
