"""The ledger of a simulated fleet beside the database's: every kind of disagreement is seen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from boardherd.rack.fleet import FleetOptions
from boardherd.rack.fleet_agent import FleetClock, SimulatedAgent
from boardherd.rack.fleet_report import Comparison, CountsAnswer, compare, report, sentences
from boardherd.rack.fleet_telemetry import SimulatedPc
from boardherd_shared.messages import Ack, Resume, encode

SESSION = "5" * 16
ENVELOPES = 6


def delivered(clock: FleetClock | None = None) -> SimulatedAgent:
    """Return an agent that has delivered a backlog of a minute, but for its last envelope."""
    clock = clock or FleetClock(lambda: 5_000.0, wall=1_800_000_000.0)
    agent = SimulatedAgent(SimulatedPc(1, 0), clock, interval_s=10.0, backlog_s=60.0)
    for place in range(ENVELOPES):
        agent.measure(clock.now() - 60 + 10 * place, live=False)
    agent.connect(SESSION)
    agent.hello(clock.now())
    missing = {agent.stream: ((1, ENVELOPES),)}
    resume = Resume(v=1, session=SESSION, missing=missing, window=10, server_time=0.0)
    agent.on_resume(encode(resume), clock.now())
    while agent.next_payload(clock.now()):
        pass
    acknowledge(agent, ENVELOPES - 1, clock.now())
    return agent


def acknowledge(agent: SimulatedAgent, last: int, now: float) -> None:
    ack = Ack(v=1, stream=agent.stream, committed=((1, last),), window=10, server_time=0.0)
    agent.on_ack(encode(ack), now)


def answer(agent: SimulatedAgent, rows: int | None = None, **wrong: Any) -> CountsAnswer:
    """Return what a database says that holds everything, with something ``wrong``."""
    stored = wrong.pop("stored", ENVELOPES)
    made = Counter(kind for shape in agent.shapes[:stored] for kind, count in shape for _ in range(count))
    stream = {"stream": agent.stream, "watermark": stored, "envelopes": stored, "records": dict(made)} | wrong
    body = {"rows": {"pc_stats": made["host"] if rows is None else rows}, "streams": [stream]}
    return CountsAnswer.model_validate(body)


def compared(agent: SimulatedAgent, after: CountsAnswer) -> Comparison:
    return compare([agent], CountsAnswer(), after)


def test_everything_stored_once_is_good() -> None:
    agent = delivered()
    assert compared(agent, answer(agent)).good


def test_what_is_not_acknowledged_may_be_stored_or_not() -> None:
    agent = delivered()
    assert compared(agent, answer(agent, stored=ENVELOPES - 1)).good


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"stored": ENVELOPES - 2}, {"missing_envelopes": 1}),
        ({"watermark": ENVELOPES + 1}, {"foreign_envelopes": 1, "missing_envelopes": 1}),
        ({"envelopes": ENVELOPES + 1}, {"doubled_envelopes": 1}),
        ({"records": {"host": 5}, "rows": 5}, {"missing_records": 1}),
        ({"records": {"host": 7}, "rows": 7}, {"doubled_records": 1}),
        ({"records": {"host": 6, "event": 2}}, {"doubled_records": 2}),
        ({"rows": 7}, {"doubled_rows": 1}),
        ({"rows": 4}, {"missing_rows": 2}),
        ({"dead_letters": 3}, {"dead_letters": 3}),
        ({"lost_envelopes": 1, "envelopes": 5}, {"declared_lost": 1}),
    ],
)
def test_a_disagreement_is_named(wrong: dict[str, Any], found: dict[str, int]) -> None:
    agent = delivered()
    comparison = compared(agent, answer(agent, **wrong))
    named = {
        name: value for name, value in comparison if value and name not in {"streams", "stored_envelopes"}
    }
    assert named == found
    assert not comparison.good


def test_an_unknown_stream_misses_all_that_was_acknowledged() -> None:
    agent = delivered()
    assert compared(agent, CountsAnswer()).missing_envelopes == ENVELOPES - 1


def test_rows_that_were_there_before_and_those_of_others_do_not_count() -> None:
    agent = delivered()
    other = {"stream": "b" * 32, "watermark": 9, "envelopes": 9, "records": {"host": 9}}
    before = CountsAnswer.model_validate({"rows": {"pc_stats": 100}, "streams": []})
    after = answer(agent, rows=100 + ENVELOPES + 9).model_dump()
    after["streams"] = [*after["streams"], other]
    assert compare([agent], before, CountsAnswer.model_validate(after)).good


def test_the_report_tells_the_drain_against_the_production() -> None:
    moments = {"now": 5_000.0}
    agent = delivered(FleetClock(lambda: moments["now"], wall=1_800_000_000.0))
    options = FleetOptions(agents=1, boards=0, backlog_s=60.0)
    assert report(options, [agent], 1.0, "nobody answered").drain is None
    acknowledge(agent, ENVELOPES, 5_003.0)
    told = report(options, [agent], 4.0, compared(agent, answer(agent)))
    assert told.ok is True
    assert told.drain is not None
    assert told.drain["records"] == ENVELOPES
    assert told.drain["ratio"] == 20.0
    assert sentences(told)[-1].endswith("nothing lost, nothing doubled")


def test_without_a_comparison_nothing_is_claimed() -> None:
    told = report(FleetOptions(agents=1), [delivered()], 1.0, "nobody answered")
    assert told.ok is None
    assert sentences(told)[-1] == "not compared with the database: nobody answered"
