"""Tracing a relay: who may, what it finds, and what a crash, a stop or a fault in the middle leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.journal import Journal
from boardherd_agent.control.life import Life
from boardherd_agent.control.power import targets_of
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import LAB, FakeRelay, Lab, open_lab, relay_with

BOARDS = ("evm-07", "evm-08")
TRACE = {"action": "trace", "relay": "eth-1"}


def all_on(clock: FakeClock) -> FakeRelay:
    return relay_with(clock, p5=Power.ON)


def wire(lab: Lab, **ports: int | None) -> None:
    """Let boards hang on ports, and answer while those are on."""
    wires = {board.replace("_", "-"): port for board, port in ports.items()}
    witness = lab.bench.witness
    witness.alive = set(wires)
    witness.lives = lambda board: wires[board] is None or lab.relay.ports[wires[board]] is Power.ON  # type: ignore[index]


async def lock_all(lab: Lab, **more: object) -> None:
    for board in BOARDS:
        await lab.send({"action": "lock", "board": board, **more})


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab whose boards are all on, wired as lab.toml says, and locked by ops1."""
    async with open_lab(tmp_path, all_on(FakeClock())) as lab:
        lab.clock.advance(60)
        wire(lab, evm_07=3, evm_08=4)
        await lock_all(lab)
        yield lab


def state(lab: Lab, board: str) -> str:
    wiring = lab.desk.wiring.of(board)
    assert wiring
    return wiring.state


async def test_every_port_goes_off_and_on_in_turn_and_who_falls_silent_hangs_on_it(traced: Lab) -> None:
    """CMD-1: each port moves once each way, in the rhythm that the interlocks want."""
    steps = await traced.send(TRACE)
    assert steps[-1].state is State.SUCCEEDED
    assert steps[-1].target == "relay/eth-1"
    assert steps[-1].text == (
        "eth-1:5 -> nobody fell silent, lab.toml says evm-08;"
        " eth-1:3 -> evm-07 as in lab.toml; eth-1:4 -> evm-08 as in lab.toml"
    )
    assert steps[-1].facts["eth-1:3"] == "evm-07"
    assert traced.relay.transitions == [
        (port, power) for port in (3, 4, 5) for power in (Power.OFF, Power.ON)
    ]
    moved = traced.relay.times
    assert all(on - off >= 2.0 for off, on in zip(moved[::2], moved[1::2], strict=True))  # min_off
    assert [step.phase for step in steps[:6]] == ["", "off", "dwell", "on", "traced", "off"]
    assert steps[2].times["dwell_s"] >= 2.0
    assert state(traced, "evm-07") == "proved"
    assert state(traced, "evm-08") == "unproved"  # of two feeds, each alone proves nothing


async def test_swapped_cables_are_named_port_by_port(tmp_path: Path) -> None:
    lab_toml = LAB.replace('power = ["eth-1:4", { port = "eth-1:5", after = "1.5s" }]', 'power = ["eth-1:4"]')
    async with open_lab(tmp_path, all_on(FakeClock()), lab_toml=lab_toml) as lab:
        lab.clock.advance(60)
        wire(lab, evm_07=4, evm_08=3)
        await lock_all(lab)
        steps = await lab.send(TRACE)
        assert steps[-1].text == (
            "eth-1:3 -> evm-08, lab.toml says evm-07; eth-1:4 -> evm-07, lab.toml says evm-08"
        )
        assert steps[-1].facts == {"eth-1:3": "evm-08", "eth-1:4": "evm-07"}
        assert (state(lab, "evm-07"), state(lab, "evm-08")) == ("suspect", "suspect")
        wire(lab, evm_07=3, evm_08=4)
        lab.clock.advance(60)
        await lab.send(TRACE | {"id": "again"})  # suspect boards are traced all the same
        assert (state(lab, "evm-07"), state(lab, "evm-08")) == ("proved", "proved")


async def test_a_port_that_is_off_stays_off_and_one_that_feeds_nobody_is_told(tmp_path: Path) -> None:
    async with open_lab(tmp_path, relay_with(FakeClock())) as lab:
        lab.clock.advance(60)
        wire(lab, evm_07=None, evm_08=4)
        await lock_all(lab)
        steps = await lab.send(TRACE)
        assert "eth-1:5 is OFF, not traced" in steps[-1].text
        assert "eth-1:3 -> nobody fell silent, lab.toml says evm-07" in steps[-1].text
        assert state(lab, "evm-07") == "suspect"
        assert (5, Power.ON) not in lab.relay.transitions


