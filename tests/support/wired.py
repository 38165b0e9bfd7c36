"""Boards behind a relay module made by hand, with the real witness of cuts looking at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boardherd_agent.watch.judging.evidence import Evidence, Look, PowerSeen
from boardherd_agent.watch.probing.probe import Outcome
from boardherd_agent.watch.witnessing.sight import Sight
from boardherd_agent.watch.witnessing.witness import Witness
from boardherd_shared.clock import Clock
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Power

HOLD_UP_S = 1.0
_LONG_AGO, _A_MOMENT_US = 0, 500_000


@dataclass(frozen=True)
class WiredBoard:
    """A board that answers as long as all ports that really feed it are on; it boots in no time."""

    name: str
    state: Callable[[], Power]
    """Returns what lab.toml's ports of it are."""
    fed: Callable[[], bool]
    clock: Clock

    async def check(self, within_s: float) -> Outcome:
        if self.fed():
            return Outcome("yes", "up", 0.0)
        await asyncio.sleep(within_s)
        return Outcome("no", "no answer")

    @property
    def evidence(self) -> Evidence:
        """What regular looks would have seen up to now."""
        now = self.clock.up()
        seen = Evidence(probes=("ping",)).add(PowerSeen(_LONG_AGO, Power.ON))
        if self.state() is not Power.ON:
            seen = seen.add(PowerSeen(now, self.state()))
        return seen.add(Look(max(0, now - _A_MOMENT_US), "ping", "yes")) if self.fed() else seen


def witness_of(
    pc: str,
    boards: Mapping[str, BoardConfig],
    clock: Clock,
    state: Callable[[int], Power],
    swapped: Callable[[], Mapping[str, str]],
) -> Witness:
    """Return a witness of the cuts of one module.

    Args:
        pc: the test PC.
        boards: its boards.
        clock: its clocks.
        state: returns what a port of the module is.
        swapped: returns for each board whose ports really feed it, where those are not its own.
    """

    def ports(board: str) -> list[Power]:
        return [state(feed.port) for feed in boards[board].power]

    def make(board: str) -> WiredBoard:
        return WiredBoard(
            board,
            lambda: Power.OFF if Power.OFF in ports(board) else Power.ON,
            lambda: Power.OFF not in ports(swapped().get(board, board)),
            clock,
        )

    watched = {board: make(board) for board in boards}
    probes = {board: [it] for board, it in watched.items()}
    return Witness(pc, Sight(boards, watched, probes, clock), HOLD_UP_S)
