"""Locks: one board, one holder, until a deadline; kept in the control file and checked at the last hop.

A lock has a random id that is new each time it is taken. Whoever held an earlier one cannot act, however late
its commands arrive (fencing by equality). Times are the server's.

When the control file was begun anew, nobody here knows who held what. Until the mirror at the broker or a
person has said so, every board counts as locked; so it does before the file was read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from boardherd_agent.control.control_file import ControlFile, JournalAway
from boardherd_agent.control.refusal import Refused
from boardherd_shared.clock import Clock
from boardherd_shared.command import Command, Refusal
from boardherd_shared.lab import BoardConfig
from boardherd_shared.locks import BUSY, Lock
from boardherd_shared.values import one_line

DEFAULT_FOR_S = 3600.0
"""How long a lock lasts when nobody says."""

_LOOK_S = 1.0
"""How often it is looked whether a lock has ended."""

Changed = Callable[[str, Lock, str], None]
"""Told of a board whose lock was taken or extended (no text) or has ended (why)."""

log = structlog.get_logger()


class Locks:
    """The locks on the boards of this agent."""

    def __init__(
        self,
        file: ControlFile,
        boards: Mapping[str, BoardConfig],
        admins: Iterable[str],
        clock: Clock,
        server_offset: Callable[[], float],
        changed: Changed,
    ) -> None:
        """Make the book of locks; :meth:`load` fills it.

        Args:
            file: open control file.
            boards: the agent's boards, each with the longest lock it grants.
            admins: who may release what others hold; empty for everybody.
            clock: this machine's clocks.
            server_offset: seconds by which the server's clock is ahead of ours.
            changed: is told of every lock that is taken, extended or ended.
        """
        self._file, self._boards, self._admins = file, boards, frozenset(admins)
        self._clock, self._server_offset, self._changed = clock, server_offset, changed
        self._locks: dict[str, Lock] = {}
        self._one_change = asyncio.Lock()
        """What is decided on a lock and written down is one."""
        self._unsure = set(boards)
        self._mirror_read = self._complained = False

    async def load(self) -> None:
        """Take up what the control file holds; raises JournalAway."""
        rows = await self._file.rows("SELECT board, lock FROM locks")
        for board, text in rows:
            if board in self._boards:
                self._locks[board] = Lock.model_validate_json(text)
        if not self._file.unsettled:
            self._unsure.clear()

    @property
    def unsure(self) -> bool:
        """Whether the mirror has still to be read."""
        return bool(self._unsure)

    def of(self, board: str) -> Lock | None:
        """Return the lock on a board that holds now."""
        lock = self._locks.get(board)
        return lock if lock and lock.until > self._now() else None

    def check(self, board: str, operator: str, lock_id: str | None) -> None:
        """Return if ``operator`` may act on ``board``, naming ``lock_id``; else raises Refused."""
        if board in self._unsure:
            raise Refused(
                Refusal.LOCKED,
                f"who holds {board} is not known: this agent is new here, or its memory was lost. The broker will tell;"
                " without one, unlock it with force and a reason",
            )
        lock = self.of(board)
        if lock is None:
            if lock_id is not None:
                raise Refused(Refusal.NOT_LOCKED, f"the lock named by this command on {board} has ended")
        elif lock_id not in {None, lock.id}:
            raise Refused(Refusal.LOCKED, f"the lock named by this command has ended; {held(board, lock)}")
        elif lock.owner != operator or (lock.fenced and lock_id is None):
            hint = "; name the lock's id" if lock.owner == operator else ""
            raise Refused(Refusal.LOCKED, held(board, lock) + hint)

    async def take(self, board: str, operator: str, command: Command) -> Lock:
        """Lock a board, or extend the lock that the operator has; raises Refused or JournalAway."""
        async with self._one_change:
            return await self._take(board, operator, command)

    async def _take(self, board: str, operator: str, command: Command) -> Lock:
        seconds = self._duration(board, command)
        self.check(board, operator, command.lock)
        now = self._now()
        until = now + round(seconds * 1e6)
        mine = self.of(board)
        if mine and command.fenced and not mine.fenced:
            raise Refused(Refusal.LOCKED, f"{held(board, mine)}, without a fence; unlock it first")
        if mine:
            lock = mine.model_copy(update={"until": until, "use": command.use or mine.use})
        else:
            lock = Lock(
                id=secrets.token_hex(16),
                owner=operator,
                use=command.use or BUSY,
                fenced=command.fenced,
                since=now,
                until=until,
                reason=command.reason,
                on_behalf_of=command.on_behalf_of,
            )
        await self._keep(board, lock)
        return lock

    async def release(self, board: str, operator: str, command: Command) -> Lock | None:
        """End the lock on a board and return it, None if there was none; raises Refused or JournalAway.

        With ``force`` and a reason an admin ends whatever there is.
        """
        async with self._one_change:
            return await self._release(board, operator, command)

    async def _release(self, board: str, operator: str, command: Command) -> Lock | None:
        if command.force:
            self._check_force(operator, command.reason)
            self._unsure.discard(board)
        else:
            self.check(board, operator, command.lock)
        lock = self.of(board)
        if lock:
            forced = lock.owner != operator
            why = (
                f"released by force by {operator}: {command.reason}" if forced else f"released by {operator}"
            )
            await self._end(board, lock, why)
        return lock

    async def mirrored(self, board: str, lock: Lock | None) -> None:
        """Take what the broker's mirror holds of a board; heeded only after the control file was lost."""
        if board not in self._unsure:
            return
        if lock and lock.until > self._now():
            log.warning("a lock was taken up from the broker's mirror", board=board, owner=lock.owner)
            if not await self._written(self._keep(board, lock)):
                return
        self._unsure.discard(board)

    async def settled(self) -> None:
        """Note that the mirror has been read to its end: what it does not name is free."""
        self._mirror_read = True
        await self._settle()

    async def _settle(self) -> None:
        if self._mirror_read and self._unsure and await self._written(self._file.settle()):
            self._unsure.clear()

    async def run(self) -> None:
        """End each lock at its deadline, until cancelled."""
        while True:
            await self._settle()
            for board, lock in list(self._locks.items()):
                if lock.until <= self._now():
                    async with self._one_change:
                        if self._locks.get(board) == lock:  # not extended meanwhile
                            await self._written(self._end(board, lock, "its time was up"))
            await asyncio.sleep(_LOOK_S)

    async def _written(self, writing: Coroutine[Any, Any, None]) -> bool:
        """Tell whether a change of the book could be written down."""
        try:
            await writing
        except JournalAway as away:
            if not self._complained:
                log.warning("a change of a lock could not be written down", why=str(away))
            self._complained = True
            return False
        self._complained = False
        return True

    async def _keep(self, board: str, lock: Lock) -> None:
        await self._file.write("INSERT OR REPLACE INTO locks VALUES (?, ?)", (board, lock.model_dump_json()))
        self._locks[board] = lock
        self._changed(board, lock, "")

    async def _end(self, board: str, lock: Lock, why: str) -> None:
        await self._file.write("DELETE FROM locks WHERE board = ?", (board,))
        self._locks.pop(board, None)
        self._changed(board, lock, one_line(why))

    def _duration(self, board: str, command: Command) -> float:
        longest = self._boards[board].max_lock
        if command.for_ is None:
            return min(DEFAULT_FOR_S, longest)
        if command.for_ <= 0 or command.for_ > longest:
            raise Refused(
                Refusal.INVALID,
                f"{board} can be locked for at most {longest / 3600:g} h at a time (max_lock), and more than nothing",
            )
        return command.for_

    def _check_force(self, operator: str, reason: str | None) -> None:
        if not reason:
            raise Refused(Refusal.INVALID, "force needs a reason, for those who find their lock gone")
        if self._admins and operator not in self._admins:
            raise Refused(
                Refusal.FORBIDDEN, f"only {', '.join(sorted(self._admins))} may end what others hold (admins)"
            )

    def _now(self) -> int:
        return max(0, self._clock.wall() + round(self._server_offset() * 1e6))  # a clock may be set meanwhile


def held(board: str, lock: Lock) -> str:
    """Return who holds a board, in words: "evm-07 is locked by ci-1 for anna (busy: nightly) until 14:05 UTC"."""
    whom = f" for {lock.on_behalf_of}" if lock.on_behalf_of else ""
    what = f"{lock.use}: {lock.reason}" if lock.reason else lock.use
    until = datetime.fromtimestamp(lock.until / 1e6, UTC)
    return f"{board} is locked by {lock.owner}{whom} ({what}) until {until:%Y-%m-%d %H:%M} UTC"
