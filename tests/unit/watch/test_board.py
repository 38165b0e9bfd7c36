"""One board watched: what it tells, when, and how a boot is measured. Fake probes, a clock moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.booting.boot_history import ENOUGH, BootHistory
from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.judging.evidence import Heard, RelaySeen
from boardherd_agent.watch.judging.pulse import Pulse
from boardherd_agent.watch.probes import Outcome
from boardherd_agent.watch.probing.prober import Pace
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, Verdict, Wiring
from support.clock import FakeClock

QUICK = Pace(steady=0.05, ssh=0.05, booting=0.05, slowest=60, tick=0.05)
POWERED = BoardConfig.model_validate({"power": ["eth-1:3"], "boot_time": "60s"})


class SwitchedProbe:
    """Answers as the test says; its looks take no time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer = False
        self.looks = 0

    async def check(self, within_s: float) -> Outcome:
        self.looks += 1
        return Outcome("yes", "up", 0.0) if self.answer else Outcome("no", "no answer")


class Bench:
    """A watched board and all it told."""

    def __init__(
        self,
        config: BoardConfig = POWERED,
        pace: Pace = QUICK,
        *,
        history: BootHistory | None = None,
        pulse: Pulse | None = None,
        clock: FakeClock | None = None,
        board: str = "evm-07",
    ) -> None:
        self.clock = clock or FakeClock()
        self.ping, self.ssh = SwitchedProbe("ping"), SwitchedProbe("ssh")
        self.records: list[BoardRecord] = []
        self.boots: list[tuple[str, BootTimes, str]] = []
        self.watch = BoardWatch(
            board,
            config,
            self.clock,
            on_verdict=self.records.append,
            on_boot=lambda *boot: self.boots.append(boot),
            pace=pace,
            probes=[self.ping, self.ssh],
            history=history,
            pulse=pulse,
        )

    def power(self, power: Power, *, by_us: bool = True) -> None:
        self.watch.power_changed(power, self.clock.up(), by_us=by_us)

    def hears(self, stage: Stage) -> None:
        """Let the console show a sign, a moment later."""
        self.clock.advance(0.2)
        self.watch._heard(Heard(self.clock.up(), f"{stage} words", stage))

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
    assert bench.boots == [("evm-07", times, "booted")]
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
        assert bench.boots == [("evm-07", BootTimes(), "did not come up within 60 s")]
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


async def test_a_boot_after_an_outside_switch_says_so() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.OFF, by_us=False)
        bench.power(Power.ON, by_us=False)
        assert bench.watch.verdict is Verdict.BOOTING
        await bench.until_verdict(Verdict.ALIVE)
        await bench.until(lambda: bool(bench.boots))
    assert [how for _, _, how in bench.boots] == ["booted after its power came on from outside"]


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


async def test_an_answer_after_silence_makes_the_others_look_now() -> None:
    bench = Bench(BoardConfig(), pace=Pace(steady=0.05, ssh=3000, slowest=3000, booting=0.05, tick=0.05))
    bench.answers(True)
    async with bench.running():
        await bench.until_verdict(Verdict.ALIVE)
        bench.answers(False)
        await bench.until_verdict(Verdict.SILENT)
        looks = -1
        while looks != (looks := bench.ssh.looks):  # noqa: ASYNC110 - the next look of ssh is far away
            await asyncio.sleep(0.15)
        bench.answers(True)
        await bench.watch._probers[0].look()
        await bench.until_verdict(Verdict.ALIVE)


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
        "evm-07", config, FakeClock(), on_verdict=lambda record: None, on_boot=lambda *boot: None
    )
    watch._conclude()
    record = watch.record(change=False)
    assert (record.verdict, record.blame) == (Verdict.UNKNOWN, Blame.AGENT)
    assert "switched off in lab.toml" in record.reason
    assert record.probes[0].answer == "unavailable"


def test_an_unknown_probe_is_refused_before_anything_runs() -> None:
    """OPS-4."""
    with pytest.raises(ValueError, match='"gopher" is no probe'):
        BoardConfig.model_validate({"board_ip": "127.0.0.1", "probes": ["gopher"]})


async def boot_once(bench: Bench, seconds: float) -> BootTimes | None:
    """Cycle the board, which answers after so many seconds; return what was measured."""
    told = len(bench.boots)
    bench.answers(False)
    bench.power(Power.OFF)
    bench.clock.advance(5)
    bench.power(Power.ON)
    await bench.until(lambda: bench.watch.verdict is Verdict.BOOTING)
    bench.clock.advance(seconds)
    bench.answers(True)
    times = await bench.watch.wait_alive(60)
    await bench.until(lambda: len(bench.boots) > told)
    return times


async def test_a_boot_slower_than_its_own_past_is_said_so_until_the_next_good_one(tmp_path: Path) -> None:
    past = tmp_path / "boots.json"
    bench = Bench(history=BootHistory(past, ["evm-07"]))
    async with bench.running():
        for _ in range(ENOUGH):
            times = await boot_once(bench, 10)
            assert times is not None
            assert times.slow is None
        slow = await boot_once(bench, 31)
        assert slow is not None
        assert slow.slow is not None
        assert re.match(
            r"(ping|ssh) after 31\.\d s, usually 10\.\d s; the delay is between power-on and", slow.slow
        )
        assert bench.boots[-1][1].slow == slow.slow
        assert bench.watch.record(change=False).slow == slow.slow
        await boot_once(bench, 10)
        assert bench.watch.record(change=False).slow is None


