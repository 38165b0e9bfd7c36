"""A control wing with hand-made relays and boards, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from boardherd_agent.control.commands import Request
from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.desk import Desk
from boardherd_agent.control.power import Target, targets_of
from boardherd_agent.control.wiring import News
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_shared.command import CommandStep
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import BoardConfig
from boardherd_shared.locks import Lock
from boardherd_shared.records import BootTimes, Power
from support.clock import FakeClock
from support.witness import FakeWitness

LAB = """
site = "lab"
pc.pc-01 = {}
defaults.board = { pc = "pc-01", min_off = "2s" }
relay.eth-1 = { kind = "devantech", address = "127.0.0.1" }
[board.evm-07]
power = ["eth-1:3"]
lines.reset = { port = "eth-1:6", pulse = "300ms" }
lines.boot-mode = { port = "eth-1:7", normally = "on" }
[board.evm-08]
power = ["eth-1:4", { port = "eth-1:5", after = "1.5s" }]
[board.evm-09]
"""
"""The lab of these tests: a board with one feed and two lines, one with two feeds, one with none."""


@dataclass(frozen=True)
class Switched:
    before: Power
    observed: Power
    confirmed: bool = True


@dataclass(frozen=True)
class Known:
    observed: Power
    measurable: bool


@dataclass
class FakeRelay:
    """Stands for a relay worker: keeps every physical transition with its time, and fails on request."""

    ports: dict[int, Power]
    clock: FakeClock
    transitions: list[tuple[int, Power]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each transition was, in seconds of the clock."""
    asked: dict[int, Power] = field(default_factory=dict)
    known: dict[int, Power] = field(default_factory=dict)
    """What was read last, where that is not what is."""
    on_read: Callable[[], None] = lambda: None
    offline: bool = False
    stuck: bool = False
    maintenance: str = ""
    blind: bool = False
    """It acknowledges, and cannot be read back."""
    max_pulse_s: float = 0.0
    pulsing: dict[int, tuple[float, Power]] = field(default_factory=dict)
    """Ports whose pulse the module ends by itself: when, and to what."""
    gate: asyncio.Event | None = None

    async def read(self, port: int) -> Power:
        self._reach()
        self._end_pulses()
        self.known.clear()
        self.on_read()
        return Power.UNKNOWN if self.blind else self.ports[port]

    async def look(self, port: int) -> None:
        """Read nothing ahead."""

    async def switch(
        self, port: int, power: Power, *, by: str, still_wanted: Callable[[], None] = lambda: None
    ) -> Switched:
        if self.gate:
            await self.gate.wait()
        before = await self.read(port)
        still_wanted()
        self.asked[port] = power
        self.pulsing.pop(port, None)
        if not self.stuck:
            self._move(port, power)
        return Switched(before, await self.read(port), not self.blind)

    async def toggle(
        self, port: int, *, by: str, still_wanted: Callable[[], None] = lambda: None
    ) -> Switched:
        before = await self.read(port)
        return await self.switch(
            port, Power.OFF if before is Power.ON else Power.ON, by=by, still_wanted=still_wanted
        )

    async def pulse(
        self,
        port: int,
        power: Power,
        seconds: float,
        *,
        by: str,
        still_wanted: Callable[[], None] = lambda: None,
    ) -> Switched:
        switched = await self.switch(port, power, by=by, still_wanted=still_wanted)
        back = Power.ON if power is Power.OFF else Power.OFF
        self.pulsing[port] = (self.clock.up() / 1e6 + seconds, back)
        return switched

    async def restore(self, port: int, *, by: str) -> Switched:
        if port not in self.asked:
            raise DeviceRefused("nothing was ever asked of it")
        return await self.switch(port, self.asked[port], by=by)

    async def accept(self, port: int, *, by: str) -> Power:
        self.asked[port] = await self.read(port)
        return self.asked[port]

    def can_pulse(self, port: int, seconds: float) -> bool:
        return seconds <= self.max_pulse_s

    def status(self, port: int) -> Known:
        unknown = self.offline or self.blind
        known = self.known.get(port, self.ports[port])
        return Known(Power.UNKNOWN if unknown else known, not self.blind)

    def _reach(self) -> None:
        if self.offline:
            raise DeviceOffline("eth-1 does not answer")

    def _end_pulses(self) -> None:
        now = self.clock.up() / 1e6
        for port, (at, power) in list(self.pulsing.items()):
            if at <= now:
                del self.pulsing[port]
                self._move(port, power, at)

    def _move(self, port: int, power: Power, at: float | None = None) -> None:
        if self.ports[port] is not power:
            self.ports[port] = power
            self.transitions.append((port, power))
            self.times.append(self.clock.up() / 1e6 if at is None else at)


