"""The control wing in a world made by hand: time passes at once, and the process can die or freeze anywhere.

What is real is the wing. Its file is SQLite in memory, which outlives the wing as a disk outlives a process; its
relay is a module that keeps its own log of every contact that moved. Every journal write and every device call is
a *point* at which the process can be killed or frozen: before it has an effect, and after.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boardherd_agent.control.commands import Request
from boardherd_agent.control.control_file import ControlFile, JournalAway, Rows, Values
from boardherd_agent.control.desk import Desk
from boardherd_agent.control.power import Target, targets_of
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.watch.witnessing.witness import Witness
from boardherd_shared.command import CommandStep
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import BoardConfig
from boardherd_shared.locks import Lock
from boardherd_shared.records import BootTimes, Power
from support.hand_loop import HandLoop, Killed, Points, WorldClock
from support.wired import witness_of

PC = "pc-01"
LAB = """
site = "lab"
pc.pc-01 = {}
defaults.board = { pc = "pc-01", min_off = "2s" }
relay.eth-1 = { kind = "devantech", address = "127.0.0.1" }
[board.evm-07]
power = ["eth-1:3"]
lines.reset = { port = "eth-1:6", pulse = "300ms" }
[board.evm-08]
min_off = "6s"
power = ["eth-1:4", { port = "eth-1:5", after = "1.5s" }]
[board.evm-09]
power = ["eth-1:8"]
"""
_JUST_NOW_S = 0.005
"""So long the worker takes what it has read ahead of a switch for the state before it."""


@dataclass(frozen=True)
class Asking:
    """How the owner of the device came to move a contact."""

    at: float
    by: str
    """Whom it was told; empty when nobody asked."""
    locks: Mapping[str, Lock] = field(default_factory=dict)
    """The locks that the disk held at that moment, by board."""


@dataclass(frozen=True)
class Move:
    """One movement of one contact."""

    port: int
    power: Power
    at: float
    cause: Asking


@dataclass
class Module:
    """The relay module: it outlives every process, and its log is what the oracle believes."""

    clock: WorldClock
    ports: dict[int, Power]
    moves: list[Move] = field(default_factory=list)
    offline: bool = False
    loses_answers: bool = False
    """It does what it is asked, and nobody hears that it did."""
    delay: float = 0.0
    max_pulse_s: float = 0.0
    _pulses: dict[int, tuple[float, Power, Asking]] = field(default_factory=dict)

    def state(self, port: int) -> Power:
        """Return what a contact is now."""
        self.settle()
        return self.ports[port]

    def set(self, port: int, power: Power, cause: Asking, hold: float = 0.0) -> None:
        """Move a contact; after ``hold`` seconds, if given, it moves back by itself."""
        self.settle()
        self._pulses.pop(port, None)
        self._move(port, power, self.clock.now, cause)
        if hold:
            back = Power.ON if power is Power.OFF else Power.OFF
            self._pulses[port] = (self.clock.now + hold, back, cause)

    def settle(self) -> None:
        """End the pulses that are over by now."""
        for port, (at, power, cause) in list(self._pulses.items()):
            if at <= self.clock.now:
                del self._pulses[port]
                self._move(port, power, at, cause)

    def _move(self, port: int, power: Power, at: float, cause: Asking) -> None:
        if self.ports[port] is not power:
            self.ports[port] = power
            self.moves.append(Move(port, power, at, cause))


@dataclass(frozen=True)
class Switched:
    before: Power
    observed: Power


@dataclass(frozen=True)
class Known:
    observed: Power
    measurable: bool = True


class Owner:
    """Stands for the relay's worker in one run of the process."""

    def __init__(self, module: Module, points: Points, locks: Callable[[], Mapping[str, Lock]]) -> None:
        self._module, self._points, self._locks = module, points, locks
        self.maintenance = ""
        self._turn = asyncio.Lock()
        self._known = dict.fromkeys(module.ports, Power.UNKNOWN)
        self._asked: dict[int, Power] = {}
        self._looked_at = float("-inf")
        self.saw: Callable[[int, bool], None] = lambda _port, _on: None
        """Is told of a port that was measured to have changed, and whether it is on."""

    async def run(self) -> None:
        """Read the module every second."""
        while True:
            with contextlib.suppress(DeviceOffline):
                for port in self._module.ports:
                    await self.read(port)
            await asyncio.sleep(1.0)

    async def read(self, port: int) -> Power:
        async with self._turn:
            return await self._measure(port)

    async def look(self, port: int) -> None:
        with contextlib.suppress(DeviceOffline):
            await self.read(port)
            self._looked_at = self._module.clock.now

    async def switch(
        self, port: int, power: Power, *, by: str, still_wanted: Callable[[], None] = lambda: None
    ) -> Switched:
        return await self._drive(port, power, by, wanted=still_wanted)

    async def toggle(
        self, port: int, *, by: str, still_wanted: Callable[[], None] = lambda: None
    ) -> Switched:
        return await self._drive(port, None, by, wanted=still_wanted)

    async def pulse(
        self,
        port: int,
        power: Power,
        seconds: float,
        *,
        by: str,
        still_wanted: Callable[[], None] = lambda: None,
    ) -> Switched:
        return await self._drive(port, power, by, hold=seconds, wanted=still_wanted)

    async def restore(self, port: int, *, by: str) -> Switched:
        if port not in self._asked:
            raise DeviceRefused("nothing was ever asked of it")
        return await self._drive(port, self._asked[port], by)

    async def accept(self, port: int, *, by: str) -> Power:
        self._asked[port] = await self.read(port)
        return self._asked[port]

    def can_pulse(self, port: int, seconds: float) -> bool:
        return 0 < seconds <= self._module.max_pulse_s

    def status(self, port: int) -> Known:
        return Known(self._known[port])

    async def _drive(
        self,
        port: int,
        power: Power | None,
        by: str,
        hold: float = 0.0,
        wanted: Callable[[], None] = lambda: None,
    ) -> Switched:
        cause = Asking(self._module.clock.now, by, self._locks())
        async with self._turn:
            before = self._known[port]
            if (
                power is None
                or before is Power.UNKNOWN
                or self._module.clock.now - self._looked_at > _JUST_NOW_S
            ):
                before = await self._measure(port)
            if power is None:
                power = Power.OFF if before is Power.ON else Power.ON
            await asyncio.sleep(self._module.delay)
            self._points.check()
            wanted()
            self._answers(port)
            self._asked[port] = power
            self._module.set(port, power, cause, hold)
            await self._points.reach()
            if self._module.loses_answers:
                self._known[port] = Power.UNKNOWN
                raise DeviceOffline("eth-1 did not answer")
            return Switched(before, await self._measure(port))

    async def _measure(self, port: int) -> Power:
        await self._points.reach()
        await asyncio.sleep(self._module.delay)
        self._answers(port)
        state = self._module.state(port)
        if state is not self._known[port]:
            self._known[port] = state
            self.saw(port, state is Power.ON)
        await self._points.reach()
        return state

    def _answers(self, port: int) -> None:
        if self._module.offline:
            self._known[port] = Power.UNKNOWN
            raise DeviceOffline("eth-1 does not answer")


