"""What no single watch can know, told to those whom it concerns."""

from __future__ import annotations

import asyncio
from pathlib import Path

from boardherd_agent.watch.judging.outlook import Outlook
from boardherd_agent.watch.judging.own_network import OwnNetwork
from boardherd_agent.watch.judging.pulse import Pulse
from boardherd_agent.watch.judging.surroundings import TOGETHER, Sighting
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, Verdict
from support.clock import FakeClock
from unit.watch.situations import at
from unit.watch.test_board import QUICK, Bench
from unit.watch.test_own_network import TABLE, little_endian
from unit.watch.test_surroundings import fell, well


class Watch:
    """A watch that says what the test wants, and remembers what it was told."""

    def __init__(self, board: str) -> None:
        self.seen: Sighting | None = well(board, 100)
        self.told: list[str] = []

    def sighting(self) -> Sighting | None:
        return self.seen

    def network_changed(self, trouble: str) -> None:
        self.told.append(trouble)


class Pc:
    """Boards a and b behind one interface, c behind another, d without an address."""

    def __init__(self, directory: Path) -> None:
        self.watches = {board: Watch(board) for board in "abcd"}
        addresses = {"a": "10.0.5.1", "b": "10.0.5.2", "c": "10.0.6.1", "d": None}
        (directory / "route").write_text(TABLE)
        self.carrier = directory / "net" / "eth1" / "carrier"
        self.carrier.parent.mkdir(parents=True)
        self.carrier.write_text("1")
        network = OwnNetwork(directory / "route", directory / "net", unreachable=lambda _: True)
        self.clock, self.pulse = FakeClock(), Pulse()
        self.outlook = Outlook(self.watches, addresses, self.clock, self.pulse, network, every_s=0.01)

    def sees(self, **sightings: Sighting | None) -> None:
        for board, seen in sightings.items():
            self.watches[board].seen = seen

    @property
    def told(self) -> dict[str, list[str]]:
        return {board: watch.told for board, watch in self.watches.items() if watch.told}


@little_endian
def test_a_shared_silence_is_told_once_to_those_who_share_it_and_its_end_too(tmp_path: Path) -> None:
    pc = Pc(tmp_path)
    pc.sees(a=fell("a", 100, 110), b=fell("b", 101, 111), c=well("c", 130))
    pc.outlook.look()
    pc.outlook.look()
    assert pc.told == {"a": [TOGETHER], "b": [TOGETHER]}, "c answers, but behind another interface"
    pc.sees(a=well("a", 140))
    pc.outlook.look()
    assert pc.told == {"a": [TOGETHER, ""], "b": [TOGETHER, ""]}


@little_endian
def test_a_board_that_falls_silent_alone_has_nobody_to_share_that_with(tmp_path: Path) -> None:
    pc = Pc(tmp_path)
    pc.sees(a=fell("a", 100, 110), b=well("b", 130))
    pc.outlook.look()
    pc.sees(a=None)
    pc.outlook.look()
    assert not pc.told


@little_endian
def test_a_lost_carrier_is_told_to_the_boards_behind_it(tmp_path: Path) -> None:
    pc = Pc(tmp_path)
    pc.carrier.write_text("0")
    pc.outlook.look()
    assert pc.told == {"c": ["eth1 of this PC has no carrier: look at its cable"]}
    pc.carrier.write_text("1")
    pc.outlook.look()
    assert pc.told["c"][-1] == ""


async def test_it_looks_again_and_again_and_keeps_the_pulse(tmp_path: Path) -> None:
    pc = Pc(tmp_path)
    task = asyncio.create_task(pc.outlook.run(), name="outlook under test")
    try:
        await asyncio.sleep(0)
        began = pc.clock.up()
        pc.clock.advance(0.1)
        pc.sees(a=fell("a", 100, 110), b=fell("b", 101, 111), c=fell("c", 101, 111))
        async with asyncio.timeout(5):
            while not pc.told:  # noqa: ASYNC110 - as an onlooker would
                await asyncio.sleep(0.005)
        assert pc.pulse.beat(pc.clock.up()).up == 0, "nothing stood still"
        last = pc.clock.up()
        pc.clock.advance(60)
        stalled = pc.pulse.beat(pc.clock.up())
        assert (stalled.began, stalled.up) == (last, began + at(60.1))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_boards_that_fall_silent_together_are_unknown_and_one_that_stays_silent_is_dead(
    tmp_path: Path,
) -> None:
    clock, pulse = FakeClock(), Pulse()
    benches = {board: Bench(BoardConfig(), QUICK, clock=clock, pulse=pulse, board=board) for board in "ab"}
    outlook = Outlook(
        {board: bench.watch for board, bench in benches.items()},
        dict.fromkeys(benches, "127.0.1.7"),
        clock,
        pulse,
        OwnNetwork(tmp_path / "none", tmp_path / "none"),
    )
    one, other = benches.values()

    def both_are(verdict: Verdict) -> bool:
        outlook.look()
        return one.watch.verdict is verdict is other.watch.verdict

    for bench in benches.values():
        bench.answers(True)
    async with one.running(), other.running():
        await one.until(lambda: both_are(Verdict.ALIVE))
        for bench in benches.values():
            bench.answers(False)
        await one.until(lambda: both_are(Verdict.UNKNOWN))
        assert {bench.records[-1].blame for bench in benches.values()} == {Blame.NETWORK}
        one.answers(True)
        await one.until(lambda: not both_are(Verdict.ALIVE) and other.watch.verdict is Verdict.SILENT)
        await one.until_verdict(Verdict.ALIVE)
        assert other.records[-1].blame is Blame.BOARD