async def test_a_board_that_only_a_console_tells_of_is_found_when_it_boots(traced: Lab) -> None:
    wire(traced, evm_08=4)
    moved = traced.relay.transitions
    traced.bench.witness.booted = lambda _: {"evm-07"} if moved[-1] == (3, Power.ON) else set()
    steps = await traced.send(TRACE)
    assert steps[-1].facts["eth-1:3"] == "evm-07"
    assert state(traced, "evm-07") == "proved"


@pytest.mark.parametrize("locked", [(), ("evm-07",)])
async def test_only_who_has_locked_every_board_may_trace(lab: Lab, locked: tuple[str, ...]) -> None:
    """CMD-4."""
    for board in locked:
        await lab.send({"action": "lock", "board": board})
    steps = await lab.send(TRACE)
    assert steps[-1].code is Refusal.NOT_LOCKED
    left = ", ".join(board for board in BOARDS if board not in locked)
    assert steps[-1].text == f"refused: trace switches every board on eth-1: lock {left} first"
    assert lab.relay.transitions == []


async def test_what_somebody_else_has_locked_is_not_traced(lab: Lab) -> None:
    """CMD-4."""
    await lab.send({"action": "lock", "board": "evm-07"})
    await lab.send({"action": "lock", "board": "evm-08"}, operator="ops2")
    steps = await lab.send(TRACE)
    assert steps[-1].code is Refusal.LOCKED
    assert "evm-08 is locked by ops2" in steps[-1].text


async def test_fenced_locks_need_their_id_and_an_ended_one_does_not_help(lab: Lab) -> None:
    """CMD-4."""
    await lab.send({"action": "lock", "board": "evm-07"})
    lock = (await lab.send({"action": "lock", "board": "evm-08", "fenced": True}))[-1].lock
    assert (await lab.send(TRACE))[-1].code is Refusal.LOCKED
    assert (await lab.send(TRACE | {"lock": "0" * 32}))[-1].code is Refusal.NOT_LOCKED
    assert (await lab.send(TRACE | {"lock": lock}))[-1].state is State.SUCCEEDED


async def test_a_lock_that_is_lost_before_the_first_port_moves_ends_it(traced: Lab) -> None:
    """CMD-4: asked again at the last moment."""
    original = traced.bench.witness.answering

    async def lose(within_s: float) -> set[str]:
        await traced.desk.locks.release("evm-08", "ops1", Command(action=Action.UNLOCK, board="evm-08"))
        return await original(within_s)

    traced.bench.witness.answering = lose  # type: ignore[method-assign]
    steps = await traced.send(TRACE)
    assert steps[-1].code is Refusal.NOT_LOCKED
    assert traced.relay.transitions == []


async def test_a_lock_that_is_lost_in_the_middle_ends_it_before_the_next_port(traced: Lab) -> None:
    """CMD-4: each port is asked for anew; the one that is off comes on again first."""
    unlock = Command(action=Action.UNLOCK, board="evm-08", force=True, reason="test")

    async def lose(_: float) -> None:
        await traced.desk.locks.release("evm-08", "ops2", unlock)

    traced.sleeper = lose
    steps = await traced.send(TRACE)
    assert steps[-1].state is State.FAILED
    assert steps[-1].text.startswith("eth-1: ended before eth-1:4: trace switches every board on eth-1")
    assert steps[-1].facts == {"eth-1:3": "evm-07"}
    assert traced.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_a_relay_that_other_pcs_use_needs_force(tmp_path: Path) -> None:
    lab_toml = LAB + '[board.evm-20]\npc = "pc-02"\npower = ["eth-1:8"]\n[pc.pc-02]\n'
    async with open_lab(tmp_path, all_on(FakeClock()), lab_toml=lab_toml) as lab:
        lab.clock.advance(60)
        wire(lab, evm_07=3, evm_08=4)
        await lock_all(lab)
        steps = await lab.send(TRACE)
        assert steps[-1].code is Refusal.IN_USE
        assert "eth-1 also serves evm-20 of pc-02, which cannot be seen from here" in steps[-1].text
        steps = await lab.send(TRACE | {"force": True, "reason": "nobody uses evm-20"})
        assert steps[-1].state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"action": "trace", "relay": "eth-9"}, "pc-01 powers no board from a relay eth-9"),
        ({"action": "trace", "relay": "eth-1", "port": 3}, "trace names a relay, and no port"),
        ({"action": "trace"}, "trace names a relay, and no port"),
        (b"trace", "trace names a relay, and no port"),
    ],
    ids=str,
)
async def test_what_cannot_be_traced(lab: Lab, body: object, words: str) -> None:
    assert words in (await lab.send(body))[-1].text