class _MemoryFile(ControlFile):
    """The control file of one run of the process, in a database that outlives it.

    As in the real one, everything is done in the order in which it was asked for, and what nobody waits for a
    moment later: a death in between takes it along.
    """

    def __init__(self, db: sqlite3.Connection, points: Points) -> None:
        super().__init__(Path("control.db"))
        self.unsettled = False
        self._memory, self._points = db, points
        self._asked: deque[tuple[str, Values, asyncio.Future[tuple[int, Rows]]]] = deque()
        self.fails = ""
        """Statements with this in them cannot be executed now."""
        self._work: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Finish what was asked for."""
        if self._work:
            await self._work

    def _ask(
        self, statement: str, values: Values, synchronous: int | None
    ) -> asyncio.Future[tuple[int, Rows]]:
        self._points.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[int, Rows]] = loop.create_future()
        if self.fails and self.fails in statement:
            done.set_exception(JournalAway("the disk is away"))
            return done
        self._asked.append((statement, values, done))
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._do_asked(), name="control file")
        return done

    async def _do_asked(self) -> None:
        with contextlib.suppress(Killed):
            while self._asked:
                statement, values, done = self._asked.popleft()
                await self._points.reach()
                cursor = self._memory.execute(statement, values)
                answer = cursor.rowcount, cursor.fetchall()
                await self._points.reach()
                if not done.done():
                    done.set_result(answer)


@functools.cache
def _schema() -> tuple[str, ...]:
    """Return the statements that make a control file, as the real one has them."""

    async def begin(path: Path) -> list[tuple[Any, ...]]:
        async with ControlFile(path) as file:
            return await file.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")

    loop = asyncio.new_event_loop()
    try:
        with tempfile.TemporaryDirectory() as directory:
            return tuple(sql for (sql,) in loop.run_until_complete(begin(Path(directory) / "control.db")))
    finally:
        loop.close()


class _Bench:
    """What is watched and what can be switched, in one run of the process."""

    def __init__(self, boards: Mapping[str, BoardConfig], owner: Owner, witness: Witness) -> None:
        self.targets: Mapping[str, Target] = targets_of(boards, lambda _: owner, f"agent/{PC}")
        self.witness = witness

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        await asyncio.sleep(min(timeout, 3.0))
        return BootTimes(ssh_s=3.0)

    def describe(self, board: str) -> str:
        return "silent"

    def alive(self, board: str) -> bool:
        return True

    def in_use(self, board: str) -> str:
        return ""

    async def probe(self, board: str) -> str:
        return f"{board}: silent"

    def vacated(self, board: str) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def report(self) -> str:
        return "told everything"


@dataclass(frozen=True)
class Word:
    """Something that the agent said."""

    at: float
    step: CommandStep
    measured: dict[int, Power]
    """What the contacts were at that moment."""


class Wing:
    """The wing, its disk, its module, its clock; and everything that it said."""

    def __init__(self, *, native: bool = False) -> None:
        self.clock = WorldClock()
        self.loop = HandLoop(self.clock)
        self.loop.set_exception_handler(lambda _loop, _context: None)  # a dead process does not complain
        self.inventory = Inventory.parse(LAB)
        self.module = Module(
            self.clock,
            {3: Power.ON, 4: Power.ON, 5: Power.ON, 6: Power.OFF, 8: Power.ON},
            max_pulse_s=25.5 if native else 0.0,
        )
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for statement in _schema():
            self.db.execute(statement)
        self.server_offset = 0.0
        self.swapped: dict[str, str] = {}
        """For each board whose ports really feed it, where those are not its own."""
        self.words: list[Word] = []
        self._in_force: set[str] = set()
        self.points = Points()
        self._desk: Desk | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._desk is not None and not self.points.dead

    def start(self) -> None:
        """Start the process on what the disk holds."""
        self.points = points = Points()
        self._in_force |= {lock.id for lock in self.locks().values()}
        self.file = _MemoryFile(self.db, points)
        owner, boards = Owner(self.module, points, self._heeded), self.inventory.boards_of(PC)
        witness = witness_of(PC, boards, self.clock, self.module.state, lambda: self.swapped)

        async def sleep(seconds: float) -> None:
            points.check()
            await asyncio.sleep(seconds)
            points.check()

        async def drained() -> str:
            return "drained"

        def announce(step: CommandStep) -> None:
            points.check()
            self.module.settle()
            self.words.append(Word(self.clock.now, step, dict(self.module.ports)))

        def lock_changed(board: str, lock: Lock, ended: str) -> None:
            points.check()
            self._in_force.add(lock.id)

        desk = Desk(
            PC,
            self.inventory,
            _Bench(boards, owner, witness),
            self.file,
            self.clock,
            server_offset=lambda: self.server_offset,
            announce=announce,
            lock_changed=lock_changed,
            drained=drained,
            sleep=sleep,
        )
        owner.saw = lambda port, on: desk.safety.observed(("eth-1", port), on=on)
        self._desk = desk
        self._tasks = [
            self.loop.create_task(owner.run(), name="relay"),
            self.loop.create_task(desk.run(), name="desk"),
            self.loop.create_task(witness.run(), name="witness"),
        ]

    def submit(
        self, payload: bytes, operator: str, *, board: str | None = None, retained: bool = False
    ) -> None:
        """Hand the process a message that has just arrived."""
        assert self._desk
        received = self.clock.wall() / 1e6
        self._desk.commander.submit(Request(payload, operator, board, retained, received))

    def run(self, seconds: float) -> None:
        """Let time pass; if the process dies meanwhile, what is left of it is buried."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        if self.points.dead:
            self.bury()

    def kill(self) -> None:
        """Kill the process now."""
        self.points.die()
        self.bury()

    def stop(self) -> None:
        """Stop the process as SIGTERM does: the wing first, then the relay's owner."""
        desk = self._tasks[1]
        desk.cancel()
        self.loop.run_until_complete(asyncio.gather(desk, return_exceptions=True))
        self.loop.run_until_complete(self.file.close())
        self.kill()

    def freeze(self, seconds: float) -> None:
        """Let time pass in which the process does nothing at all."""
        self.clock.now += seconds

    def bury(self) -> None:
        """End the tasks of a dead process, without any time passing."""
        with self._time_stopped():
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._desk, self._tasks = None, []

    @contextlib.contextmanager
    def _time_stopped(self) -> Iterator[None]:
        now = self.clock.now
        yield
        self.clock.now = now

    def locks(self) -> dict[str, Lock]:
        """Return the locks that the disk holds and that are not over by the agent's own time, by board."""
        now = self.clock.wall() + self.server_offset * 1e6
        rows = self.db.execute("SELECT board, lock FROM locks").fetchall()
        locks = {board: Lock.model_validate_json(text) for board, text in rows}
        return {board: lock for board, lock in locks.items() if lock.until > now}

    def _heeded(self) -> dict[str, Lock]:
        """Return the locks that nobody may disregard any more: one that is just being written is not granted yet."""
        return {board: lock for board, lock in self.locks().items() if lock.id in self._in_force}

    def story(self, last: int = 25) -> str:
        """Return the last things that were said and moved, a line each, for whoever looks for a fault."""
        lines = [(w.at, f"{w.step.id} {w.step.state} {w.step.phase} {w.step.text}") for w in self.words]
        lines += [(m.at, f"        {m.port} {m.power.upper()}, asked {m.cause}") for m in self.module.moves]
        return "\n".join(f"{at:10.3f} {text}" for at, text in sorted(lines, key=lambda line: line[0])[-last:])

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self.loop.close()
        self.db.close()
