"""Commands: refused in words, answered from the journal, or carried out once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boardherd_agent.control.commands import Commander, Request
from boardherd_agent.control.cycle import Executor, Life
from boardherd_agent.control.journal import Journal, JournalAway
from boardherd_agent.control.power import FeedLine, targets_of
from boardherd_agent.devices.device import DeviceOffline
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.records import BootTimes, Power
from support.clock import FakeClock


@dataclass
class Switched:
    before: Power
    observed: Power


@dataclass
class FakeRelay:
    """Stands for a relay worker: keeps every physical transition, and fails on request."""

    ports: dict[int, Power]
    transitions: list[tuple[int, Power]] = field(default_factory=list)
    offline: bool = False
    stuck: bool = False
    gate: asyncio.Event | None = None

    async def read(self, port: int) -> Power:
        if self.offline:
            raise DeviceOffline("eth-1 does not answer")
        return self.ports[port]

    async def switch(self, port: int, power: Power, *, by: str) -> Switched:
        if self.gate:
            await self.gate.wait()
        before = await self.read(port)
        if before is not power and not self.stuck:
            self.ports[port] = power
            self.transitions.append((port, power))
        return Switched(before, self.ports[port])

    async def toggle(self, port: int, *, by: str) -> Switched:
        before = await self.read(port)
        return await self.switch(port, Power.OFF if before is Power.ON else Power.ON, by=by)


class FakeBoards:
    """Stands for the watching side."""

    def __init__(self) -> None:
        self.boot: BootTimes | None = BootTimes(console_s=0.4, ssh_s=4.1)

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        return self.boot

    def describe(self, board: str) -> str:
        return "silent, ssh closed"


@dataclass
class Lab:
    commander: Commander
    journal: Journal
    relay: FakeRelay
    boards: FakeBoards
    clock: FakeClock
    steps: list[CommandStep]
    slept: list[float]
    sleeper: Callable[[float], object]
    task: asyncio.Task[None] | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the commander work until ``condition`` holds."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the condition is anything at all
                await asyncio.sleep(0.001)

    async def send(
        self, body: object = b"", *, board: str | None = None, **more: object
    ) -> list[CommandStep]:
        """Submit a request and return the steps it caused, once it is final."""
        before = len(self.steps)
        self.submit(body, board=board, **more)
        await self.until(lambda: bool(self.steps[before:]) and self.steps[-1].final)
        return self.steps[before:]

    def submit(self, body: object = b"", *, board: str | None = None, **more: object) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        values = {"operator": "ops1", "retained": False, "received_at": time.time()} | more
        self.commander.submit(Request(payload=payload, board=board, **values))  # type: ignore[arg-type]

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None


@contextlib.asynccontextmanager
async def open_lab(
    path: Path,
    relay: FakeRelay | None = None,
    clock: FakeClock | None = None,
    kind: type[Journal] = Journal,
) -> AsyncIterator[Lab]:
    relay = relay or FakeRelay({3: Power.ON, 4: Power.ON, 5: Power.OFF})
    clock = clock or FakeClock()
    steps: list[CommandStep] = []
    slept: list[float] = []
    boards = FakeBoards()
    lab: Lab

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        result = lab.sleeper(seconds)
        if asyncio.iscoroutine(result):
            await result
        clock.advance(seconds)

    async with kind(path / "control.db", clock) as journal:
        executor = Executor(clock, boards, sleep)
        targets = targets_of(
            {
                "evm-07": (5.0, [FeedLine(relay, "eth-1", 3)]),
                "evm-08": (5.0, [FeedLine(relay, "eth-1", 4), FeedLine(relay, "eth-1", 5, after=1.5)]),
                "evm-09": (5.0, []),
            }
        )
        commander = Commander("pc-01", targets, journal, executor, steps.append, clock)
        lab = Lab(commander, journal, relay, boards, clock, steps, slept, lambda _: None)
        lab.task = asyncio.create_task(commander.run(), name="commander")
        try:
            yield lab
        finally:
            await lab.stop()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as lab:
        yield lab


def states(steps: list[CommandStep]) -> list[str]:
    return [f"{step.state}:{step.phase}" if step.phase else str(step.state) for step in steps]


async def test_off_is_accepted_runs_and_succeeds(lab: Lab) -> None:
    steps = await lab.send(b"off", board="evm-07")
    assert states(steps) == ["accepted", "running:off", "succeeded"]
    assert (steps[-1].before, steps[-1].asked, steps[-1].observed) == ("on", "off", "off")
    assert steps[-1].text == "evm-07: off"
    assert lab.relay.transitions == [(3, Power.OFF)]


async def test_a_cycle_stays_off_and_comes_back(lab: Lab) -> None:
    steps = await lab.send({"action": "cycle", "board": "evm-07", "off_time": "7s"})
    assert states(steps) == ["accepted", "running:off", "running:dwell", "running:on", "succeeded"]
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert lab.slept == [7.0]
    assert steps[-1].times["off_s"] == 7.0


async def test_a_cycle_is_never_shorter_than_the_floor(lab: Lab) -> None:
    await lab.send({"action": "cycle", "board": "evm-07", "off_time": 0.1})
    assert lab.slept == [2.0]


async def test_a_cycle_of_a_board_that_is_off_is_an_on(lab: Lab) -> None:
    lab.relay.ports[3] = Power.OFF
    steps = await lab.send(b"cycle", board="evm-07")
    assert states(steps) == ["accepted", "running:on", "succeeded"]


async def test_toggle_goes_to_the_other_state(lab: Lab) -> None:
    await lab.send({"action": "toggle", "board": "evm-07", "id": "one"})
    await lab.send({"action": "toggle", "board": "evm-07", "id": "two"})
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_feeds_go_on_in_order_and_off_in_reverse(lab: Lab) -> None:
    await lab.send(b"on", board="evm-08")
    await lab.send(b"off", board="evm-08")
    assert lab.relay.transitions == [(5, Power.ON), (5, Power.OFF), (4, Power.OFF)]
    assert lab.slept == [1.5]


async def test_a_single_port_can_be_switched(lab: Lab) -> None:
    steps = await lab.send({"action": "off", "relay": "eth-1", "port": 4})
    assert steps[-1].text == "eth-1:4: off"


async def test_wait_alive_reports_the_boot(lab: Lab) -> None:
    steps = await lab.send({"action": "cycle", "board": "evm-07", "wait_alive": "60s"})
    assert states(steps)[-2:] == ["running:waiting", "succeeded"]
    assert steps[-1].text == "evm-07: off 5.0 s, console 0.4 s, ssh 4.1 s; alive"


async def test_a_board_that_does_not_boot_fails_with_its_verdict(lab: Lab) -> None:
    lab.boards.boot = None
    steps = await lab.send({"action": "cycle", "board": "evm-07", "wait_alive": "60s"})
    assert (steps[-1].state, steps[-1].phase, steps[-1].observed) == (State.FAILED, "waiting", "on")
    assert steps[-1].text == "evm-07 is on but did not come alive within 60 s: silent, ssh closed"


async def test_the_same_id_switches_once(lab: Lab) -> None:
    """CMD-1: a redelivered command is answered from the journal."""
    first = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
    again = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
    assert again == first[-1:]
    assert len(lab.relay.transitions) == 1


async def test_the_same_id_switches_once_over_a_restart(tmp_path: Path) -> None:
    """CMD-1: the journal outlives the process."""
    relay = FakeRelay({3: Power.ON, 4: Power.ON, 5: Power.ON})
    for _ in range(2):
        async with open_lab(tmp_path, relay) as lab:
            steps = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
            assert steps[-1].state is State.SUCCEEDED
    assert relay.transitions == [(3, Power.OFF)]


async def test_an_identical_command_without_id_is_its_redelivery_for_ten_seconds(lab: Lab) -> None:
    """CMD-1."""
    await lab.send(b"toggle", board="evm-07")
    await lab.send(b"toggle", board="evm-07")
    assert len(lab.relay.transitions) == 1
    await lab.send(b"toggle", board="evm-07", operator="ops2")
    assert len(lab.relay.transitions) == 2
    lab.clock.advance(11)
    await lab.send(b"toggle", board="evm-07")
    assert len(lab.relay.transitions) == 3


@pytest.mark.parametrize(
    ("body", "more", "code", "words"),
    [
        (b"off", {"retained": True, "board": "evm-07"}, Refusal.RETAINED, "published with the retain flag"),
        (
            b"explode",
            {},
            Refusal.INVALID,
            "neither a JSON object nor one of the words on, off, toggle, cycle",
        ),
        ({"action": "off"}, {}, Refusal.INVALID, "it names no board and no relay port"),
        ({"action": "off", "bord": "evm-07"}, {}, Refusal.INVALID, "bord: extra inputs are not permitted"),
        ({"action": "off", "board": "evm-99"}, {}, Refusal.UNKNOWN_TARGET, "pc-01 controls no board evm-99"),
        (
            {"action": "off", "board": "evm-09"},
            {},
            Refusal.UNKNOWN_TARGET,
            "evm-09 has no power feed in lab.toml",
        ),
        ({"action": "off", "board": "evm-08"}, {"board": "evm-07"}, Refusal.INVALID, "names another target"),
        (
            {"action": "off", "board": "evm-07", "expires_at": 1},
            {},
            Refusal.EXPIRED,
            "and was not carried out",
        ),
        (
            {"action": "off", "board": "evm-07"},
            {"received_at": 0.0},
            Refusal.EXPIRED,
            "and was not carried out",
        ),
        (
            {"action": "off", "board": "evm-07", "expect": "off"},
            {},
            Refusal.UNEXPECTED_STATE,
            "evm-07 is ON, not OFF",
        ),
        (b"x" * 300_000, {}, Refusal.INVALID, "300000 bytes are more than a command may have"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_what_may_not_run_is_refused_in_words(
    lab: Lab, body: object, more: dict[str, object], code: Refusal, words: str
) -> None:
    """CMD-2: not after its deadline, not from a retained replay."""
    steps = await lab.send(body, **more)  # type: ignore[arg-type]
    assert steps[-1].code is code
    assert words in steps[-1].text
    assert steps[-1].state in {State.REFUSED, State.EXPIRED}
    assert lab.relay.transitions == []


async def test_an_id_that_meant_something_else_is_refused(lab: Lab) -> None:
    await lab.send({"action": "off", "board": "evm-07", "id": "abc"})
    steps = await lab.send({"action": "on", "board": "evm-07", "id": "abc"})
    assert steps[-1].code is Refusal.DUPLICATE_CONFLICT
    steps = await lab.send({"action": "off", "board": "evm-07", "id": "abc"}, operator="ops2")
    assert steps[-1].code is Refusal.DUPLICATE_CONFLICT
    assert len(lab.relay.transitions) == 1


async def test_a_board_that_is_being_switched_is_busy(lab: Lab) -> None:
    lab.relay.gate = asyncio.Event()
    lab.submit(b"off", board="evm-07")
    await lab.until(lambda: len(lab.steps) == 2)
    lab.submit({"action": "on", "relay": "eth-1", "port": 3}, operator="ops2")
    await lab.until(lambda: len(lab.steps) == 3)
    assert lab.steps[2].code is Refusal.BUSY
    assert lab.steps[2].text == "refused: eth-1:3 is being switched: off by ops1 is under way"
    lab.relay.gate.set()
    await lab.until(lambda: lab.steps[-1].state is State.SUCCEEDED)


async def test_toggle_of_an_unknown_state_is_refused(lab: Lab) -> None:
    lab.relay.ports[3] = Power.UNKNOWN
    steps = await lab.send(b"toggle", board="evm-07")
    assert (steps[-1].code, lab.relay.transitions) == (Refusal.UNKNOWN_STATE, [])


async def test_a_relay_that_is_away_fails_in_words(lab: Lab) -> None:
    lab.relay.offline = True
    steps = await lab.send(b"off", board="evm-07")
    assert (steps[-1].state, steps[-1].text, steps[-1].observed) == (
        State.FAILED, "evm-07: eth-1 does not answer", "unknown",
    )  # fmt: skip


async def test_a_welded_contact_fails_and_the_cycle_goes_no_further(lab: Lab) -> None:
    lab.relay.stuck = True
    steps = await lab.send(b"cycle", board="evm-07")
    assert (steps[-1].state, steps[-1].observed) == (State.FAILED, "on")
    assert steps[-1].text == "evm-07 was asked OFF but measures ON; it was not switched on again"


async def test_a_stop_in_the_off_time_switches_on_and_says_so(lab: Lab) -> None:
    """CMD-3: a stop in mid-cycle never leaves a board dark without a word."""
    asleep = asyncio.Event()

    async def block(seconds: float) -> None:
        if not asleep.is_set():
            asleep.set()
            await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(b"cycle", board="evm-07")
    await asleep.wait()
    await lab.stop()
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert lab.steps[-1].state is State.INTERRUPTED
    assert (
        lab.steps[-1].text
        == "the agent stopped in the off time; evm-07 was switched on early and measures ON"
    )
    assert lab.slept[-1] == 2.0  # the minimum off time was kept


async def crash_in(path: Path, clock: FakeClock, action: Action, *, off: bool) -> None:
    """Leave in the journal what a kill -9 in the middle of a command leaves."""
    async with Journal(path / "control.db", clock) as journal:
        command = Command(action=action, board="evm-07", id="abc")
        target = targets_of({"evm-07": (5.0, [FeedLine(FakeRelay({}), "eth-1", 3)])})["board/evm-07"]
        life = Life(command, target, "ops1", "pc-01", "abc", journal, [].append, clock)
        await journal.intend(command, life.make(State.ACCEPTED, "accepted"), named=True)
        if off:
            await journal.note_off("abc")


async def first_step(lab: Lab) -> CommandStep:
    await lab.until(lambda: bool(lab.steps))
    return lab.steps[0]


@pytest.mark.parametrize("away", [3, 600])
async def test_the_second_half_of_a_cycle_is_finished_after_a_crash(tmp_path: Path, away: float) -> None:
    """CMD-3: the crash is reported as interrupted, with what was seen."""
    clock, relay = FakeClock(), FakeRelay({3: Power.OFF, 4: Power.ON, 5: Power.ON})
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    clock.advance(away)
    async with open_lab(tmp_path, relay, clock) as lab:
        step = await first_step(lab)
        again = await lab.send({"action": "cycle", "board": "evm-07", "id": "abc"})
    assert (step.state, step.observed) == (State.INTERRUPTED, "on")
    assert "the cycle was finished, it measures ON" in step.text
    assert relay.transitions == [(3, Power.ON)]
    assert again == [step]


@pytest.mark.parametrize(
    ("action", "off", "away", "seen", "words"),
    [
        (Action.CYCLE, True, 1000, Power.OFF, "it is OFF and stays so, because that is too long ago"),
        (Action.CYCLE, True, 10, Power.ON, "it measures ON"),
        (Action.CYCLE, False, 10, Power.ON, "it measures ON"),
        (Action.CYCLE, False, 10, Power.OFF, "it measures OFF"),
        (Action.OFF, False, 10, Power.OFF, "it measures OFF"),
        (Action.ON, False, 10, Power.OFF, "it measures OFF"),
    ],
)
async def test_other_interrupted_commands_are_only_reported(
    tmp_path: Path, action: Action, off: bool, away: float, seen: Power, words: str
) -> None:
    """CMD-3: read back and reported, never guessed; starting never switches anything else."""
    clock, relay = FakeClock(), FakeRelay({3: seen, 4: Power.ON, 5: Power.ON})
    await crash_in(tmp_path, clock, action, off=off)
    clock.advance(away)
    async with open_lab(tmp_path, relay, clock) as lab:
        step = await first_step(lab)
    assert step.state is State.INTERRUPTED
    assert words in step.text
    assert relay.transitions == []


async def test_a_start_waits_for_the_relay_before_it_finishes_a_cycle(tmp_path: Path) -> None:
    """CMD-3."""
    clock, relay = FakeClock(), FakeRelay({3: Power.OFF, 4: Power.ON, 5: Power.ON}, offline=True)
    await crash_in(tmp_path, clock, Action.CYCLE, off=True)
    async with open_lab(tmp_path, relay, clock) as lab:

        async def come_back(seconds: float) -> None:
            relay.offline = len(lab.slept) < 5

        lab.sleeper = come_back
        step = await first_step(lab)
    assert step.observed == "on"
    assert relay.transitions == [(3, Power.ON)]


async def test_without_a_journal_nothing_is_switched_until_it_is_back(tmp_path: Path) -> None:
    """CMD-1: what cannot be written down is refused in words; the agent goes on."""
    (tmp_path / "control.db").mkdir()
    async with open_lab(tmp_path) as lab:
        steps = await lab.send(b"off", board="evm-07")
        assert steps[-1].code is Refusal.NO_JOURNAL
        assert "control.db cannot be used: unable to open database file" in steps[-1].text
        assert lab.relay.transitions == []
        (tmp_path / "control.db").rmdir()
        steps = await lab.send(b"off", board="evm-07")
        assert steps[-1].state is State.SUCCEEDED


class FullDisk(Journal):
    """A journal that can be read, and written once for each command."""

    async def note(self, step: CommandStep) -> None:
        raise JournalAway(f"disk is full: {step.text}")

    async def note_off(self, command_id: str) -> None:
        raise JournalAway(f"disk is full: {command_id}")


async def test_a_disk_that_fills_up_in_mid_cycle_does_not_leave_a_board_dark(tmp_path: Path) -> None:
    async with open_lab(tmp_path, kind=FullDisk) as lab:
        steps = await lab.send(b"cycle", board="evm-07")
    assert steps[-1].state is State.SUCCEEDED
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)))
async def test_no_garbage_moves_a_relay(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    """SEC-2, CMD-2."""
    async with open_lab(tmp_path_factory.mktemp("garbage")) as lab:
        steps = await lab.send(payload + b"\x00")
        assert steps[-1].code is Refusal.INVALID
        assert lab.relay.transitions == []
