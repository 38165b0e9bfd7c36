"""When the next look is due, and what a prober does with an answer."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest
from pydantic import ValidationError

from boardherd_agent.watch.evidence import Look
from boardherd_agent.watch.probes import Outcome, build_probes
from boardherd_agent.watch.probing import Pace, Prober, interval
from boardherd_shared.records import Verdict
from support.clock import FakeClock

PACE = Pace()


@pytest.mark.parametrize(
    ("probe", "verdict", "answer", "misses", "expected"),
    [
        ("ping", Verdict.ALIVE, "yes", 0, 10),
        ("ssh", Verdict.ALIVE, "yes", 0, 30),
        ("ssh-2222", Verdict.ALIVE, "yes", 0, 30),
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
        (["console"], []),
    ],
)
def test_probes_are_built_from_their_names(names: list[str], expected: list[str]) -> None:
    assert [probe.name for probe in build_probes(names, "127.0.0.1")] == expected


@pytest.mark.parametrize("name", ["http", "tcp", "ping:80", "tcp:0", "tcp:65536", "ssh:x", "usb"])
def test_an_unknown_probe_is_refused_in_words(name: str) -> None:
    """OPS-4: the sentence names what was written and what there is."""
    with pytest.raises(ValueError, match=f'"{name}"'):
        build_probes([name], "127.0.0.1")


def test_a_probe_without_an_address_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="needs board_ip"):
        build_probes(["ping"], None)


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