class FakeBench:
    """Stands for the bench: what is watched and what can be switched."""

    def __init__(self, boards: Mapping[str, BoardConfig], relay: FakeRelay) -> None:
        self.boot: BootTimes | None = BootTimes(console_s=0.4, ssh_s=4.1)
        self.is_alive = False
        self.user = ""
        self.console: list[str] = []
        """What became of a console: closed, and free to be opened again."""
        self.witness = FakeWitness()
        self.targets: Mapping[str, Target] = targets_of(boards, lambda _: relay, "agent/pc-01")

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        return self.boot

    def describe(self, board: str) -> str:
        return "silent, ssh closed"

    def alive(self, board: str) -> bool:
        return self.is_alive

    def in_use(self, board: str) -> str:
        return self.user

    async def probe(self, board: str) -> str:
        return f"{board}: {self.describe(board)}"

    @contextlib.asynccontextmanager
    async def vacated(self, board: str) -> AsyncIterator[None]:
        self.console.append(f"{board} closed")
        try:
            yield
        finally:
            self.console.append(f"{board} free")

    def report(self) -> str:
        return "told the state of 3 boards and 5 ports"


@dataclass
class Lab:
    """The running control wing, and everything that it said and did."""

    desk: Desk
    relay: FakeRelay
    bench: FakeBench
    clock: FakeClock
    steps: list[CommandStep]
    locks: list[tuple[str, Lock, str]]
    slept: list[float]
    sleeper: Callable[[float], object]
    wiring: list[News] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the wing work until ``condition`` holds."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - the condition is anything at all
                await asyncio.sleep(0.001)

    async def send(
        self, body: object = b"", *, board: str | None = None, **more: object
    ) -> list[CommandStep]:
        """Submit a request and return the steps it caused, once it is final."""
        before = len(self.steps)
        self.submit(body, board=board, **more)
        await self.until(lambda: bool(self.steps[before:]) and self.steps[-1].final)
        return self.steps[before:]

    def submit(self, body: object = b"", *, board: str | None = None, **more: object) -> None:
        """Submit a request, bytes or what becomes JSON."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        values = {"operator": "ops1", "retained": False, "received_at": self.clock.wall() / 1e6} | more
        self.desk.commander.submit(Request(payload=payload, board=board, **values))  # type: ignore[arg-type]

    async def stop(self) -> None:
        """Stop as the agent's stop does."""
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None


def relay_with(clock: FakeClock, **ports: Power) -> FakeRelay:
    """Return a relay whose ports ``p3`` to ``p7`` are as the lab of these tests has them, or as given."""
    states = {3: Power.ON, 4: Power.ON, 5: Power.OFF, 6: Power.OFF, 7: Power.ON}
    return FakeRelay(states | {int(name[1:]): power for name, power in ports.items()}, clock)


@contextlib.asynccontextmanager
async def open_lab(
    path: Path,
    relay: FakeRelay | None = None,
    *,
    lab_toml: str = LAB,
    file: type[ControlFile] = ControlFile,
    sure: bool = True,
    server_offset: float = 0.0,
) -> AsyncIterator[Lab]:
    """Run a control wing whose memory is in ``path``; time passes only while it sleeps.

    Args:
        path: directory of the control file.
        relay: the relay, with its clock; one as the lab has it unless given.
        lab_toml: the inventory.
        file: another kind of control file.
        sure: whether the broker's mirror has been read already.
        server_offset: seconds by which the server's clock is ahead.
    """
    relay = relay or relay_with(FakeClock())
    clock = relay.clock
    steps: list[CommandStep] = []
    locks: list[tuple[str, Lock, str]] = []
    slept: list[float] = []
    wiring: list[News] = []
    inventory = Inventory.parse(lab_toml)
    bench = FakeBench(inventory.boards_of("pc-01"), relay)
    lab: Lab

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        result = lab.sleeper(seconds)
        if asyncio.iscoroutine(result):
            await result
        clock.advance(seconds)
        await asyncio.sleep(0)

    async def drained() -> str:
        return "drained"

    async with file(path / "control.db") as control:
        desk = Desk(
            "pc-01",
            inventory,
            bench,
            control,
            clock,
            server_offset=lambda: server_offset,
            announce=steps.append,
            lock_changed=lambda *change: locks.append(change),
            drained=drained,
            wiring_changed=wiring.append,
            sleep=sleep,
        )
        lab = Lab(desk, relay, bench, clock, steps, locks, slept, lambda _: None, wiring)
        lab.task = asyncio.create_task(desk.run(), name="desk")
        await asyncio.sleep(0)
        if sure:
            await desk.locks.settled()
            await lab.until(lambda: True)
        try:
            yield lab
        finally:
            await lab.stop()


def states(steps: list[CommandStep]) -> list[str]:
    """Return the steps in short: "running:dwell"."""
    return [f"{step.state}:{step.phase}" if step.phase else str(step.state) for step in steps]
