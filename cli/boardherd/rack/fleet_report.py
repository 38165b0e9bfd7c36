"""What a simulated fleet went through, in figures, and whether the database agrees with its ledger. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from boardherd.rack.fleet import FleetOptions
from boardherd.rack.fleet_agent import SimulatedAgent

_KINDS = ("host", "board", "relay", "event")
_NO_FAULTS = frozenset({"streams", "stored_envelopes"})
"""Figures of a comparison that may be more than nothing."""


class StreamAnswer(BaseModel):
    """What the collector's ledger says of a stream: a part of ``/api/v1/counts``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stream: str
    watermark: int
    ranges: tuple[tuple[int, int], ...] = ()
    envelopes: int
    lost_envelopes: int = 0
    records: dict[str, int] = Field(default_factory=dict)
    dead_letters: int = 0

    def holds(self, seq: int) -> bool:
        """Tell whether an envelope is in, or declared lost."""
        return seq <= self.watermark or any(first <= seq <= last for first, last in self.ranges)


class CountsAnswer(BaseModel):
    """What ``/api/v1/counts`` answers, as far as it is needed here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    rows: dict[str, int] = Field(default_factory=dict)
    streams: tuple[StreamAnswer, ...] = ()

    @property
    def samples(self) -> int:
        """Samples of PCs that the ledger has seen stored."""
        return sum(stream.records.get("host", 0) for stream in self.streams)


class Comparison(BaseModel):
    """The fleet's ledger beside the database's: what was accepted, and what is there."""

    model_config = ConfigDict(frozen=True)

    streams: int = Field(description="streams of the fleet that the database knows")
    stored_envelopes: int
    missing_envelopes: int = Field(description="acknowledged, and not stored")
    foreign_envelopes: int = Field(description="stored, and never made")
    doubled_envelopes: int = Field(description="stored more often than they have numbers")
    declared_lost: int = Field(description="declared lost, which the fleet never did")
    missing_records: int = Field(description="records of stored envelopes that are not there")
    doubled_records: int = Field(description="records that are there more than once")
    dead_letters: int = Field(description="records that the database would not take")
    missing_rows: int = Field(description="rows of pc_stats fewer than samples taken since the beginning")
    doubled_rows: int = Field(description="rows of pc_stats more than samples taken since the beginning")

    @property
    def good(self) -> bool:
        """True when nothing was lost and nothing doubled."""
        return not any(value for name, value in self if name not in _NO_FAULTS)


def compare(agents: Iterable[SimulatedAgent], before: CountsAnswer, after: CountsAnswer) -> Comparison:
    """Compare what the agents know with the counts of the database.

    Rows are counted over the whole table from ``before`` to ``after``, so other agents are welcome, but a
    retention that deletes rows meanwhile shows as missing ones.
    """
    answers = {answer.stream: answer for answer in after.streams}
    found: Counter[str] = Counter()
    for agent in agents:
        answer = answers.get(agent.stream)
        found["streams"] += answer is not None
        _compare_stream(agent, answer or StreamAnswer(stream=agent.stream, watermark=0, envelopes=0), found)
    rows = after.rows.get("pc_stats", 0) - before.rows.get("pc_stats", 0)
    surplus = rows - (after.samples - before.samples)
    found["missing_rows"], found["doubled_rows"] = max(0, -surplus), max(0, surplus)
    return Comparison(**{name: found[name] for name in Comparison.model_fields})


def _compare_stream(agent: SimulatedAgent, answer: StreamAnswer, found: Counter[str]) -> None:
    stored = [seq for seq in range(1, agent.last + 1) if answer.holds(seq)]
    in_ledger = answer.watermark + sum(last - first + 1 for first, last in answer.ranges)
    found["stored_envelopes"] += answer.envelopes
    found["missing_envelopes"] += sum(not answer.holds(seq) for seq in agent.acknowledged())
    found["foreign_envelopes"] += in_ledger - len(stored)
    found["doubled_envelopes"] += max(0, answer.envelopes - in_ledger)
    found["missing_envelopes"] += max(0, in_ledger - answer.envelopes - answer.lost_envelopes)
    found["declared_lost"] += answer.lost_envelopes
    found["dead_letters"] += answer.dead_letters
    made: Counter[str] = Counter()
    for seq in stored:
        made.update(dict(agent.shapes[seq - 1]))
    for kind in _KINDS:
        surplus = answer.records.get(kind, 0) - made[kind]
        found["missing_records"] += max(0, -surplus)
        found["doubled_records"] += max(0, surplus)


class Report(BaseModel):
    """Everything about a run. Times are seconds."""

    model_config = ConfigDict(frozen=True)

    ok: bool | None = Field(description="nothing lost, nothing doubled; null when nobody could tell")
    agents: int
    boards: int
    interval_s: float
    backlog_s: float
    seconds: float = Field(description="how long the fleet ran")
    envelopes: dict[str, int]
    records: dict[str, int] = Field(description="records accepted by kind")
    resume: dict[str, int | float] | None = Field(description="from hello to its answer: median and slowest")
    fresh: dict[str, int | float] | None = Field(
        description="from resume to the first acknowledgement of fresh data: median, slowest, and how many"
    )
    live: dict[str, int | float] | None = Field(
        description="age of new records when they were acknowledged, while there was a backlog"
    )
    drain: dict[str, int | float] | None = Field(
        description="of the backlog: envelopes and records a second, and the ratio to the production rate"
    )
    refusals: tuple[str, ...] = Field((), description="why envelopes were refused, some of them")
    database: Comparison | None = None
    not_compared: str | None = Field(None, description="why the database was not asked")


def report(
    options: FleetOptions,
    agents: Sequence[SimulatedAgent],
    seconds: float,
    compared: Comparison | str,
) -> Report:
    """Return the report on a run of ``seconds``; ``compared`` says why where there is no comparison."""
    database = compared if isinstance(compared, Comparison) else None
    answers = [took for agent in agents for took in agent.tally.answers_s]
    fresh = [took for agent in agents for took in agent.tally.fresh_s]
    live = [took for agent in agents for took, backlog in agent.tally.live_s if backlog]
    refusals = sorted({text for agent in agents for text in agent.tally.refused.values()})
    refused = sum(len(agent.tally.refused) for agent in agents)
    made: Counter[str] = Counter()
    for agent in agents:
        for shape in agent.shapes:
            made.update(dict(shape))
    return Report(
        ok=None if database is None else database.good and not refused,
        agents=options.agents,
        boards=options.boards,
        interval_s=options.interval_s,
        backlog_s=options.backlog_s,
        seconds=round(seconds, 2),
        envelopes=_envelopes(agents) | {"refused": refused},
        records={kind: made[kind] for kind in _KINDS},
        resume=_spread(answers),
        fresh=_spread(fresh),
        live=_spread(live),
        drain=_drain(options, agents),
        refusals=tuple(refusals[:5]),
        database=database,
        not_compared=compared if isinstance(compared, str) else None,
    )


def _envelopes(agents: Sequence[SimulatedAgent]) -> dict[str, int]:
    totals = {
        name: sum(getattr(agent.tally, name) for agent in agents)
        for name in ("acknowledged", "sent", "resent", "duplicates", "strange", "garbled")
    }
    return {
        "accepted": sum(agent.last for agent in agents),
        "pending": sum(len(agent.pending) for agent in agents),
        **totals,
    }


def _spread(values: Sequence[float]) -> dict[str, int | float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "median_s": round(ordered[len(ordered) // 2], 3),
        "p95_s": round(ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)], 3),
        "slowest_s": round(ordered[-1], 3),
    }


def _drain(options: FleetOptions, agents: Sequence[SimulatedAgent]) -> dict[str, int | float] | None:
    """Return how fast the backlog went; None while it has not gone, or if there was none."""
    ends = [agent.tally.backlog_done_at for agent in agents]
    begins = [agent.tally.resumed_at for agent in agents]
    if not ends or any(moment is None for moment in (*ends, *begins)):
        return None
    seconds = max(filter(None, ends)) - min(filter(None, begins))
    envelopes, records = _backlog(agents)
    return {
        "envelopes": envelopes,
        "records": records,
        "seconds": round(seconds, 2),
        "envelopes_per_s": round(envelopes / seconds, 1),
        "records_per_s": round(records / seconds, 1),
        "production_records_per_s": round(records / options.backlog_s, 1),
        "ratio": round(options.backlog_s / seconds, 1),
    }


def _backlog(agents: Sequence[SimulatedAgent]) -> tuple[int, int]:
    """Return the envelopes and records that the agents were born with."""
    shapes: list[Mapping[str, int]] = [
        dict(shape) for agent in agents for shape in agent.shapes[: agent.born_with]
    ]
    return len(shapes), sum(sum(shape.values()) for shape in shapes)


def sentences(result: Report) -> list[str]:
    """Return the report for a person, line by line."""
    envelopes = result.envelopes
    told = (
        f"{result.agents} agents for {result.seconds:.0f} s: {envelopes['accepted']} envelopes made,"
        f" {envelopes['acknowledged']} acknowledged, {envelopes['duplicates']} of them more than once,"
        f" {envelopes['resent']} sent again, {envelopes['refused']} refused, {envelopes['pending']} left"
    )
    lines = [told]
    if result.fresh:
        lines.append(
            f"fresh data after resume: {result.fresh['median_s']:.2f} s in the middle,"
            f" {result.fresh['slowest_s']:.2f} s for the slowest"
        )
    if result.drain:
        lines.append(
            f"backlog: {result.drain['records']:.0f} records in {result.drain['seconds']:.0f} s,"
            f" {result.drain['records_per_s']:.0f}/s, {result.drain['ratio']:.0f} times as fast as it grew"
        )
    lines.extend(f"refused: {text}" for text in result.refusals)
    if result.database is None:
        return [*lines, f"not compared with the database: {result.not_compared}"]
    faults = {name: value for name, value in result.database if name not in _NO_FAULTS and value}
    verdict = (
        ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in faults.items())
        or "nothing lost, nothing doubled"
    )
    return [*lines, f"the database holds {result.database.stored_envelopes} of these envelopes: {verdict}"]
