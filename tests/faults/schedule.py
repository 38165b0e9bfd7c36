"""Which fault hits what, when and for how long: made from a seed, so that every run can be had again. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    part: str
    """What it hits: agent, collector, broker, database, line (of one agent) or trunk (of the collector)."""
    weight: float
    shortest: float
    longest: float
    """Seconds from the fault to its end."""
    rest: float = 0.4
    """Seconds after its end for which the same part is left alone."""


KINDS = (
    Kind("agent killed", "agent", 20, 0.0, 1.0),
    Kind("agent stopped", "agent", 4, 0.0, 1.0, rest=2.5),
    Kind("agent frozen", "agent", 6, 0.3, 8.0),
    Kind("agent's disk full", "agent", 2, 1.0, 6.0, rest=15.0),
    Kind("spool cut", "agent", 1, 0.1, 0.5, rest=5.0),
    Kind("collector killed", "collector", 10, 0.0, 1.0, rest=2.0),
    Kind("collector stopped", "collector", 2, 0.0, 1.0, rest=2.0),
    Kind("collector frozen", "collector", 4, 0.3, 8.0),
    Kind("broker killed", "broker", 7, 0.0, 2.0, rest=1.5),
    Kind("broker frozen", "broker", 3, 0.3, 8.0, rest=1.0),
    Kind("database locked", "database", 8, 0.5, 8.0),
    Kind("database stopped", "database", 3, 0.0, 4.0, rest=3.0),
    Kind("database killed", "database", 5, 0.0, 2.0, rest=3.0),
    Kind("database frozen", "database", 3, 0.5, 8.0, rest=1.0),
    Kind("backend killed", "database", 10, 0.0, 0.5, rest=2.0),
    Kind("database restored", "database", 1, 0.2, 0.5, rest=10.0),
    Kind("connections reset", "line", 12, 0.0, 0.0, rest=0.1),
    Kind("reset in mid-packet", "line", 12, 2.0, 2.0, rest=0.1),
    Kind("refused", "line", 4, 0.5, 4.0),
    Kind("stalled", "line", 5, 0.5, 12.0),
    Kind("stalled upwards", "line", 4, 0.5, 12.0),
    Kind("stalled downwards", "line", 4, 0.5, 12.0),
    Kind("slow", "line", 5, 1.0, 6.0),
    Kind("narrow", "line", 5, 1.0, 6.0),
    Kind("acks dropped", "line", 7, 1.0, 6.0),
    Kind("acks doubled", "line", 5, 1.0, 6.0),
    Kind("acks delayed", "line", 5, 1.0, 6.0),
    Kind("telemetry doubled", "line", 5, 1.0, 6.0),
    Kind("collector cut off", "trunk", 6, 0.0, 2.0, rest=1.5),
    Kind("collector reset in mid-packet", "trunk", 4, 2.0, 2.0, rest=1.0),
    Kind("collector's line stalled", "trunk", 3, 0.5, 12.0, rest=1.0),
    Kind("everything killed", "everything", 2, 0.0, 1.0, rest=3.0),
)
"""Every kind of fault of a campaign, with how often it comes in relation to the others."""

PER_AGENT = frozenset({"agent", "line"})
EVERYTHING = frozenset({"collector", "broker", "database"})
"""What a fault of everything hits besides the agents. A database goes with the collector that has it open."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at: float
    """Seconds after the beginning."""
    kind: str
    target: str
    """Such as ``agent 2`` or ``broker``."""
    lasts: float
    chance: float
    """A number between 0 and 1 for what the fault leaves open: at which byte, how slow, where to cut."""

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.target:<10} {self.kind} ({self.lasts:.2f} s, {self.chance:.3f})"


def plan(seed: str, seconds: float, agents: int, per_minute: float, kinds: Collection[Kind]) -> list[Fault]:
    """Return the faults of ``seconds``, the same for the same arguments.

    No part is hit while it is still down from the last time. Faults of one part do not keep others from
    their own: most of the time several things are broken at once.
    """
    rng = random.Random(seed)
    free: dict[str, float] = {}
    faults: list[Fault] = []
    at = 0.0
    while (at := at + rng.expovariate(per_minute / 60)) < seconds:
        choices = [
            (kind, target)
            for kind in kinds
            for target in _targets(kind, agents)
            if _free(target, agents, free, at)
        ]
        if not choices:
            continue
        weights = [kind.weight / (agents if kind.part in PER_AGENT else 1) for kind, _ in choices]
        kind, target = rng.choices(choices, weights)[0]
        lasts = min(rng.uniform(kind.shortest, kind.longest), seconds - at)
        faults.append(Fault(at, kind.name, target, lasts, rng.random()))
        free.update(dict.fromkeys(parts(target, agents), at + lasts + kind.rest))
    return faults


def _targets(kind: Kind, agents: int) -> Iterator[str]:
    if kind.part in PER_AGENT:
        yield from (f"{kind.part} {number}" for number in range(agents))
    else:
        yield kind.part


def parts(target: str, agents: int) -> list[str]:
    """Return every part that a fault of ``target`` takes."""
    if target == "everything":
        return [*EVERYTHING, *(f"agent {number}" for number in range(agents))]
    if target in {"collector", "database"}:
        return ["collector", "database"]
    return [target]


def _free(target: str, agents: int, free: dict[str, float], at: float) -> bool:
    return all(free.get(part, 0.0) <= at for part in parts(target, agents))
