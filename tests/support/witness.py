"""Somebody who looks on at cuts of power and sees what the test tells him to see."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from boardherd_agent.control.wiring import Found
from boardherd_agent.watch.witnessing.wiring import Finding


@dataclass
class FakeObservation:
    """One cut that is looked on at."""

    board: str
    tell: Callable[[Found], None]
    finding: Finding | None = None
    """What is found when the board is on again, or off for good."""
    seen: list[str] = field(default_factory=list)
    """What it was told, in order."""

    def went_off(self, length_s: float | None = None) -> None:
        self.seen.append("off" if length_s is None else f"off for {length_s:g} s")
        if length_s is None and self.finding:
            self.tell(self.finding)

    def came_on(self) -> None:
        self.seen.append("on")
        if self.finding:
            self.tell(self.finding)

    def leave(self) -> None:
        self.seen.append("left")

    async def last_word(self) -> Finding | None:
        self.seen.append("asked")
        return self.finding


@dataclass
class FakeWitness:
    """Looks on, and finds what ``findings`` say of each board; nothing of the others."""

    findings: dict[str, Finding] = field(default_factory=dict)
    observations: list[FakeObservation] = field(default_factory=list)
    hold_up_s: float = 1.0
    alive: set[str] = field(default_factory=set)
    """Boards that answer while they have power."""
    lives: Callable[[str], bool] = lambda _board: True
    """Tells whether a board has power."""
    booted: Callable[[int], set[str]] = lambda _since: set()
    """Returns the boards whose console has begun a boot since then."""

    def begin(self, board: str, tell: Callable[[Found], None]) -> FakeObservation:
        observation = FakeObservation(board, tell, self.findings.get(board))
        self.observations.append(observation)
        return observation

    async def answering(self, within_s: float) -> set[str]:
        return {board for board in self.alive if self.lives(board)}

    async def silent(self, boards: Collection[str], within_s: float) -> set[str]:
        return {board for board in boards if not self.lives(board)}
