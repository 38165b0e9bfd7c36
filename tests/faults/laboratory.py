"""Agents, broker, collector and database as real processes, with a bad network between them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from faults.databases import Database
from faults.disks import SmallDisk
from faults.ledger import read_account
from faults.oracle import Verdict, judge
from faults.processes import Broker, Child
from faults.proxy import Conditions, FaultProxy

_POLL_S = 0.25
_MEMORY_S = 20.0
_START_S = 20.0


class System(Protocol):
    """What is on trial: how its parts are started, and how its database is read."""

    name: str
    broker_extra: str
    """What its broker's configuration says besides where to listen."""

    def agent(self, place: Path, agent: str, broker: str, rate: float) -> list[str]:
        """Return the command of a test PC that keeps its files in ``place``."""
        ...

    def collector(self, place: Path, broker: str, agents: list[str]) -> list[str]:
        """Return the command of the central side, whose configuration and files go to ``place``."""
        ...

    def ready(self, place: Path) -> bool:
        """Tell whether the agents may be started."""
        ...

    def database(self, place: Path) -> Database:
        """Return its database, the same at every call."""
        ...


@dataclass
class Pc:
    """A test PC and the line that connects it."""

    name: str
    place: Path
    child: Child
    line: FaultProxy
    disk: SmallDisk | None = None
    """What its spool is on, if that is a disk of its own."""

    @property
    def state(self) -> Path:
        """Where its spool is."""
        return self.place / "state"

    @property
    def ledger(self) -> Path:
        """Where its own account is."""
        return self.place / "ledger.txt"


class Laboratory:
    """The whole set-up; an async context manager that ends every process it started."""

    def __init__(
        self,
        system: System,
        place: Path,
        *,
        agents: int = 1,
        rate: float = 100.0,
        seed: str = "0",
        disk_mb: int = 0,
    ) -> None:
        """Prepare everything in ``place``.

        With ``disk_mb`` each spool gets a disk of its own, of so many MiB, where that is allowed.
        """
        self.system = system
        self.place = place
        self.rate = rate
        self.rng = random.Random(seed)
        self._agents = agents
        self._disk_mb = disk_mb
        self.broker: Broker
        self.collector: Child
        self.trunk: FaultProxy
        self.database: Database = system.database(place)
        self.pcs: list[Pc] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.broker = Broker(self.place, self.system.broker_extra.format(place=self.place))
            stack.callback(self.broker.kill_now)
            self.broker.start()
            await stack.enter_async_context(self.database.served())
            self.trunk = await stack.enter_async_context(FaultProxy(self.broker.port, rng=self.rng))
            names = [f"pc-{number:02}" for number in range(self._agents)]
            command = self.system.collector(self.place, self._url(self.trunk), names)
            self.collector = Child(command, self.place / "collector.log")
            stack.callback(self.collector.kill_now)
            self.collector.start()
            async with asyncio.timeout(_START_S):
                while not self.system.ready(self.place):  # noqa: ASYNC110 - asks the file system
                    await asyncio.sleep(_POLL_S / 5)
            for name in names:
                self.pcs.append(await self._pc(stack, name))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _pc(self, stack: contextlib.AsyncExitStack, name: str) -> Pc:
        place = self.place / name
        (place / "state").mkdir(parents=True, exist_ok=True)
        disk = SmallDisk(place / "state", self._disk_mb)
        has_disk = self._disk_mb > 0 and stack.enter_context(disk.mounted())
        line = await stack.enter_async_context(FaultProxy(self.broker.port, rng=self.rng))
        command = self.system.agent(place, name, self._url(line), self.rate)
        child = Child(command, place / "agent.log")
        stack.callback(child.kill_now)
        child.start()
        return Pc(name, place, child, line, disk if has_disk else None)

    @staticmethod
    def _url(proxy: FaultProxy) -> str:
        return f"mqtt://127.0.0.1:{proxy.port}"

    @property
    def children(self) -> list[Child]:
        """Every process, the broker first."""
        return [self.broker, self.collector, *(pc.child for pc in self.pcs)]

    @property
    def proxies(self) -> list[FaultProxy]:
        """Every line, the collector's first."""
        return [self.trunk, *(pc.line for pc in self.pcs)]

    async def heal(self) -> None:
        """Make the network perfect, and start what does not run."""
        for proxy in self.proxies:
            proxy.conditions = Conditions()
        for child in self.children:
            child.send(signal.SIGCONT)
            if not child.running:
                child.start()

    async def quiet(self) -> None:
        """End the agents' production by ending the agents; what they hold stays where it is."""
        for pc in self.pcs:
            await pc.child.end()

    async def settle(self, timeout: float = 60.0, forgive: int = 0) -> Verdict:
        """Return the balance as soon as every record accepted until now is stored or declared lost.

        When that takes longer than ``timeout``, the balance as it is then. Those that were in memory only are
        waited for as well, but for no more than a few seconds, and ``forgive`` of them not at all.
        """
        accounts = {pc.name: await asyncio.to_thread(read_account, pc.ledger) for pc in self.pcs}

        def look() -> Verdict:
            total = Verdict()
            for pc in self.pcs:
                found = self.database.findings(pc.name)
                accounts[pc.name].offered = read_account(pc.ledger).offered
                total += judge(accounts[pc.name], found)
            return total

        deadline = time.monotonic() + timeout
        while True:
            verdict = await asyncio.to_thread(look)
            if verdict.settled:
                if verdict.volatile_missing <= forgive:
                    return verdict
                deadline = min(deadline, time.monotonic() + _MEMORY_S)
            if time.monotonic() > deadline:
                return verdict
            await asyncio.sleep(_POLL_S)

    async def fresh(self, timeout: float = 60.0) -> float:
        """Return how many seconds passed until a record that was accepted from now on was stored, of each agent."""
        began = time.monotonic()
        newest = {pc.name: max(read_account(pc.ledger).offered, default=0) for pc in self.pcs}
        while newest:
            for name, number in list(newest.items()):
                found = await asyncio.to_thread(self.database.findings, name)
                if max(found.stored, default=0) > number:
                    del newest[name]
            if time.monotonic() - began > timeout:
                raise AssertionError(f"no fresh record of {sorted(newest)} after {timeout:g} s")
            await asyncio.sleep(_POLL_S / 5)
        return time.monotonic() - began

    def tracebacks(self) -> list[str]:
        """Return what the logs say that must not be in them."""
        return [f"{child.log}: {line}" for child in self.children for line in child.tracebacks()]


@contextlib.asynccontextmanager
async def freeze(child: Child) -> AsyncIterator[None]:
    """Keep a process stopped inside the block."""
    child.send(signal.SIGSTOP)
    try:
        yield
    finally:
        child.send(signal.SIGCONT)
