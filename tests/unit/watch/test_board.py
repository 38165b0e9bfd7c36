"""One board watched: what it tells, when, and how a boot is measured. Fake probes, a clock moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.probes import Outcome
from boardherd_agent.watch.probing import Pace
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, Verdict
from support.clock import FakeClock

QUICK = Pace(steady=0.05, ssh=0.05, booting=0.05, slowest=60, tick=0.05)
POWERED = BoardConfig.model_validate({"power": ["eth-1:3"], "boot_time": "60s"})


class SwitchedProbe:
    """Answers as the test says; its looks take no time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer = False

    async def check(self, within_s: float) -> Outcome:
        return Outcome("yes", "up", 0.0) if self.answer else Outcome("no", "no answer")


class Bench:
    """A watched board and all it told."""

    def __init__(self, config: BoardConfig = POWERED, pace: Pace = QUICK) -> None:
        self.clock = FakeClock()
        self.ping, self.ssh = SwitchedProbe("ping"), SwitchedProbe("ssh")
        self.records: list[BoardRecord] = []
        self.boots: list[tuple[str, BootTimes]] = []
        self.watch = BoardWatch(
            "evm-07",
            config,
            self.clock,
            on_verdict=self.records.append,
            on_boot=lambda board, times: self.boots.append((board, times)),
            pace=pace,
            probes=[self.ping, self.ssh],
        )

    def power(self, power: Power, *, by_us: bool = True) -> None:
        self.watch.power_changed(power, self.clock.up(), by_us=by_us)

    def answers(self, answer: bool) -> None:
        self.ping.answer = self.ssh.answer = answer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run(), name="watch under test")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)
                self.clock.advance(0.01)

    async def until_verdict(self, verdict: Verdict) -> None:
        await self.until(lambda: self.watch.verdict is verdict)


async def test_a_power_cycle_is_seen_dark_booting_alive_and_timed_once() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.ON, by_us=False)
        await bench.until_verdict(Verdict.ALIVE)
        bench.answers(False)
        bench.power(Power.OFF)
        assert bench.watch.verdict is Verdict.POWERED_OFF
        bench.clock.advance(5)
        bench.power(Power.ON)
        assert bench.watch.verdict is Verdict.BOOTING
        bench.clock.advance(20)
        bench.answers(True)
        times = await bench.watch.wait_alive(60)
        await bench.until(lambda: bool(bench.boots))
        since = bench.watch.record(change=False).since
    assert times is not None
    assert times.ping_s is not None
    assert times.ping_s >= 20
    assert bench.boots == [("evm-07", times)]
    changes = [record.verdict for record in bench.records if record.change]
    assert changes == [
        Verdict.UNKNOWN, Verdict.ALIVE, Verdict.POWERED_OFF, Verdict.BOOTING, Verdict.ALIVE,
    ]  # fmt: skip
    assert bench.records[-1].since == since <= bench.clock.wall()
    assert [result.probe for result in bench.records[-1].probes] == ["ping", "ssh"]


async def test_power_that_was_on_before_the_agent_is_no_boot() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.ON, by_us=False)
        assert await bench.watch.wait_alive(5) == BootTimes()
        await asyncio.sleep(0.02)
    assert not bench.boots


async def test_a_board_that_does_not_come_up_is_waited_for_from_the_power_on() -> None:
    bench = Bench()
    async with bench.running():
        bench.power(Power.OFF)
        bench.power(Power.ON)
        bench.clock.advance(59.9)
        async with asyncio.timeout(3):  # of the 60 s only the rest is waited
            assert await bench.watch.wait_alive(60) is None
        await bench.until(lambda: bool(bench.boots))
        assert bench.boots == [("evm-07", BootTimes())]
        await bench.until_verdict(Verdict.SILENT)
    assert bench.records[-1].blame is Blame.BOARD


async def test_a_power_on_ends_every_wait() -> None:
    bench = Bench(pace=Pace(steady=3000, ssh=3000, slowest=3000, booting=0.05, tick=0.05))
    async with bench.running():
        bench.power(Power.OFF)
        await bench.until(lambda: len(bench.watch.record(change=False).probes) == 2)
        bench.answers(True)
        bench.clock.advance(1)
        bench.power(Power.ON)
        await bench.until_verdict(Verdict.ALIVE)


async def test_a_boot_that_is_cut_off_is_not_reported() -> None:
    bench = Bench()
    bench.power(Power.OFF)
    bench.power(Power.ON)
    bench.clock.advance(3)
    bench.power(Power.OFF)
    bench.clock.advance(100)
    async with bench.running():
        await asyncio.sleep(0.06)
    assert not bench.boots


async def test_an_outside_switch_is_a_boot_but_not_timed() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.OFF, by_us=False)
        bench.power(Power.ON, by_us=False)
        assert bench.watch.verdict is Verdict.BOOTING
        await bench.until_verdict(Verdict.ALIVE)
        await asyncio.sleep(0.02)
    assert not bench.boots


async def test_the_same_power_said_twice_changes_nothing() -> None:
    bench = Bench()
    bench.power(Power.OFF)
    bench.power(Power.ON)
    bench.clock.advance(30)
    bench.power(Power.ON)
    assert bench.watch._evidence.powered_on == bench.clock.up() - 30_000_000


async def test_a_lost_look_is_told_as_evidence_but_changes_no_verdict() -> None:
    bench = Bench(BoardConfig())
    bench.answers(True)
    async with bench.running():
        await bench.until_verdict(Verdict.ALIVE)
        told = len(bench.records)
        bench.ping.answer = False
        await bench.until(lambda: len(bench.records) > told)
        lost = bench.records[told]
        bench.ping.answer = True
        await bench.until(lambda: bench.watch.record(change=False).probes[0].answer == "yes")
    assert (lost.verdict, lost.change, lost.probes[0].answer) == (Verdict.ALIVE, False, "no")


async def test_a_miss_of_one_probe_makes_the_others_look_now() -> None:
    bench = Bench(BoardConfig(), pace=Pace(steady=0.05, ssh=3000, booting=0.05, tick=0.05))
    bench.answers(True)
    async with bench.running():
        await bench.until_verdict(Verdict.ALIVE)
        bench.answers(False)
        await bench.until_verdict(Verdict.SILENT)  # ssh alone would have looked again after 3000 s


async def test_nothing_is_told_twice() -> None:
    bench = Bench(BoardConfig())
    bench.answers(True)
    async with bench.running():
        await bench.until_verdict(Verdict.ALIVE)
        told = len(bench.records)
        await asyncio.sleep(0.2)
        assert len(bench.records) == told


def test_a_console_that_is_off_is_never_opened_and_says_so() -> None:
    config = BoardConfig.model_validate(
        {"serial_port": "/dev/does-not-exist", "console": "off", "probes": ["console"]}
    )
    watch = BoardWatch(
        "evm-07", config, FakeClock(), on_verdict=lambda record: None, on_boot=lambda board, times: None
    )
    watch._conclude()
    record = watch.record(change=False)
    assert (record.verdict, record.blame) == (Verdict.UNKNOWN, Blame.AGENT)
    assert "switched off in lab.toml" in record.reason
    assert record.probes[0].answer == "unavailable"


def test_an_unknown_probe_is_refused_before_anything_runs() -> None:
    """OPS-4."""
    config = BoardConfig.model_validate({"board_ip": "127.0.0.1", "probes": ["gopher"]})
    with pytest.raises(ValueError, match='"gopher" is no known probe'):
        BoardWatch(
            "evm-07", config, FakeClock(), on_verdict=lambda record: None, on_boot=lambda board, times: None
        )
