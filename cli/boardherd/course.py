"""What to say while a command runs: its steps, its waits, and the board coming back to life. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boardherd.tables import Tone
from boardherd_shared.command import CommandStep, State
from boardherd_shared.messages import BoardState
from boardherd_shared.records import Verdict

_TONE: dict[State, Tone] = {
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.INTERRUPTED: "bad",
    State.REFUSED: "warn",
    State.EXPIRED: "warn",
}
_VERDICT_TONE: dict[Verdict, Tone] = {Verdict.ALIVE: "good", Verdict.DEGRADED: "warn", Verdict.SILENT: "bad"}

_WAITS = ("dwell_s", "wait_s")
"""The times of a step that say how long it lasts; they are counted down."""


@dataclass(frozen=True)
class Line:
    """One thing that happened, for a line of its own."""

    after: float
    """Seconds since the command was sent."""
    word: str
    text: str
    tone: Tone = "strong"

    def __str__(self) -> str:
        """Return ``   5.1 s  dwell     off, waiting, 5 s``."""
        return f"{self.after:6.1f} s  {self.word:<9} {self.text}"


class Course:
    """Follows one command. Times are seconds since it was sent; an agent's clock is compared with itself only."""

    def __init__(self, title: str) -> None:
        """Begin before anybody has answered; ``title`` is what was asked for: "cycle evm-07"."""
        self._text = f"{title}: sent, waiting for an answer"
        self._until: float | None = None
        self._on_at: float | None = None
        """When the agent began to wait for the board to come alive, by its own clock."""
        self._signs: set[str] = set()
        self._aside = ""

    def take(self, step: CommandStep, after: float) -> Line | None:
        """Take in a step; returns the line it is worth, none for the last one, which is the result itself."""
        self._text = step.text
        wait = max((step.times.get(name, 0.0) for name in _WAITS), default=0.0)
        self._until = after + wait if wait else None
        self._aside = ""
        if step.phase == "waiting":
            self._on_at = step.at
        if step.final:
            return None
        return Line(after, step.phase or step.state.value, step.text, _TONE.get(step.state, "strong"))

    def sight(self, state: BoardState, after: float) -> list[Line]:
        """Take in what is said of the board; returns a line for each sign of life since it was switched on."""
        record = state.record
        self._aside = f"; {state.text}" if record.verdict is Verdict.BOOTING else ""
        if self._on_at is None or record.at / 1e6 < self._on_at:
            return []
        lines = []
        for probe in record.probes:
            seen_at = probe.at / 1e6
            if probe.answer == "yes" and seen_at >= self._on_at and probe.probe not in self._signs:
                self._signs.add(probe.probe)
                took = f"{seen_at - self._on_at:.1f} s after power-on"
                lines.append(
                    Line(after, probe.probe, f"{took}: {probe.text}" if probe.text else took, "good")
                )
        verdict = record.verdict.value
        if (
            record.since / 1e6 >= self._on_at
            and record.verdict in _VERDICT_TONE
            and verdict not in self._signs
        ):
            self._signs.add(verdict)
            lines.append(Line(after, verdict, state.text, _VERDICT_TONE[record.verdict]))
        return lines

    def present(self, after: float) -> str:
        """Return what is going on, with the seconds that are left of a wait."""
        if self._until is None:
            return self._text + self._aside
        return f"{self._text}, {max(0, math.ceil(self._until - after))} s left"
