"""What can be seen of the boards of one test PC at a given moment, for whoever has to tell them apart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from boardherd_agent.watch.booting.restarts import BEGINNINGS
from boardherd_agent.watch.judging.evidence import Evidence
from boardherd_agent.watch.probing.probe import Outcome, Probe
from boardherd_agent.watch.witnessing.wiring import Round
from boardherd_shared.clock import Clock
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Power

_OF_LATE_US = 60_000_000
"""A board that has answered within this time before a cut, and missed no look since, was alive."""

_AT_ONCE = 8
"""So many boards are looked at at the same time."""


class Watched(Protocol):
    """What is known of a board: see :class:`boardherd_agent.watch.board.BoardWatch`."""

    @property
    def evidence(self) -> Evidence:
        """Everything that has been seen of it."""
        ...


class Sight:
    """Looks at boards beside their regular probes, and asks what is known of them."""

    def __init__(
        self,
        boards: Mapping[str, BoardConfig],
        watches: Mapping[str, Watched],
        probes: Mapping[str, Sequence[Probe]],
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            boards: the boards of this PC.
            watches: what is known of each.
            probes: how to look at each.
            clock: tells all times.
        """
        self.boards, self.clock = boards, clock
        self._watches, self._probes = watches, probes
        self._few = asyncio.Semaphore(_AT_ONCE)

    def sees(self, board: str) -> bool:
        """Tell whether anything at all can tell of a board."""
        return bool(self._probes[board]) or self.console(board)

    async def look(
        self, board: str, within_s: float, only: Collection[str] | None = None
    ) -> tuple[Round, frozenset[str]]:
        """Look at a board once with its probes, or ``only`` with some; return the look, and who saw it alive."""
        probes = [probe for probe in self._probes[board] if only is None or probe.name in only]
        began = self.clock.up()
        async with asyncio.TaskGroup() as looks:
            asked = [
                looks.create_task(probe.check(within_s), name=f"look {board} {probe.name}")
                for probe in probes
            ]
        outcomes = [task.result() for task in asked]
        alive = frozenset(
            probe.name for probe, outcome in zip(probes, outcomes, strict=True) if _lives(outcome)
        )
        blind = all(outcome.answer == "unavailable" for outcome in outcomes)
        return Round(began, self.clock.up(), None if blind else bool(alive)), alive

    async def look_at_all(
        self, boards: Mapping[str, Collection[str] | None], within_s: float
    ) -> dict[str, Round]:
        """Look at several boards, a few at a time, each with the probes that are named, or with all."""

        async def look(board: str, only: Collection[str] | None) -> Round:
            async with self._few:
                return (await self.look(board, within_s, only))[0]

        async with asyncio.TaskGroup() as looks:
            asked = {
                board: looks.create_task(look(board, only), name=f"look at {board}")
                for board, only in boards.items()
            }
        return {board: task.result() for board, task in asked.items()}

    def power(self, board: str) -> Power:
        """Return the newest known state of a board's power."""
        return self._watches[board].evidence.power

    def console(self, board: str) -> bool:
        """Tell whether the inventory wants the console of a board watched."""
        return self._watches[board].evidence.console

    def boots(self, board: str, since: int) -> frozenset[int]:
        """Return when a board's console showed the beginning of a boot, from ``since`` on."""
        stages = self._watches[board].evidence.stages
        return frozenset(stages[it] for it in BEGINNINGS if it in stages and stages[it] >= since)

    def alive(self, moment: int, others_than: Iterable[str] = ()) -> dict[str, frozenset[str]]:
        """Return the boards that were alive at ``moment`` by themselves, each with the probes that say so.

        A board that was off, switched or booting then is not among them, as its silence would tell nothing.
        """
        return {
            board: probes
            for board in self.boards
            if board not in set(others_than)
            and (probes := self._answered_by(board, moment))
            and not self.excused(board, moment)
        }

    def excused(self, board: str, moment: int) -> bool:
        """Tell whether a board was switched, or may have been booting, at ``moment`` or a boot time before it.

        A board all of whose probes have answered since it came on has booted, however short a time ago.
        """
        evidence, boot_time = self._watches[board].evidence, round(self.boards[board].boot_time * 1e6)
        settled = evidence.life if self._has_booted(board, moment) else None
        since = moment - boot_time if settled is None else settled
        if evidence.switched and evidence.power_between(since, self.clock.up()) != {Power.ON}:
            return True
        return settled is None and evidence.life is not None and since < evidence.life <= moment

    def _has_booted(self, board: str, moment: int) -> bool:
        evidence = self._watches[board].evidence
        life, answered = evidence.life, evidence.answered
        return (
            life is not None
            and bool(evidence.probes)
            and all(life <= answered.get(probe, -1) <= moment for probe in evidence.probes)
        )

    def _answered_by(self, board: str, moment: int) -> frozenset[str]:
        evidence = self._watches[board].evidence
        return frozenset(
            probe
            for probe, last in evidence.answered.items()
            if last >= moment - _OF_LATE_US
            and not any(last < look.up < moment and look.answer == "no" for look in evidence.looks[probe])
        )


def _lives(outcome: Outcome) -> bool:
    """Tell whether a board has given any sign of life; a refused connection is one, too."""
    return outcome.answer == "yes" or outcome.stack_up
