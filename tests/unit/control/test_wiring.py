"""The book of the wiring: what cuts show is kept, suspect boards get no power, and the ways out of that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.journal import Journal
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import targets_of
from boardherd_agent.watch.witnessing.wiring import Finding
from boardherd_shared.command import Action, Command, Refusal, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import LAB, Lab, open_lab, relay_with

PROVED = Finding("proved", "evm-07 fell silent within 1.0 s of the cut of eth-1:3")
MIXED_UP = Finding(
    "mixed_up",
    "evm-07 still answered 5.0 s after eth-1:3 went off, and evm-08 fell silent instead",
    ("evm-08",),
)
NOT_CUT = Finding(
    "not_cut", "evm-07 still answered 5.0 s after eth-1:3 went off, and no other board fell silent"
)


async def cycle(lab: Lab, finding: Finding | None, **more: object) -> str:
    """Cycle evm-07 while the witness finds something, and return how that ended, in words."""
    lab.bench.witness.findings = {"evm-07": finding} if finding else {}
    steps = await lab.send({"action": "cycle", "board": "evm-07", **more})
    lab.clock.advance(60)
    return f"{steps[-1].state}: {steps[-1].text}"


def state(lab: Lab, board: str = "evm-07") -> str:
    wiring = lab.desk.wiring.of(board)
    assert wiring
    return wiring.state


async def test_a_cycle_that_proves_the_wiring_says_so(lab: Lab) -> None:
    assert await cycle(lab, PROVED) == "succeeded: evm-07: off 5.0 s, on again; wiring of evm-07 proved"
    assert state(lab) == "proved"
    assert lab.bench.witness.observations[0].seen == ["off for 5 s", "on", "asked"]


async def test_waiting_for_the_board_says_so_too(lab: Lab) -> None:
    text = await cycle(lab, PROVED, wait_alive="30s")
    assert text.endswith("ssh 4.1 s; alive; wiring of evm-07 proved")


async def test_the_event_is_told_once_and_each_proof_has_its_time(lab: Lab) -> None:
    await cycle(lab, PROVED)
    first = lab.desk.wiring.of("evm-07")
    await cycle(lab, PROVED)
    again = lab.desk.wiring.of("evm-07")
    told = [news.event for news in lab.wiring if news.board == "evm-07"]
    assert told == ["", "transition", ""]  # of the start, of the first proof, and of the second
    assert first
    assert again
    assert (again.at or 0) > (first.at or 0)


async def test_swapped_boards_fail_the_cycle_and_get_no_power(lab: Lab) -> None:
    """The board that was cut is brought back all the same: what was begun is finished."""
    text = await cycle(lab, MIXED_UP)
    assert text.startswith(
        "failed: the wiring of evm-07 is suspect: evm-07 still answered 5.0 s after eth-1:3"
    )
    assert text.endswith("no power for evm-07 and evm-08 until a person accepts")
    assert lab.relay.ports[3] is Power.ON
    assert [news.event for news in lab.wiring[-2:]] == ["fault", "fault"]
    for board, action in (("evm-07", "on"), ("evm-07", "toggle"), ("evm-08", "cycle"), ("evm-08", "restore")):
        steps = await lab.send({"action": action, "board": board})
        assert steps[-1].code is Refusal.WIRING
        assert "boardherd relay trace eth-1" in steps[-1].text
        assert f"boardherd relay accept {board} --reason" in steps[-1].text
        assert "evm-08 fell silent instead" in steps[-1].text
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "off", "board": "evm-07"},
        {"action": "off", "relay": "eth-1", "port": 3},
        {"action": "reset", "board": "evm-07"},
        {"action": "on", "relay": "eth-1", "port": 6},
        {"action": "on", "board": "evm-07", "force": True, "reason": "the cable is right now"},
        {"action": "lock", "board": "evm-07"},
    ],
    ids=lambda body: " ".join(map(str, body.values())),
)
async def test_what_gives_no_power_or_is_insisted_on_passes(lab: Lab, body: dict[str, object]) -> None:
    await cycle(lab, MIXED_UP)
    lab.bench.witness.findings.clear()
    assert (await lab.send(body))[-1].state is State.SUCCEEDED


async def test_a_single_port_of_a_suspect_board_gets_no_power_either(lab: Lab) -> None:
    await cycle(lab, MIXED_UP)
    steps = await lab.send({"action": "on", "relay": "eth-1", "port": 3})
    assert steps[-1].code is Refusal.WIRING


async def test_no_port_of_a_suspect_board_is_brought_back_after_an_outage(lab: Lab) -> None:
    assert lab.desk.may_restore("eth-1", 3)
    await cycle(lab, MIXED_UP)
    assert not lab.desk.may_restore("eth-1", 3)
    assert not lab.desk.may_restore("eth-1", 4)  # evm-08
    assert lab.desk.may_restore("eth-1", 6)  # a line of evm-07


async def test_a_person_accepts_with_a_reason_and_the_same_again_is_no_news(lab: Lab) -> None:
    await cycle(lab, MIXED_UP)
    steps = await lab.send({"action": "accept", "board": "evm-07"})
    assert (steps[-1].state, steps[-1].code) == (State.REFUSED, Refusal.INVALID)
    assert "accepting that needs a reason" in steps[-1].text
    steps = await lab.send({"action": "accept", "board": "evm-07", "reason": "it has a battery"})
    assert steps[-1].text == "evm-07: accepted as it is (its wiring, eth-1:3 on)"
    assert steps[-1].reason == "it has a battery"
    wiring = lab.desk.wiring.of("evm-07")
    assert wiring
    assert (wiring.state, wiring.text.partition(" (")[0]) == (
        "unproved",
        "accepted by ops1: it has a battery",
    )
    assert state(lab, "evm-08") == "suspect"
    assert (await cycle(lab, MIXED_UP)).startswith("succeeded")
    assert (await cycle(lab, NOT_CUT)).startswith("failed")  # that is something else


async def test_wiring_is_accepted_where_the_ports_cannot_be_read(lab: Lab) -> None:
    await cycle(lab, MIXED_UP)
    lab.relay.offline = True
    steps = await lab.send({"action": "accept", "board": "evm-07", "reason": "cables put right"})
    assert steps[-1].state is State.SUCCEEDED
    assert state(lab) == "unproved"


async def test_a_later_proof_clears_both(lab: Lab) -> None:
    await cycle(lab, MIXED_UP)
    text = await cycle(lab, PROVED, force=True, reason="the cables are right now")
    assert text.endswith("wiring of evm-07 proved")
    assert (state(lab), state(lab, "evm-08")) == ("proved", "unproved")
    assert lab.wiring[-1].text == (
        "the wiring of evm-08 is no longer suspect: cleared: the wiring of evm-07 is proved"
    )


async def test_of_several_that_fell_silent_nobody_knows_which_so_only_the_named_one_is_suspect(
    lab: Lab,
) -> None:
    several = Finding("mixed_up", "evm-07 still answered, and two fell silent", ("evm-08", "evm-09"))
    await cycle(lab, several)
    assert (state(lab), state(lab, "evm-08")) == ("suspect", "unproved")


async def test_a_board_without_a_relay_may_be_the_one_that_fell_silent(lab: Lab) -> None:
    await cycle(lab, Finding("mixed_up", "evm-09 fell silent", ("evm-09",)))
    assert state(lab) == "suspect"
    assert lab.desk.wiring.of("evm-09") is None


async def test_a_cut_that_cut_nobody_is_a_welded_contact_if_the_wiring_was_proved(lab: Lab) -> None:
    """The relay is to blame then; wiring that was proved is right, and power is not refused."""
    await cycle(lab, PROVED)
    text = await cycle(lab, NOT_CUT)
    assert text.startswith("failed: evm-07 still answered 5.0 s after eth-1:3 went off")
    assert text.endswith("its wiring is proved, so the contact of eth-1:3 is welded")
    assert state(lab) == "proved"
    assert lab.wiring[-1].event == "fault"
    assert (await cycle(lab, PROVED)).startswith("succeeded")


async def test_a_cut_that_cut_nobody_makes_unproved_wiring_suspect(lab: Lab) -> None:
    text = await cycle(lab, NOT_CUT)
    assert "the contact of eth-1:3 is welded, or feeds something else than evm-07" in text
    assert state(lab) == "suspect"
    assert "boards of other PCs cannot be seen from here" in lab.wiring[-1].text


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({"action": "off", "board": "evm-07"}, [["off"]]),
        ({"action": "toggle", "board": "evm-07"}, [["off"]]),
        ({"action": "on", "board": "evm-07"}, [["left"]]),
        ({"action": "off", "relay": "eth-1", "port": 3}, [["off"]]),
        ({"action": "off", "relay": "eth-1", "port": 4}, []),
        ({"action": "reset", "board": "evm-07"}, []),
        ({"action": "all-off", "reason": "test"}, []),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)
async def test_who_is_looked_on_at(lab: Lab, body: dict[str, object], seen: list[list[str]]) -> None:
    """Everything that cuts a whole board; one of two feeds alone proves nothing."""
    await lab.send(body)
    assert [it.seen for it in lab.bench.witness.observations] == seen


async def test_a_switch_that_fails_ends_the_observation(lab: Lab) -> None:
    lab.relay.offline = True
    await lab.send({"action": "off", "board": "evm-07"})
    assert [it.seen for it in lab.bench.witness.observations] == [["left"]]


async def test_a_cycle_that_is_ended_in_its_off_time_ends_the_observation(lab: Lab) -> None:
    asleep = asyncio.Event()

    async def block(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(b"cycle", board="evm-07")
    await asleep.wait()
    lab.sleeper = lambda _: None
    await lab.send({"action": "off", "board": "evm-07"})
    assert lab.bench.witness.observations[0].seen == ["off for 5 s", "left"]


async def test_the_book_outlives_the_agent(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_lab(tmp_path, relay_with(clock)) as lab:
        clock.advance(60)
        await cycle(lab, MIXED_UP)
    async with open_lab(tmp_path, relay_with(clock)) as lab:
        await lab.until(lambda: state(lab) == "suspect")
        steps = await lab.send({"action": "on", "board": "evm-08"})
        assert steps[-1].code is Refusal.WIRING
        assert {news.board: news.wiring.state for news in lab.wiring} == {
            "evm-07": "suspect",
            "evm-08": "suspect",
        }


async def test_other_ports_in_lab_toml_make_a_board_unproved(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_lab(tmp_path, relay_with(clock)) as lab:
        clock.advance(60)
        await cycle(lab, MIXED_UP)
    mended = LAB.replace('power = ["eth-1:3"]', 'power = ["eth-1:8"]')
    async with open_lab(tmp_path, relay_with(clock, p8=Power.ON), lab_toml=mended) as lab:
        await lab.until(lambda: state(lab, "evm-08") == "suspect")
        assert state(lab) == "unproved"


async def test_a_lost_control_file_makes_everything_unproved(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_lab(tmp_path / "before", relay_with(clock)) as lab:
        clock.advance(60)
        await cycle(lab, PROVED)
    async with open_lab(tmp_path / "after", relay_with(clock)) as lab:
        assert state(lab) == "unproved"


async def test_the_second_half_of_a_cycle_is_finished_whatever_the_cut_has_shown(tmp_path: Path) -> None:
    """CMD-3: a crash in mid-cycle of a board that has become suspect: what was on comes on again."""
    clock = FakeClock()
    relay = relay_with(clock)
    async with open_lab(tmp_path, relay) as lab:
        clock.advance(60)
        await cycle(lab, MIXED_UP)
    relay.ports[3] = Power.OFF
    async with ControlFile(tmp_path / "control.db") as file:
        journal = Journal(file, clock)
        command = Command(action=Action.CYCLE, board="evm-07", id="abc")
        target = targets_of(Inventory.parse(LAB).boards_of("pc-01"), lambda _: relay, "agent/pc-01")[
            "board/evm-07"
        ]
        life = Life(command, target, "ops1", "pc-01", "abc", journal, [].append, clock)
        await journal.intend(command, life.make(State.ACCEPTED, "accepted"), named=True)
        await journal.note_off(life.make(State.RUNNING, "off"))
    async with open_lab(tmp_path, relay) as lab:
        await lab.until(lambda: bool(lab.steps))
        assert lab.steps[0].state is State.INTERRUPTED
        assert relay.ports[3] is Power.ON
        assert state(lab) == "suspect"
