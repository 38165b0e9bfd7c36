"""Getting a board that nobody else has: choosing, trying, waiting, and giving it back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from boardherd.availability import hindrance, suits
from boardherd.exit_codes import Exit, Failure, Silence
from boardherd.tables import ago
from boardherd.targets import Target, board_of
from boardherd_shared.command import Action, Command, CommandStep, Refusal, State
from boardherd_shared.views import BoardView, FleetView

_LOOK_S = 2.0
"""How often the fleet is asked whether something has become free."""

_AGAIN_S = 6.0
"""How long a board is left alone that could not be had although it looked free."""

_NAMED = 4
"""How many boards that are waited for are named."""


@dataclass(frozen=True)
class Wanted:
    """Which boards will do."""

    platform: str | None = None
    capabilities: Collection[str] = ()
    board: str | None = None

    def among(self, fleet: FleetView) -> list[BoardView]:
        """Return every board that will do, whatever its state; raises Failure when the lab has none."""
        boards = [board_of(fleet, self.board)] if self.board else fleet.boards
        found = [board for board in boards if suits(board, self.platform, self.capabilities)]
        if not found:
            raise Failure(Exit.USAGE, f"the lab has no {self}")
        return found

    def __str__(self) -> str:
        """Return "board j721e with CMD and CAMERA"."""
        able = f" with {' and '.join(self.capabilities)}" if self.capabilities else ""
        of = f" of platform {self.platform}" if self.platform else ""
        return f"board{f' {self.board}' if self.board else ''}{of}{able}"


@dataclass(frozen=True)
class Held:
    """A board that is ours for a while."""

    board: BoardView
    target: Target
    lock: str
    until: float
    """When the lock ends by itself, Unix seconds of the server's clock."""
    sure_until: float
    """The same by this process's monotonic clock, counted from before the lock was asked for."""


class Asked(Protocol):
    """What is needed of a lab; :class:`boardherd.client.Client` is one."""

    async def fleet(self) -> FleetView:
        """Return the current fleet; raises Failure."""
        ...

    def send(self, command: Command, target: Target) -> AsyncGenerator[CommandStep]:
        """Send a command and yield its steps; raises Failure."""
        ...


@dataclass
class Acquirer:
    """Takes boards for one operator. ``tell`` hears what is waited for, whenever that changes."""

    lab: Asked
    terms: Command
    """The lock command, without its board."""
    tell: Callable[[str], None]
    look_s: float = _LOOK_S
    again_s: float = _AGAIN_S
    _left_alone: dict[str, tuple[float, str]] = field(default_factory=dict)
    _hopeless: dict[str, str] = field(default_factory=dict)
    _told: str = ""

    async def acquire(self, wanted: Wanted, wait: float) -> Held:
        """Return the first board that can be had within ``wait`` seconds; raises Failure in words."""
        end = time.monotonic() + wait
        fleet: FleetView | None = await self.lab.fleet()
        while True:
            why = "the lab cannot be seen now"
            if fleet is not None:
                boards = wanted.among(fleet)
                if held := await self._try_all(boards, fleet):
                    return held
                why = self._why(boards, fleet)
                if len(self._hopeless) == len(boards):
                    raise Failure(Exit.REFUSED, f"no {wanted} can be had: {why}")
            left = end - time.monotonic()
            if left <= 0:
                waited = f" within {ago(wait)}" if wait else ""
                raise Failure(Exit.REFUSED, f"no {wanted} was free{waited}: {why}")
            if fleet is not None:
                self._say(f"waiting up to {ago(left)} more for a {wanted}: ", why)
            await asyncio.sleep(min(self.look_s, left))
            fleet = await self._look()

    async def renew(self, held: Held) -> Held:
        """Extend the lock on ``held``; raises Failure: REFUSED when it is lost, else when nobody answered."""
        step, asked_at = await self._send(held.target, self.terms.model_copy(update={"lock": held.lock}))
        if step.state is not State.SUCCEEDED:
            raise Failure(Exit.REFUSED, step.text)
        return self._held(held.board, held.target, step, asked_at)

    async def release(self, held: Held) -> None:
        """Give the board back; raises Failure when that was not possible."""
        step, _ = await self._send(held.target, Command(action=Action.UNLOCK, lock=held.lock))
        if step.state is not State.SUCCEEDED and step.code is not Refusal.NOT_LOCKED:
            raise Failure(Exit.REFUSED, step.text)

    async def _look(self) -> FleetView | None:
        """Return the fleet, or None while it cannot be seen: that passes, and the wait goes on."""
        try:
            return await self.lab.fleet()
        except Failure as failure:
            self._say("", failure.message)
            return None

    async def _try_all(self, boards: list[BoardView], fleet: FleetView) -> Held | None:
        """Try what looks free, in no fixed order so that not everybody wants the same one."""
        now = time.monotonic()
        free = [
            board
            for board in boards
            if not hindrance(board, fleet)
            and board.id not in self._hopeless
            and self._left_alone.get(board.id, (0.0, ""))[0] <= now
        ]
        for board in random.sample(free, len(free)):
            if held := await self._try(board, fleet.site):
                return held
        return None

    async def _try(self, board: BoardView, site: str) -> Held | None:
        target = Target(site, board.pc or "", board=board.id)
        try:
            step, asked_at = await self._send(target, self.terms)
        except Silence:
            self._leave(board, f"{board.pc} does not answer")
            return None
        if step.state is State.SUCCEEDED:
            return self._held(board, target, step, asked_at)
        if step.code in {Refusal.INVALID, Refusal.FORBIDDEN}:
            self._hopeless[board.id] = step.text
        self._leave(board, step.text)
        return None

    def _leave(self, board: BoardView, why: str) -> None:
        self._left_alone[board.id] = time.monotonic() + self.again_s, why

    def _held(self, board: BoardView, target: Target, step: CommandStep, asked_at: float) -> Held:
        if step.lock is None or step.until is None:
            raise Failure(Exit.HARDWARE, f"{step.agent} locked {board.id} without saying how")
        return Held(board, target, step.lock, step.until, asked_at + (self.terms.for_ or 0.0))

    async def _send(self, target: Target, command: Command) -> tuple[CommandStep, float]:
        """Return the last step of a command, and when it was sent by the monotonic clock; raises Failure."""
        asked_at, last = time.monotonic(), None
        async with contextlib.aclosing(self.lab.send(command, target)) as steps:
            async for step in steps:
                last = step
        assert last is not None
        return last, asked_at

    def _why(self, boards: list[BoardView], fleet: FleetView) -> str:
        """Return what keeps each board from being had: "evm-01 (locked by ci-1 until 14:05), evm-02 (silent)"."""
        reasons = [(board.id, hindrance(board, fleet) or self._refusal(board.id)) for board in boards]
        named = [f"{id_} ({why})" for id_, why in reasons[:_NAMED]]
        more = len(reasons) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def _refusal(self, board: str) -> str:
        return self._left_alone.get(board, (0.0, "was taken by somebody else"))[1]

    def _say(self, before: str, why: str) -> None:
        """Tell what is waited for, if it is something else than before."""
        if why != self._told:
            self._told = why
            self.tell(before + why)
