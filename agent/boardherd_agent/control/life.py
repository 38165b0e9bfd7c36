"""The life of one command: makes its steps, journals them, tells of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from boardherd_agent.control.journal import Journal, JournalAway
from boardherd_agent.control.power import Target
from boardherd_shared.clock import Clock
from boardherd_shared.command import Command, CommandStep, State
from boardherd_shared.records import Power
from boardherd_shared.values import one_line

Announce = Callable[[CommandStep], None]

log = structlog.get_logger()


@dataclass
class Life:
    """One command that was accepted, from there to its final step."""

    command: Command
    target: Target
    operator: str
    agent: str
    command_id: str
    journal: Journal
    announce: Announce
    clock: Clock
    still_wanted: Callable[[], None] = lambda: None
    """Raises Refused when the command may not begin any more: too late, or its sender has lost the board."""
    still_held: Callable[[], None] = lambda: None
    """Raises Refused when the sender has lost a board since; for what switches several boards one after the other."""
    before: Power | None = None
    asked: Power | None = None
    ended: bool = False
    ended_by: str = ""
    """Why it is being ended from outside, when that is not the agent's stop: "off by ops1"."""

    remark: str = ""
    """What the final step adds: what was left out, and why; what was learned on the way."""

    @property
    def by(self) -> str:
        """Who is named as having switched: the sender, and the person a service acts for."""
        person = self.command.on_behalf_of
        return f"{person} via {self.operator}" if person else self.operator

    def make(self, state: State, text: str, **more: object) -> CommandStep:
        """Return a step of this command."""
        return CommandStep(
            id=self.command_id,
            state=state,
            action=self.command.action,
            target=self.target.name,
            agent=self.agent,
            operator=self.operator,
            on_behalf_of=self.command.on_behalf_of,
            reason=self.command.reason,
            at=self.clock.wall() / 1e6,
            text=one_line(text),
            before=self.before,
            asked=self.asked,
            **more,  # type: ignore[arg-type]
        )

    async def step(self, state: State, text: str, **more: object) -> None:
        """Take a step: into the journal, and to everybody who listens.

        A phase is in the journal before it begins. An end is told while it is written: a crash in between is to
        the journal one that came a moment earlier.
        """
        step = self.make(state, text, **more)
        if step.final:
            self.journal.note_later(step, self._not_noted)
        else:
            await self._note(self.journal.note(step))
        self._tell(step)

    def tell(self, text: str, **more: object) -> None:
        """Tell of a running step that the journal need not know: what is asked for is in the intent."""
        self._tell(self.make(State.RUNNING, text, **more))

    async def went_off(self, text: str, **more: object) -> None:
        """Take the step at which the board of a cycle is off, and write down the moment."""
        step = self.make(State.RUNNING, text, **more)
        await self._note(self.journal.note_off(step))
        self._tell(step)

    def _tell(self, step: CommandStep) -> None:
        self.ended = step.final
        self.announce(step)

    async def _note(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write to the journal if that is possible: a disk that fills up in mid-cycle must not leave a board dark."""
        try:
            await writing
        except JournalAway as away:
            self._not_noted(away)

    def _not_noted(self, away: JournalAway) -> None:
        log.warning("a step could not be journalled", command=self.command_id, why=str(away))
