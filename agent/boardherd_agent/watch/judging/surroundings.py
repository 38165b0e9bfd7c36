"""What the boards of a PC have in common: do they fall silent together? Pure.

One board that falls silent has a fault of its own. Boards that fall silent within one interval of looking, while
no other answers any more, share their fault: the network between them and this PC, as a rule.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from boardherd_agent.watch.judging.evidence import Evidence
from boardherd_agent.watch.judging.standing import on_network
from boardherd_shared.records import Power

TOGETHER = "the boards of this PC fell silent together: look at the network that they share"

_AT_LEAST = 2


@dataclass(frozen=True)
class Sighting:
    """How one board was last seen over the network. Times are microseconds since the PC's boot."""

    board: str
    answered: int
    """When the last look began that it answered."""
    missed: tuple[int, ...]
    """When the looks began that were missed since, as far as they are remembered."""
    confirmed: bool
    """Every probe has missed it often enough since."""
    anew: bool
    """It began a new life since: its power was cut, or it restarted."""
    every: int
    """The time between two looks."""


@dataclass(frozen=True)
class Common:
    """A silence that boards share."""

    since: int
    boards: frozenset[str]


def sighting(board: str, evidence: Evidence, misses: int, every: int) -> Sighting | None:
    """Return how ``board`` was last seen over the network.

    None where that tells nothing: no probe can ask over the network, the power is off, or it has never answered.
    """
    probes = [
        probe
        for probe in evidence.probes
        if on_network(probe) and (looks := evidence.looks.get(probe)) and looks[-1].answer != "unavailable"
    ]
    answered = max((evidence.answered.get(probe, -1) for probe in probes), default=-1)
    if answered < 0 or (evidence.switched and evidence.power is Power.OFF):
        return None
    since = [
        [look.up for look in evidence.looks[probe] if look.up > answered and look.answer == "no"]
        for probe in probes
    ]
    return Sighting(
        board,
        answered,
        missed=tuple(sorted(up for ups in since for up in ups)),
        confirmed=all(len(ups) >= misses for ups in since),
        anew=evidence.life is not None and evidence.life > answered,
        every=every,
    )


def common_silence(sightings: Collection[Sighting], before: Common | None = None) -> Common | None:
    """Return the silence that boards share now; None while there is none.

    Args:
        sightings: all boards that are reached through the same network.
        before: what was returned last. It goes on, whatever is tried with single boards, until one answers.
    """
    if before:
        if any(it.answered >= before.since for it in sightings):
            return None
        return Common(
            before.since,
            frozenset(it.board for it in sightings if it.answered >= before.since - 2 * it.every),
        )
    newest = max((it.answered for it in sightings), default=0)
    lately = [it for it in sightings if not it.anew and it.answered >= newest - it.every]
    since = min((up for it in lately for up in it.missed if up > newest), default=0)
    together = [it for it in lately if it.missed and it.missed[-1] > newest]
    unheard = len(lately) - len(together)
    if len(together) < max(_AT_LEAST, unheard) or not any(it.confirmed for it in together):
        return None
    return Common(since, frozenset(it.board for it in together))
