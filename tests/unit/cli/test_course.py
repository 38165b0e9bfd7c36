"""What is said while a command runs."""

from __future__ import annotations

from typing import Any

from boardherd.course import Course
from boardherd_shared.command import CommandStep, State
from boardherd_shared.messages import BoardState
from boardherd_shared.records import BoardRecord, ProbeResult, Verdict

ON = 1_795_000_000.0


def step(state: State, text: str, at: float = ON, **more: Any) -> CommandStep:
    return CommandStep(
        id="c1", state=state, action="cycle", agent="pc-01", operator="ops1", at=at, text=text, **more
    )


def sight(
    verdict: Verdict, *probes: tuple[str, str, float], since: float = 0.0, text: str = ""
) -> BoardState:
    results = tuple(
        ProbeResult.model_validate(
            {"probe": probe, "answer": answer, "at": micros(after), "text": probe.upper()}
        )
        for probe, answer, after in probes
    )
    record = BoardRecord(
        at=micros(10), up=1, board="evm-07", verdict=verdict, since=micros(since), probes=results
    )
    return BoardState(record=record, text=text)


def micros(after: float) -> int:
    return int((ON + after) * 1e6)


def test_each_step_is_a_line_but_the_last() -> None:
    course = Course("cycle evm-07")
    assert course.present(0.0) == "cycle evm-07: sent, waiting for an answer"
    told = course.take(step(State.ACCEPTED, "cycle of evm-07 accepted"), 0.02)
    assert str(told) == "   0.0 s  accepted  cycle of evm-07 accepted"
    assert course.take(step(State.SUCCEEDED, "evm-07: alive"), 20.0) is None


def test_waits_are_counted_down_and_end_with_the_next_step() -> None:
    course = Course("cycle evm-07")
    course.take(step(State.RUNNING, "stays off for 3.4 s more", phase="min-off", times={"wait_s": 3.4}), 1.0)
    assert course.present(1.0) == "stays off for 3.4 s more, 4 s left"
    assert course.present(9.0) == "stays off for 3.4 s more, 0 s left"
    course.take(step(State.RUNNING, "off, waiting, 10 s", phase="dwell", times={"dwell_s": 10.0}), 5.0)
    assert course.present(8.0) == "off, waiting, 10 s, 7 s left"
    course.take(step(State.RUNNING, "switching evm-07 on", phase="on"), 15.0)
    assert course.present(16.0) == "switching evm-07 on"


def test_signs_of_life_are_told_once_each_from_when_the_board_is_on() -> None:
    course = Course("cycle evm-07")
    assert course.sight(sight(Verdict.ALIVE, ("ssh", "yes", -50.0)), 0.5) == []
    course.take(step(State.RUNNING, "evm-07 is on, waiting", phase="waiting"), 5.0)
    old = sight(Verdict.BOOTING, ("ssh", "yes", -50.0), ("console", "no", 1.0), text="booting: kernel")
    assert course.sight(old, 5.5) == []
    assert course.present(6.0) == "evm-07 is on, waiting; booting: kernel"
    first = course.sight(sight(Verdict.BOOTING, ("ssh", "yes", -50.0), ("console", "yes", 2.5)), 7.6)
    assert [str(line) for line in first] == ["   7.6 s  console   2.5 s after power-on: CONSOLE"]
    last = course.sight(
        sight(
            Verdict.ALIVE, ("ssh", "yes", 4.0), ("console", "yes", 2.5), since=4.0, text="alive since 09:14"
        ),
        9.2,
    )
    assert [(line.word, line.text) for line in last] == [
        ("ssh", "4.0 s after power-on: SSH"),
        ("alive", "alive since 09:14"),
    ]
    assert course.sight(sight(Verdict.ALIVE, ("ssh", "yes", 9.0), since=4.0), 12.0) == []