async def test_contested_boards_maintenance_and_a_board_under_way_keep_a_trace_away(traced: Lab) -> None:
    traced.desk.admission.contested["evm-08"] = "pc-02"
    assert (await traced.send(TRACE))[-1].code is Refusal.CONTESTED
    traced.desk.admission.contested.clear()
    traced.relay.maintenance = "the fuse is being replaced"
    assert (await traced.send(TRACE))[-1].code is Refusal.MAINTENANCE
    traced.relay.maintenance = ""
    traced.relay.gate = asyncio.Event()
    traced.submit(b"off", board="evm-07")
    await traced.until(lambda: traced.steps[-1].phase == "off")
    assert (await traced.send(TRACE))[-1].code is Refusal.BUSY
    traced.relay.gate.set()
    await traced.until(lambda: traced.steps[-1].state is State.SUCCEEDED)


async def blocked(lab: Lab) -> None:
    """Begin a trace, and wait until its first port is off."""
    asleep = asyncio.Event()

    async def block(seconds: float) -> None:
        if not asleep.is_set():
            asleep.set()
            await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(TRACE)
    await asleep.wait()
    assert lab.relay.ports[3] is Power.OFF


async def test_a_stop_in_the_middle_switches_the_port_on_again(traced: Lab) -> None:
    """CMD-3, OPS-2: the minimum off time is kept."""
    await blocked(traced)
    await traced.stop()
    assert traced.relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert traced.relay.times[1] - traced.relay.times[0] == pytest.approx(2.0)
    assert traced.steps[-1].state is State.INTERRUPTED
    assert traced.steps[-1].text == (
        "eth-1: its trace was ended by the agent's stop; eth-1:3 was switched on and measures ON"
    )


async def test_a_stop_that_comes_too_early_leaves_the_port_off_and_says_so(tmp_path: Path) -> None:
    lab_toml = LAB.replace("[board.evm-07]\n", '[board.evm-07]\nmin_off = "30s"\n')
    async with open_lab(tmp_path, all_on(FakeClock()), lab_toml=lab_toml) as lab:
        lab.clock.advance(60)
        wire(lab, evm_07=3, evm_08=4)
        await lock_all(lab)
        await blocked(lab)
        await lab.stop()
        assert lab.relay.transitions == [(3, Power.OFF)]
        assert lab.steps[-1].text.endswith("too early to switch eth-1:3 on; it stays OFF")


async def test_off_ends_a_trace(traced: Lab) -> None:
    await blocked(traced)
    traced.submit({"action": "off", "board": "evm-08"})
    await traced.until(lambda: traced.steps[-1].state is State.SUCCEEDED)
    ended = next(step for step in traced.steps if step.state is State.INTERRUPTED)
    assert ended.text == "eth-1: its trace was ended by off by ops1; eth-1:3 measures OFF"


async def test_a_port_that_does_not_come_on_again_ends_it_as_a_failure(traced: Lab) -> None:
    seen: list[CommandStep] = traced.steps

    def stick(_: float) -> None:
        traced.relay.stuck = seen[-1].phase == "dwell"

    traced.sleeper = stick
    steps = await traced.send(TRACE)
    assert steps[-1].state is State.FAILED
    assert "eth-1:3 was asked ON but measures OFF" in steps[-1].text


async def test_a_port_that_does_not_go_off_ends_it_as_a_failure(traced: Lab) -> None:
    traced.relay.stuck = True
    steps = await traced.send(TRACE)
    assert steps[-1].state is State.FAILED
    assert "eth-1:3 was asked OFF but measures ON" in steps[-1].text
    assert traced.relay.transitions == []


