"""What the looks of one probe come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from boardherd_agent.watch.judging.evidence import Look
from boardherd_shared.clock import seconds

_NETWORK = {"ping", "tcp", "ssh", "http", "https"}
"""Kinds of probes that reach the board through the network."""


@dataclass(frozen=True)
class Rules:
    """How patient the verdict is."""

    boot_time_s: float = 90.0
    """How long a board may boot before its silence counts."""
    misses: int = 2
    """Looks in a row that must go unanswered before a probe counts as unanswered; at most 4."""
    stale_s: float = 180.0
    """A look that is older than this tells nothing any more."""
    settle_s: float = 5.0
    """How long a board may still answer after its power went off: supplies hold up."""
    loop: int = 4
    """So many restarts, each soon after the one before, are a boot loop."""
    falls: int = 3
    """A probe that was missed so many times again among its last eight looks comes and goes."""


class Standing(Enum):
    """What the looks of one probe come to."""

    ANSWERS = "answers"
    MISSED = "missed"
    PENDING = "pending"
    UNAVAILABLE = "unavailable"
    STALE = "stale"
    """It has not looked for so long that nothing is known any more."""


def on_network(probe: str) -> bool:
    """Tell whether a probe of this name reaches the board through the network."""
    return probe.partition("-")[0] in _NETWORK


def blindness(looks: Sequence[Look], now: int, rules: Rules) -> Standing | None:
    """Return why nothing can be told from ``looks``, oldest first; None if something can."""
    if not looks:
        return Standing.PENDING
    if seconds(now - looks[-1].up) > rules.stale_s:
        return Standing.STALE
    return Standing.UNAVAILABLE if looks[-1].answer == "unavailable" else None


def answers_of(looks: Sequence[Look], life: int | None) -> list[str]:
    """Return what was answered, yes or no, since the board's present life began."""
    return [look.answer for look in looks if look.up >= (life or 0) and look.answer != "unavailable"]


def standing_of(answers: Sequence[str], rules: Rules) -> Standing:
    """Return what such answers come to: good news at once, bad news when it is confirmed."""
    if "yes" in answers[-rules.misses :]:
        return Standing.ANSWERS
    return Standing.MISSED if len(answers) >= rules.misses else Standing.PENDING
