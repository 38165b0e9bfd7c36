"""The control wing put together: what decides about commands, and what it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from boardherd_agent.control.admission import Admission
from boardherd_agent.control.commands import Commander
from boardherd_agent.control.control_file import ControlFile, JournalAway
from boardherd_agent.control.cycle import Executor
from boardherd_agent.control.ending import Liveness
from boardherd_agent.control.errands import Errands, Watching
from boardherd_agent.control.journal import Journal
from boardherd_agent.control.life import Announce
from boardherd_agent.control.locks import Changed, Locks
from boardherd_agent.control.power import Sleep, Target
from boardherd_agent.control.proving import Proving, Witness
from boardherd_agent.control.recovery import Recovery
from boardherd_agent.control.safety import Safety
from boardherd_agent.control.tracing import Eyes, Tracer
from boardherd_agent.control.wiring import News, WiringBook
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import Inventory

_RETRY_S = 5.0

log = structlog.get_logger()


class Onlooking(Witness, Eyes, Protocol):
    """Who looks on when power is cut, for a command or for a trace."""


class Benchwork(Liveness, Watching, Protocol):
    """What the desk needs of the bench of relays and boards."""

    @property
    def targets(self) -> Mapping[str, Target]:
        """Everything that can be switched, by name."""
        ...

    @property
    def witness(self) -> Onlooking:
        """Who looks on when power is cut."""
        ...

    def in_use(self, board: str) -> str:
        """Return who uses ``board`` without a lock, in words; empty for nobody."""
        ...


class Desk:
    """Locks, interlocks and commands of one agent."""

    def __init__(
        self,
        pc: str,
        inventory: Inventory,
        bench: Benchwork,
        file: ControlFile,
        clock: Clock,
        *,
        server_offset: Callable[[], float],
        announce: Announce,
        lock_changed: Changed,
        drained: Callable[[], Awaitable[str]],
        wiring_changed: Callable[[News], None] = lambda _: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Put the wing together; nothing runs yet.

        Args:
            pc: this agent's id.
            inventory: the whole lab.
            bench: relays and boards of this agent.
            file: open control file.
            clock: this machine's clocks.
            server_offset: seconds by which the server's clock is ahead of ours.
            announce: tells the world of each step of a command.
            lock_changed: hears of every lock that is taken, extended or ended.
            drained: waits until what is spooled is delivered; returns what is left, in words.
            wiring_changed: hears what is new of the wiring of each board, and of all boards at the start.
            sleep: how to wait.
        """
        boards, admins = inventory.boards_of(pc), inventory.lab.admins
        self.locks = Locks(file, boards, admins, clock, server_offset, lock_changed)
        self.safety = Safety(file, boards, inventory.relays_of(pc), clock, sleep)
        self.wiring = WiringBook(file, boards, clock, wiring_changed)
        targets = bench.targets
        self.admission = Admission(
            agent=pc,
            everything=f"agent/{pc}",
            targets=targets,
            boards=boards,
            admins=admins,
            locks=self.locks,
            safety=self.safety,
            wiring=self.wiring,
            clock=clock,
            server_offset=server_offset,
            alive=bench.alive,
            in_use=bench.in_use,
            neighbours=_neighbours(inventory, pc),
        )
        self._drained = drained
        self.commander = Commander(
            self.admission,
            Journal(file, clock),
            Executor(
                clock,
                bench,
                self.safety,
                Proving(self.wiring, bench.witness),
                Tracer(clock, self.safety, self.wiring, bench.witness, targets, sleep),
                sleep,
            ),
            Recovery(clock, self.safety, sleep),
            Errands(self.locks, self.wiring, self.admission, bench, self._finished),
            announce,
            clock,
        )

    def may_restore(self, relay: str, port: int) -> bool:
        """Tell whether a port may be brought back after an outage: nobody holds it, nothing is under way on it."""
        return self.admission.may_restore(relay, port) and not self.commander.busy(relay, port)

    async def run(self) -> None:
        """Take up what is remembered, then decide about commands until cancelled."""
        loaded = await self._loaded()
        async with asyncio.TaskGroup() as tasks:
            if not loaded:
                tasks.create_task(self._load_later(), name="memory of locks and interlocks")
            tasks.create_task(self.locks.run(), name="locks")
            tasks.create_task(self.commander.run(), name="commands")

    async def _load_later(self) -> None:
        loaded = False
        while not loaded:
            await asyncio.sleep(_RETRY_S)
            loaded = await self._loaded()

    async def _loaded(self) -> bool:
        try:
            await self.locks.load()
            await self.safety.load()
            await self.wiring.load()
        except JournalAway as away:
            log.warning("every board counts as locked until the journal can be used", why=str(away))
            return False
        return True

    async def _finished(self) -> str:
        while self.commander.under_way:  # noqa: ASYNC110 - commands end in many places
            await asyncio.sleep(0.1)
        return await self._drained()


def _neighbours(inventory: Inventory, pc: str) -> dict[str, str]:
    """Return the relays that boards of other PCs use too, each with those boards in words."""
    own = inventory.boards_of(pc)
    users: dict[str, list[str]] = {}
    for board, config in inventory.lab.board.items():
        if board not in own:
            for relay in {wire.relay for wire in config.wires}:
                users.setdefault(relay, []).append(f"{board} of {config.pc}" if config.pc else board)
    return {relay: ", ".join(boards) for relay, boards in users.items()}