async def crash_in(path: Path, clock: FakeClock, phase: str, port: str) -> None:
    """Leave in the journal what a kill -9 in the middle of a trace leaves."""
    async with ControlFile(path / "control.db") as file:
        journal = Journal(file, clock)
        command = Command(action=Action.TRACE, relay="eth-1", id="abc")
        boards = Inventory.parse(LAB).boards_of("pc-01")
        target = targets_of(boards, lambda _: relay_with(clock), "agent/pc-01")["relay/eth-1"]
        life = Life(command, target, "ops1", "pc-01", "abc", journal, [].append, clock)
        await journal.intend(command, life.make(State.ACCEPTED, "accepted"), named=True)
        if phase:
            life.before, life.asked, facts = Power.ON, Power.OFF, {"port": port}
            await life.step(State.RUNNING, "off", phase="off", facts=facts)
            if phase != "off":
                await life.went_off("off", phase="dwell", facts=facts)
            if phase == "on":
                life.asked = Power.ON
                await life.step(State.RUNNING, "on", phase="on", facts=facts)


@pytest.mark.parametrize("phase", ["off", "dwell", "on"])
async def test_the_port_that_a_crash_left_off_is_brought_back(tmp_path: Path, phase: str) -> None:
    """CMD-3: it alone, though another one of the relay is off, too; and after its minimum off time."""
    clock = FakeClock()
    relay = relay_with(clock, p4=Power.OFF)
    await crash_in(tmp_path, clock, phase, "eth-1:4")
    clock.advance(1)
    async with open_lab(tmp_path, relay) as lab:
        await lab.until(lambda: bool(lab.steps))
        step = lab.steps[0]
        assert (step.state, step.target, step.action) == (State.INTERRUPTED, "relay/eth-1", "trace")
        assert "during trace of eth-1:4" in step.text
        assert "it was finished, eth-1:4 measures ON" in step.text
        assert relay.transitions == [(4, Power.ON)]
        assert sum(lab.slept) >= 1.0


async def test_a_crash_at_a_later_port_does_not_take_the_off_time_of_an_earlier_one_for_its(
    tmp_path: Path,
) -> None:
    """CMD-3: the journal's moment of off is of the port before; that one may have gone off just now."""
    clock = FakeClock()
    relay = relay_with(clock, p4=Power.OFF)
    await crash_in(tmp_path, clock, "dwell", "eth-1:3")
    clock.advance(8)
    async with ControlFile(tmp_path / "control.db") as file:
        (entry,) = await Journal(file, clock).unfinished()
        step = entry.last_step.model_copy(update={"phase": "off", "facts": {"port": "eth-1:4"}})
        await Journal(file, clock).note(step)
        moved = ("on", "eth-1:4", clock.boot, clock.up() - 60_000_000, clock.wall() - 60_000_000)
        await file.write("INSERT INTO moves VALUES (?, ?, ?, ?, ?)", moved)
    async with open_lab(tmp_path, relay) as lab:
        began = clock.up() / 1e6
        await lab.until(lambda: bool(lab.steps))
        assert relay.transitions == [(4, Power.ON)]
        assert relay.times[0] - began >= 2.0


@pytest.mark.parametrize("phase", ["", "off", "on"])
async def test_a_crash_that_left_nothing_off_is_reported_and_nothing_is_switched(
    tmp_path: Path, phase: str
) -> None:
    """CMD-3."""
    clock = FakeClock()
    relay = relay_with(clock)
    await crash_in(tmp_path, clock, phase, "eth-1:4")
    async with open_lab(tmp_path, relay) as lab:
        await lab.until(lambda: bool(lab.steps))
        assert lab.steps[0].state is State.INTERRUPTED
        assert relay.transitions == []


async def test_after_a_quarter_of_an_hour_the_port_stays_off(tmp_path: Path) -> None:
    """CMD-3."""
    clock = FakeClock()
    relay = relay_with(clock, p4=Power.OFF)
    await crash_in(tmp_path, clock, "dwell", "eth-1:4")
    clock.advance(1000)
    async with open_lab(tmp_path, relay) as lab:
        await lab.until(lambda: bool(lab.steps))
        assert "it is OFF and stays so" in lab.steps[0].text
        assert relay.transitions == []