async def test_a_restart_that_the_console_showed_is_a_boot_and_says_so() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.ON, by_us=False)
        await bench.until_verdict(Verdict.ALIVE)
        bench.answers(False)
        bench.clock.advance(1)
        for stage in (Stage.SPL, Stage.SPL, Stage.UBOOT, Stage.KERNEL):
            bench.hears(stage)
        assert bench.watch.verdict is Verdict.BOOTING
        assert "restarted without a power cycle" in bench.records[-1].reason
        bench.answers(True)
        await bench.until(lambda: bool(bench.boots))
    ((_, times, how),) = bench.boots
    assert how == "booted after it restarted without a power cycle"
    assert times.spl_s == 0
    assert times.kernel_s is not None
    assert times.ping_s is not None


async def test_the_signs_of_one_boot_are_one_boot() -> None:
    bench = Bench()
    async with bench.running():
        bench.power(Power.OFF)
        bench.power(Power.ON)
        for stage in (Stage.SPL, Stage.SPL, Stage.UBOOT, Stage.KERNEL, Stage.KERNEL, Stage.LOGIN):
            bench.hears(stage)
        bench.answers(True)
        await bench.until(lambda: bool(bench.boots))
        assert bench.boots[0][2] == "booted"
        bench.hears(Stage.KERNEL)  # it restarts
        await bench.until(lambda: len(bench.boots) == 2)
    assert bench.boots[1][2] == "booted after it restarted without a power cycle"


async def test_a_board_that_never_went_dark_has_not_booted() -> None:
    bench = Bench()
    bench.answers(True)
    async with bench.running():
        bench.power(Power.ON, by_us=False)
        await bench.until_verdict(Verdict.ALIVE)
        bench.power(Power.OFF)
        bench.clock.advance(10)
        await bench.until_verdict(Verdict.DEGRADED)  # a welded contact, or another board was cut
        bench.power(Power.ON)
        await bench.until_verdict(Verdict.ALIVE)
        bench.power(Power.OFF)
        bench.watch.wiring_changed(Wiring(state="suspect"))
        bench.clock.advance(1)
        bench.power(Power.ON)
        bench.clock.advance(100)
        await bench.until_verdict(Verdict.DEGRADED)
    assert not bench.boots


async def test_suspect_wiring_degrades_a_board_that_answers_and_heals_at_once() -> None:
    bench = Bench(BoardConfig())
    bench.answers(True)
    async with bench.running():
        await bench.until_verdict(Verdict.ALIVE)
        bench.watch.wiring_changed(Wiring(state="suspect", text="evm-08 fell silent when evm-07 was cut"))
        record = bench.records[-1]
        assert (record.verdict, record.blame, record.change) == (Verdict.DEGRADED, Blame.WIRING, True)
        assert "evm-08" in record.reason
        bench.clock.advance(0.1)
        bench.watch.wiring_changed(Wiring())
        assert bench.watch.verdict is Verdict.ALIVE


async def test_a_network_that_is_down_is_to_blame_and_all_is_asked_anew_when_it_is_back() -> None:
    bench = Bench(BoardConfig(), pace=Pace(steady=3000, ssh=3000, slowest=3000, booting=0.05, tick=0.05))
    bench.answers(True)
    async with bench.running():
        await bench.watch.look()
        assert bench.watch.verdict is Verdict.ALIVE
        bench.answers(False)
        for _ in range(2):
            bench.clock.advance(1)
            await bench.watch.look()
        await bench.until_verdict(Verdict.SILENT)
        looks = -1
        while looks != (looks := bench.ping.looks + bench.ssh.looks):  # noqa: ASYNC110 - the next look is far away
            await asyncio.sleep(0.15)
        bench.watch.network_changed("the boards of this PC fell silent together")
        assert (bench.watch.verdict, bench.records[-1].blame) == (Verdict.UNKNOWN, Blame.NETWORK)
        bench.answers(True)
        bench.clock.advance(0.1)
        bench.watch.network_changed("")
        assert bench.watch.verdict is Verdict.UNKNOWN, "it has not been asked since"
        await bench.until_verdict(Verdict.ALIVE)


async def test_what_the_relay_has_to_say_is_told_though_the_power_stays_the_same() -> None:
    bench = Bench()
    bench.power(Power.OFF)
    relay = RelaySeen(bench.clock.up(), "eth-1 rebooted 02:31:07, eth-1:3 should be ON", at_fault=True)
    bench.watch.power_changed(Power.OFF, bench.clock.up(), by_us=False, relay=relay)
    record = bench.records[-1]
    assert (record.verdict, record.blame) == (Verdict.POWERED_OFF, Blame.RELAY)
    assert "rebooted 02:31:07" in record.reason
    told = len(bench.records)
    later = replace(relay, up=bench.clock.up() + 1)
    bench.watch.power_changed(Power.OFF, bench.clock.up(), by_us=False, relay=later)
    assert len(bench.records) == told


async def test_an_agent_that_stood_still_takes_no_board_for_silent() -> None:
    pulse = Pulse()
    bench = Bench(pulse=pulse)
    bench.answers(False)
    async with bench.running():
        bench.power(Power.OFF)
        bench.clock.advance(1)
        bench.power(Power.ON)
        await bench.until(lambda: len(bench.watch.evidence.looks.get("ping", ())) >= 3)
        bench.clock.advance(100)  # frozen, while the board boots
        bench.answers(True)
        await bench.until_verdict(Verdict.ALIVE)
        await bench.until(lambda: bool(bench.boots))
    assert Verdict.SILENT not in {record.verdict for record in bench.records}
    assert [how for _, _, how in bench.boots] == ["booted"]
