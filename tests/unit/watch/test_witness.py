"""Looking on at cuts, in a lab made by hand: real looks and judgement, boards that die with their relay ports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.evidence import Evidence, Heard, Look, PowerSeen
from boardherd_agent.watch.probing.probe import Outcome
from boardherd_agent.watch.witnessing.sight import Sight
from boardherd_agent.watch.witnessing.wiring import Finding
from boardherd_agent.watch.witnessing.witness import Observation, Witness
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Power
from support.hand_loop import HandLoop, WorldClock

HOLD_UP_S = 1.0
BOOT_S = 8.0


@dataclass
class Board:
    """A board behind a relay port: it answers while it has power and has booted."""

    name: str
    clock: WorldClock
    evidence: Evidence
    powered: bool = True
    up_since: float = -1000.0
    holds_s: float = 0.0
    """How long it lives on without power."""
    cut_at: float = -1000.0
    looks: int = 0
    answer_s: float = 0.002
    deaf: bool = False
    refuses: bool = False
    """Nothing listens on it, yet its IP stack is up."""
    console: bool = False

    @property
    def up(self) -> bool:
        if not self.powered:
            return self.clock.now < self.cut_at + self.holds_s
        return self.clock.now >= self.up_since

    async def check(self, within_s: float) -> Outcome:
        self.looks += 1
        if self.up and self.refuses:
            return Outcome("no", "refused: the IP stack is up", stack_up=True)
        if self.up and not self.deaf:
            await asyncio.sleep(self.answer_s)
            return Outcome("yes", "up", self.answer_s)
        await asyncio.sleep(within_s)
        return Outcome("no", "no answer")

    def power(self, *, on: bool) -> None:
        """Give it power, or take it."""
        if self.powered and not on:
            self.cut_at = self.clock.now
        if on and not self.powered:
            self.up_since = self.clock.now + BOOT_S
            if self.console:
                asyncio.get_running_loop().call_later(0.3, self.print_spl)
        self.powered = on

    def print_spl(self) -> None:
        self.evidence = self.evidence.add(Heard(self.clock.up(), "U-Boot SPL", Stage.SPL))


@dataclass
class Lab:
    """Four boards on one PC, and what their relay ports really feed."""

    clock: WorldClock = field(default_factory=WorldClock)
    boards: dict[str, Board] = field(default_factory=dict)
    feeds: dict[str, str | None] = field(default_factory=dict)
    """For each board which one hangs on the port that lab.toml gives it."""
    told: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(7, 11):
            name = f"evm-{number:02}"
            evidence = Evidence(probes=("ping",)).add(PowerSeen(0, Power.ON)).add(self.seen("yes"))
            self.boards[name] = Board(name, self.clock, evidence)
            self.feeds[name] = name
        configs = {
            name: BoardConfig.model_validate({"power": [f"eth-1:{number}"], "boot_time": "30s"})
            for number, name in enumerate(self.boards, 3)
        }
        probes = {name: [Probe("ping", board)] for name, board in self.boards.items()}
        self.witness = Witness("pc-01", Sight(configs, self.boards, probes, self.clock), HOLD_UP_S)

    def seen(self, answer: str) -> Look:
        """Return a regular look of a moment ago."""
        return Look(self.clock.up() - 2_000_000, "ping", answer)  # type: ignore[arg-type]

    def switch(self, board: str, *, on: bool) -> None:
        """Switch the port that lab.toml gives ``board``, as its relay reads it back."""
        if real := self.feeds[board]:
            self.boards[real].power(on=on)
        named = self.boards[board]
        power = Power.ON if on else Power.OFF
        named.evidence = named.evidence.add(PowerSeen(self.clock.up(), power, by_us=True))

    def begin(self, board: str) -> Observation:
        return self.witness.begin(board, self.told.append)

    async def cycle(self, board: str, seconds: float = 5.0) -> Observation:
        """Cycle a board as a command does it, and wait for the last word."""
        observation = self.begin(board)
        await asyncio.sleep(0.01)
        self.switch(board, on=False)
        observation.went_off(seconds)
        await asyncio.sleep(seconds)
        self.switch(board, on=True)
        observation.came_on()
        await observation.last_word()
        return observation

    def play(self, story: Callable[[Lab], Awaitable[None]]) -> None:
        """Play a story with the witness at work, in no time at all."""

        async def run() -> None:
            self.clock.now += 100
            for board in self.boards.values():
                board.evidence = board.evidence.add(self.seen("yes"))
            work = asyncio.create_task(self.witness.run(), name="witness under test")
            await asyncio.sleep(0)
            try:
                await story(self)
            finally:
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

        loop = HandLoop(self.clock)
        try:
            loop.run_until_complete(run())
        finally:
            loop.close()


@dataclass(frozen=True)
class Probe:
    name: str
    board: Board

    async def check(self, within_s: float) -> Outcome:
        return await self.board.check(within_s)


@pytest.fixture
def lab() -> Lab:
    return Lab()


def kinds(lab: Lab) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.kind, finding.others) for finding in lab.told]


@pytest.mark.parametrize("seconds", [2.0, 5.0, 30.0])
def test_a_cycle_proves_the_wiring_before_its_end_and_looks_at_nobody_else(lab: Lab, seconds: float) -> None:
    async def story(lab: Lab) -> None:
        began = lab.clock.now
        await lab.cycle("evm-07", seconds)
        assert lab.clock.now - began == pytest.approx(seconds + 0.01, abs=0.001)  # nothing had to wait

    lab.play(story)
    assert kinds(lab) == [("proved", ())]
    assert [board.looks for board in lab.boards.values()] == [3, 0, 0, 0]


def test_a_board_that_lives_on_for_a_while_is_proved_all_the_same(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.boards["evm-07"].holds_s = 3.5
        await lab.cycle("evm-07")

    lab.play(story)
    assert kinds(lab) == [("proved", ())]


def test_swapped_cables_name_the_pair(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.feeds |= {"evm-07": "evm-09", "evm-09": "evm-07"}
        began = lab.clock.now
        await lab.cycle("evm-07")
        assert lab.clock.now - began < 6.1  # the last word did not take long

    lab.play(story)
    assert kinds(lab) == [("mixed_up", ("evm-09",))]
    assert lab.told[0].text == (
        "evm-07 still answered 5.0 s after eth-1:3 went off, and evm-09 fell silent instead"
    )


def test_a_board_that_has_booted_just_now_is_named_all_the_same(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.feeds |= {"evm-07": "evm-09", "evm-09": "evm-07"}
        other = lab.boards["evm-09"]
        other.evidence = other.evidence.add(Heard(lab.clock.up() - 5_000_000, "SPL", Stage.SPL))
        await lab.cycle("evm-07")

    lab.play(story)
    assert kinds(lab) == [("mixed_up", ("evm-09",))]


def test_a_port_that_feeds_nothing_here(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.feeds["evm-07"] = None
        await lab.cycle("evm-07")

    lab.play(story)
    assert kinds(lab) == [("not_cut", ())]


def test_a_refused_connection_is_a_sign_of_life(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.boards["evm-07"].refuses = True
        await lab.cycle("evm-07")

    lab.play(story)
    assert kinds(lab) == [("proved", ())]


def test_an_off_that_lasts_is_judged_when_supplies_are_surely_empty(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.feeds |= {"evm-07": "evm-09", "evm-09": "evm-07"}
        observation = lab.begin("evm-07")
        lab.switch("evm-07", on=False)
        observation.went_off()
        await asyncio.sleep(10)

    lab.play(story)
    assert kinds(lab) == [("mixed_up", ("evm-09",))]


def test_an_off_that_somebody_takes_back_by_hand_shows_nothing(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        observation = lab.begin("evm-07")
        await asyncio.sleep(0.01)
        lab.switch("evm-07", on=False)
        observation.went_off()
        await asyncio.sleep(0.5)
        lab.switch("evm-07", on=True)
        lab.boards["evm-07"].up_since = 0.0
        await asyncio.sleep(10)

    lab.play(story)
    assert lab.told == []


def test_a_board_that_crashed_or_was_switched_meanwhile_is_not_suspect(lab: Lab) -> None:
    """What is excused: its own cut, a boot of a moment ago, silence from before."""

    async def story(lab: Lab) -> None:
        lab.feeds["evm-07"] = None
        switched, booting, dead = (lab.boards[name] for name in ("evm-08", "evm-09", "evm-10"))
        booting.evidence = booting.evidence.add(Heard(lab.clock.up() - 1_000_000, "SPL", Stage.SPL))
        dead.evidence = dead.evidence.add(Look(lab.clock.up() - 500_000, "ping", "no"))
        booting.deaf = dead.deaf = True
        observation = lab.begin("evm-07")
        await asyncio.sleep(0.01)
        lab.switch("evm-07", on=False)
        observation.went_off(5.0)
        await asyncio.sleep(1.0)
        lab.switch("evm-08", on=False)
        await asyncio.sleep(4.0)
        assert not switched.up
        lab.switch("evm-07", on=True)
        observation.came_on()
        await observation.last_word()

    lab.play(story)
    assert kinds(lab) == [("not_cut", ())]


def test_a_board_that_was_dead_before_is_proved_by_its_console_alone(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        board = lab.boards["evm-07"]
        board.deaf = board.console = True
        board.evidence = Evidence(probes=("ping",), console=True)
        began = lab.clock.now
        await lab.cycle("evm-07")
        assert lab.clock.now - began < 5.02
        assert lab.told == []
        await asyncio.sleep(2)

    lab.play(story)
    assert kinds(lab) == [("proved", ())]
    assert "began to boot 0.3 s after eth-1:3 came on" in lab.told[0].text


def test_a_board_that_was_off_is_proved_by_its_console_when_it_comes_on(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        board = lab.boards["evm-07"]
        board.console, board.evidence = True, Evidence(probes=("ping",), console=True)
        lab.switch("evm-07", on=False)
        observation = lab.begin("evm-07")
        await asyncio.sleep(1)
        lab.switch("evm-07", on=True)
        observation.came_on()
        await asyncio.sleep(2)

    lab.play(story)
    assert kinds(lab) == [("proved", ())]


def test_another_board_that_only_a_console_tells_of_is_found_when_it_boots(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        other = lab.boards["evm-09"]
        other.console, other.deaf = True, True
        other.evidence = Evidence(console=True).add(PowerSeen(0, Power.ON))
        lab.feeds |= {"evm-07": "evm-09", "evm-09": "evm-07"}
        await lab.cycle("evm-07")
        await asyncio.sleep(8)

    lab.play(story)
    assert kinds(lab) == [("not_cut", ()), ("mixed_up", ("evm-09",))]


def test_a_command_that_fails_leaves_nobody_looking(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        observation = lab.begin("evm-07")
        lab.switch("evm-07", on=False)
        observation.went_off(5.0)
        observation.leave()
        await asyncio.sleep(10)
        assert observation.task
        assert observation.task.cancelled()

    lab.play(story)
    assert lab.told == []


def test_a_new_cut_of_the_same_board_ends_the_observation_before(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        first = lab.begin("evm-07")
        lab.switch("evm-07", on=False)
        first.went_off()
        lab.switch("evm-07", on=True)
        lab.boards["evm-07"].up_since = 0.0
        await lab.cycle("evm-07")
        assert first.task
        assert first.task.cancelled()

    lab.play(story)
    assert kinds(lab) == [("proved", ())]


def test_a_trace_asks_who_answers_and_who_has_fallen_silent(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        lab.boards["evm-10"].deaf = True
        assert await lab.witness.answering(1.0) == {"evm-07", "evm-08", "evm-09"}
        lab.boards["evm-09"].power(on=False)
        assert await lab.witness.silent({"evm-07", "evm-08", "evm-09"}, 1.0) == {"evm-09"}
        since = lab.clock.up()
        assert lab.witness.booted(since) == set()
        lab.boards["evm-09"].console = True
        lab.boards["evm-09"].power(on=True)
        await asyncio.sleep(1)
        assert lab.witness.booted(since) == {"evm-09"}

    lab.play(story)


def test_many_boards_are_looked_at_a_few_at_a_time(lab: Lab) -> None:
    under_way: list[int] = [0]
    most: list[int] = []

    @dataclass(frozen=True)
    class Counting:
        name: str = "ping"

        async def check(self, within_s: float) -> Outcome:
            under_way[0] += 1
            most.append(under_way[0])
            await asyncio.sleep(within_s)
            under_way[0] -= 1
            return Outcome("no", "")

    async def story(lab: Lab) -> None:
        names = [f"evm-{number}" for number in range(100)]
        boards: Mapping[str, BoardConfig] = {name: BoardConfig() for name in names}
        sight = Sight(boards, {}, {name: [Counting()] for name in names}, lab.clock)
        looks = await sight.look_at_all(dict.fromkeys(names), 0.1)
        assert len(looks) == 100

    lab.play(story)
    assert max(most) <= 8


def test_a_board_that_nothing_tells_of_is_not_looked_on_at(lab: Lab) -> None:
    async def story(lab: Lab) -> None:
        sight = Sight({"evm-07": BoardConfig()}, lab.boards, {"evm-07": []}, lab.clock)
        observation = Witness("pc-01", sight, HOLD_UP_S).begin("evm-07", lab.told.append)
        observation.went_off(5.0)
        observation.came_on()
        assert await observation.last_word() is None
        assert observation.task is None

    lab.play(story)
