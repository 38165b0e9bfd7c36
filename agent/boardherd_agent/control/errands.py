"""Commands that move nothing: lock, unlock, set, probe, report, accept, drain. Each is one step and done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from boardherd_agent.control.admission import Admission
from boardherd_agent.control.life import Life
from boardherd_agent.control.locks import Locks
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.wiring import WiringBook
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.command import Action, Refusal, State


class Watching(Protocol):
    """What the watching side does on request."""

    async def probe(self, board: str) -> str:
        """Look at ``board`` now, and return the verdict in words."""
        ...

    def vacated(self, board: str) -> AbstractAsyncContextManager[None]:
        """Have the console of ``board`` closed and kept closed meanwhile; the lock that is taken in it goes on."""
        ...

    def report(self) -> str:
        """Tell everything that is known once more, and return how much that was, in words."""
        ...


@dataclass(frozen=True)
class Errands:
    """Carries out what needs no relay."""

    locks: Locks
    wiring: WiringBook
    admission: Admission
    watching: Watching
    drained: Callable[[], Awaitable[str]]
    """Waits until what is under way has ended and what is spooled is delivered; returns what is left, in words."""

    async def run(self, life: Life) -> None:
        """Do it; the final step says what came of it. A refusal by the lock book is raised as Refused."""
        try:
            await self._act(life)
        except DeviceError as error:
            await life.step(State.FAILED, f"{life.target.label}: {error}")

    async def _act(self, life: Life) -> None:
        match life.command.action:
            case Action.LOCK:
                await self._lock(life)
            case Action.UNLOCK:
                await self._unlock(life)
            case Action.SET:
                await self._set(life)
            case Action.PROBE:
                await life.step(State.SUCCEEDED, await self.watching.probe(life.target.board))
            case Action.ACCEPT:
                await self._accept(life)
            case Action.REPORT:
                await life.step(State.SUCCEEDED, self.watching.report())
            case Action.DRAIN:
                await self._drain(life)
            case action:
                raise Refused(Refusal.UNSUPPORTED, f"this agent does not know {action}")

    async def _lock(self, life: Life) -> None:
        board = life.target.board
        before = self.locks.of(board)
        self.locks.check(board, life.operator, life.command.lock)
        async with self.watching.vacated(board):
            lock = await self.locks.take(board, life.operator, life.command)
        until = datetime.fromtimestamp(lock.until / 1e6, UTC)
        verb = "extended" if before else "locked"
        text = f"{board} is {verb} for {lock.owner} ({lock.use}) until {until:%Y-%m-%d %H:%M} UTC"
        await life.step(State.SUCCEEDED, text, lock=lock.id, until=lock.until / 1e6)

    async def _unlock(self, life: Life) -> None:
        board = life.target.board
        lock = await self.locks.release(board, life.operator, life.command)
        if lock is None:
            text = f"{board} was not locked"
        elif lock.owner == life.operator:
            text = f"{board} is free"
        else:
            text = f"{board} is free; the lock of {lock.owner} ({lock.use}) was ended by force"
        await life.step(State.SUCCEEDED, text)

    async def _set(self, life: Life) -> None:
        command = life.command
        facts = {"sdk_version": command.sdk_version, "note": command.note}
        told = {name: value for name, value in facts.items() if value is not None}
        if not told:
            raise Refused(Refusal.INVALID, "set needs sdk_version or note")
        text = f"{life.target.board}: " + ", ".join(f"{name} is {value}" for name, value in told.items())
        await life.step(State.SUCCEEDED, text, facts=told)

    async def _accept(self, life: Life) -> None:
        wiring = await self._accept_wiring(life)
        try:
            told = await self._accept_ports(life)
        except DeviceError as error:
            if not wiring:
                raise
            told = f"what the ports are could not be accepted: {error}"
        await life.step(State.SUCCEEDED, f"{life.target.label}: accepted as it is ({wiring}{told})")

    async def _accept_wiring(self, life: Life) -> str:
        """Take the suspect wiring of a board for right; returns that in words, empty where nothing is suspect."""
        board, reason = life.target.board, life.command.reason
        if not life.target.is_board or not self.wiring.suspect(board):
            return ""
        if not reason:
            raise Refused(Refusal.INVALID, f"the wiring of {board} is suspect; accepting that needs a reason")
        await self.wiring.accept(board, life.by, reason)
        return "its wiring, "

    async def _accept_ports(self, life: Life) -> str:
        feeds = life.target.feeds
        states = [await feed.worker.accept(feed.port, by=life.by) for feed in feeds]
        return ", ".join(
            f"{feed.relay}:{feed.port} {state}" for feed, state in zip(feeds, states, strict=True)
        )

    async def _drain(self, life: Life) -> None:
        self.admission.draining = True
        await life.step(State.RUNNING, "no more commands are taken; finishing what is under way")
        await life.step(State.SUCCEEDED, await self.drained())
