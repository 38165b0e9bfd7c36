"""The interlocks as one command meets them, at the moments before a port moves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from boardherd_agent.control.life import Life
from boardherd_agent.control.safety import Port, Safety
from boardherd_shared.command import State

_WORTH_SAYING_S = 0.2
"""A wait for one's turn that is shorter than this is no news."""


class TooEarlyError(Exception):
    """The board turned out to be off, and since only just now."""


@dataclass
class Gate:
    """The interlocks as one command meets them: whether it is still wanted is asked before the first port moves."""

    life: Life
    safety: Safety
    rested: bool = False
    """Whether the board must have been off for long enough: asked with the device's own word of this moment."""
    each: bool = False
    """Whether that goes for every port, not for the first alone: one may be pressed off between two feeds."""
    begun: bool = False
    """Whether a port has moved: what was begun is brought to its end."""

    @contextlib.asynccontextmanager
    async def turn(self, port: Port) -> AsyncIterator[None]:
        """Wait for the port's turn among those of its supply, and say so; it is switched on inside the block."""
        await self._say_wait(self.safety.turn_left(port))
        async with self.safety.turn(port, self.check):
            yield

    async def went_off(self, port: Port) -> None:
        """Note that a port went off."""
        await self.safety.went_off(port)

    async def _say_wait(self, left: float) -> None:
        if left >= _WORTH_SAYING_S:
            text = f"{self.life.target.label} waits {left:.1f} s: boards behind one supply come on one by one"
            await self.life.step(State.RUNNING, text, phase="stagger", times={"wait_s": left})

    def check(self) -> None:
        """Raise Refused or TooEarlyError if the command may not move anything any more, or not yet."""
        if not self.begun:
            self.life.still_wanted()
        elif not self.each:
            return
        target = self.life.target
        if self.rested and self.safety.off_left(target.board, target.ports) > 0:
            raise TooEarlyError

    def moved(self) -> None:
        """Note that a port has moved."""
        self.begun = True
