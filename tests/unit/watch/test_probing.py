"""When the next look is due, and what a prober does with an answer."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest
from pydantic import ValidationError

from boardherd_agent.watch.judging.evidence import Look
from boardherd_agent.watch.probes import Outcome, Probe, build_probes
from boardherd_agent.watch.probing.gate import Gate
from boardherd_agent.watch.probing.prober import Pace, Prober, interval
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Verdict
from support.clock import FakeClock

PACE = Pace()


@pytest.mark.parametrize(
    ("probe", "verdict", "answer", "misses", "expected"),
    [
        ("ping", Verdict.ALIVE, "yes", 0, 10),
        ("ssh", Verdict.ALIVE, "yes", 0, 30),
        ("ssh-2222", Verdict.ALIVE, "yes", 0, 30),
        ("https-8443", Verdict.ALIVE, "yes", 0, 30),
        ("command-fan", Verdict.ALIVE, "yes", 0, 30),
        ("http", Verdict.ALIVE, "yes", 0, 10),
        ("usb-1-1.4", Verdict.ALIVE, "yes", 0, 10),
        ("ssh", Verdict.BOOTING, "no", 7, 0.5),
        ("ping", Verdict.BOOTING, "yes", 0, 0.5),
        ("ping", Verdict.UNKNOWN, "no", 1, 0.5),
        ("ping", Verdict.ALIVE, "no", 1, 10),
        ("ssh", Verdict.ALIVE, "no", 1, 10),
        ("ssh", Verdict.SILENT, "no", 2, 60),
        ("ping", Verdict.SILENT, "no", 2, 20),
        ("ping", Verdict.SILENT, "no", 3, 40),
        ("ping", Verdict.SILENT, "no", 1_000_000, 60),
        ("ping", Verdict.POWERED_OFF, "no", 9, 60),
        ("ping", Verdict.ALIVE, "unavailable", 0, 60),
        ("ping", Verdict.BOOTING, "unavailable", 0, 10),
    ],
)
def test_the_interval(probe: str, verdict: Verdict, answer: str, misses: int, expected: float) -> None:
    assert interval(PACE, probe, verdict, answer, misses) == expected  # type: ignore[arg-type]


def test_the_pace_reads_durations_and_refuses_what_would_hammer() -> None:
    assert Pace.model_validate({"steady": "2s", "booting": "200ms"}).booting == 0.2
    with pytest.raises(ValidationError):
        Pace.model_validate({"booting": 0})
    with pytest.raises(ValidationError):
        Pace.model_validate({"stedy": "2s"})
    assert Pace().stale > Pace().slowest + Pace().timeout


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ping", "ssh", "tcp:80", "console"], ["ping", "ssh", "tcp-80"]),
        (["ssh:22", "ssh", "ssh:2222"], ["ssh", "ssh-2222"]),
        (["http", "http:80/", "https:443", "http:8080/a/b#204"], ["http", "https", "http-8080-a-b-204"]),
        (["usb:1-1.4", "command:fan-turns"], ["usb-1-1.4", "command-fan-turns"]),
        (["console"], []),
    ],
)
def test_probes_are_built_from_their_names(names: list[str], expected: list[str]) -> None:
    config = BoardConfig.model_validate({"probes": names, "board_ip": "127.0.0.1"})
    assert [probe.name for probe in build_probes("evm-07", config)] == expected


def test_a_probe_without_an_address_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="needs board_ip"):
        build_probes("evm-07", BoardConfig(probes=("ping",)))


class ScriptedProbe:
    """Answers what it was told to, and remembers how long it was given."""

    name = "ping"

    def __init__(self, *answers: str) -> None:
        self.answers = deque(answers)
        self.given: list[float] = []

    async def check(self, within_s: float) -> Outcome:
        self.given.append(within_s)
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        return Outcome(answer, "text\nwith a line break", 0.25)  # type: ignore[arg-type]


async def test_a_prober_looks_and_a_hurry_ends_its_wait() -> None:
    clock, looks = FakeClock(), asyncio.Queue[Look]()
    probe = ScriptedProbe("no")
    verdict = Verdict.SILENT
    prober = Prober(
        probe,
        Pace(steady=1000, slowest=1000),
        clock,
        verdict=lambda: verdict,
        on_look=looks.put_nowait,
        rng=random.Random(1),
    )
    task = asyncio.create_task(prober.run(), name="prober under test")
    first = await looks.get()
    assert (first.answer, first.text, first.up, first.wall) == (
        "no", "text with a line break", clock.up(), clock.wall(),
    )  # fmt: skip
    assert first.ended == first.up + 250_000
    verdict = Verdict.BOOTING
    clock.advance(5)
    prober.hurry()
    assert (await looks.get()).up == first.up + 5_000_000
    assert probe.given == [PACE.timeout, PACE.timeout_booting]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class SlowProbe:
    """Looks until it is told to end, and counts who looks."""

    def __init__(self, name: str = "ping") -> None:
        self.name = name
        self.end = asyncio.Event()
        self.looking = self.most = self.looks = 0

    async def check(self, within_s: float) -> Outcome:
        self.looking += 1
        self.looks += 1
        self.most = max(self.most, self.looking)
        try:
            await self.end.wait()
        finally:
            self.looking -= 1
        return Outcome("yes", "up", 0.0)


def prober(probe: Probe, gate: Gate | None = None, verdict: Verdict = Verdict.ALIVE, **pace: float) -> Prober:
    return Prober(
        probe,
        Pace.model_validate(pace),
        FakeClock(),
        verdict=lambda: verdict,
        on_look=lambda _look: None,
        gate=gate,
    )


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_probe_never_looks_twice_at_once() -> None:
    probe = SlowProbe()
    one = prober(probe, steady=0.05)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(one.run(), name="prober")
        asked = [group.create_task(one.look(), name="look") for _ in range(3)]
        await some_turns()
        assert (probe.looking, probe.looks) == (1, 1)
        probe.end.set()
        await asyncio.gather(*asked)
        running.cancel()
    assert probe.most == 1
    assert probe.looks >= 3


async def test_a_look_that_was_asked_for_counts_like_any_other() -> None:
    probe = ScriptedProbe("no", "no", "no", "yes")
    looks: list[Look] = []
    one = Prober(
        probe, Pace(), FakeClock(), verdict=lambda: Verdict.SILENT, on_look=looks.append, rng=random.Random(1)
    )
    assert [await one.look() for _ in range(4)] == ["no", "no", "no", "yes"]
    assert [look.answer for look in looks] == ["no", "no", "no", "yes"]


async def test_a_probe_that_raises_is_our_own_failure() -> None:
    """What the world does is an answer; anything else ends the process, and systemd starts it anew."""

    class Broken:
        name = "ping"

        async def check(self, within_s: float) -> Outcome:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await prober(Broken()).run()


async def test_probes_of_one_pc_share_the_gate_and_a_boot_goes_first() -> None:
    gate, order = Gate(1), list[str]()

    class Noted(SlowProbe):
        async def check(self, within_s: float) -> Outcome:
            order.append(self.name)
            return await super().check(within_s)

    first, steady, booting = Noted("first"), Noted("steady"), Noted("booting")
    async with asyncio.TaskGroup() as group:
        group.create_task(prober(first, gate).look(), name="first")
        await some_turns()
        group.create_task(prober(steady, gate).look(), name="steady")
        await some_turns()
        group.create_task(prober(booting, gate, Verdict.BOOTING).look(), name="booting")
        await some_turns()
        assert order == ["first"]
        for probe in (first, booting, steady):
            probe.end.set()
    assert order == ["first", "booting", "steady"]
