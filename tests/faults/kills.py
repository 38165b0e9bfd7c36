"""Power cycles that are killed: the control wing dies of SIGKILL at any moment, and the relay module tells what moved.

Run as ``PYTHONPATH=tests python -m faults.kills --count 1000 --json``. The wing, its worker, its driver and its
``control.db`` are the real ones, in a process of their own that is killed and started again; the module is the
simulated Devantech on a real TCP port, in this process. Several test PCs work side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from boardherd.rack.devices.contacts import Transition
from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.desk import Desk
from boardherd_agent.control.local import LocalSocket
from boardherd_agent.control.power import Target, targets_of
from boardherd_agent.devices.drivers import devantech
from boardherd_agent.devices.worker import PortStatus, PortUse, RelayWorker
from boardherd_shared.clock import SystemClock
from boardherd_shared.command import CommandStep, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import BootTimes, Power
from support.witness import FakeWitness

PC = "pc-01"
OFF_S = 2.0
CLOSE_S = 0.05
_LONGEST_S = 3.2
"""A cycle takes no longer than this; so late is the latest kill."""
_ANSWER_S = 60.0
_PR_SET_PDEATHSIG = 1

LAB = """
site = "lab"
pc.pc-01 = {{}}
relay.eth-1 = {{ kind = "devantech", address = "127.0.0.1", tcp_port = {port}, poll = "200ms", stagger = "100ms" }}
[board.evm-07]
pc = "pc-01"
off_time = "2s"
min_off = "2s"
max_ons = 0
max_cycles = 0
power = [{feeds}]
"""
MODULE_TIMED = '"eth-1:3"'
AGENT_TIMED = '"eth-1:3", { port = "eth-1:4", after = "100ms" }'
"""With two feeds, the agent itself keeps the off time."""


class _Bench:
    """What the wing needs beside its relay: a board that nobody watches."""

    def __init__(self, inventory: Inventory, worker: RelayWorker) -> None:
        boards = inventory.boards_of(PC)
        self.targets: dict[str, Target] = targets_of(boards, lambda _: worker, f"agent/{PC}")
        self.witness = FakeWitness()

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        return None

    def describe(self, board: str) -> str:
        return "nobody looks at it"

    def alive(self, board: str) -> bool:
        return True

    def in_use(self, board: str) -> str:
        return ""

    async def probe(self, board: str) -> str:
        return self.describe(board)

    def vacated(self, board: str) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def report(self) -> str:
        return "nothing"


async def live(place: Path) -> None:
    """Be the control wing of a test PC until killed; what it says goes to ``steps`` in ``place``."""
    inventory = Inventory.parse((place / "lab.toml").read_text())
    config, clock = inventory.relays_of(PC)["eth-1"], SystemClock()
    words = os.open(place / "steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    desks: list[Desk] = []

    def saw(status: PortStatus) -> None:
        if desks and status.observed is not Power.UNKNOWN:
            desks[0].safety.observed((status.relay, status.port), on=status.observed is Power.ON)

    def announce(step: CommandStep) -> None:
        os.write(words, step.model_dump_json(exclude_none=True).encode() + b"\n")

    async def drained() -> str:
        return "drained"

    uses = {feed.port: PortUse("evm-07") for feed in inventory.boards_of(PC)["evm-07"].power}
    worker = RelayWorker(
        "eth-1", config, lambda: devantech.Driver(config, devantech.Options()), uses, clock, saw
    )
    async with ControlFile(place / "control.db") as file:
        if file.unsettled:
            await file.settle()  # there is no broker whose mirror could know more
        desk = Desk(
            PC,
            inventory,
            _Bench(inventory, worker),
            file,
            clock,
            server_offset=lambda: 0.0,
            announce=announce,
            lock_changed=lambda *_: None,
            drained=drained,
        )
        desks.append(desk)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run(), name="relay")
            tasks.create_task(desk.run(), name="desk")
            tasks.create_task(LocalSocket(place / "agent.sock", desk.commander.submit).run(), name="socket")


def be_nursery() -> None:
    """Fork a wing for each line on standard input, which names its place, and answer with its process id.

    Whoever asks needs no second to start a wing: everything is imported already. Ends with its input.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    parent = os.getpid()
    for line in sys.stdin:
        if pid := os.fork():
            print(pid, flush=True)
            continue
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        with Path(line.strip(), "log").open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            asyncio.run(live(Path(line.strip())))
        finally:
            os._exit(2)


class Nursery:
    """The process that forks wings; a context manager, at whose end all of them are dead."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.kills", "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def birth(self, place: Path) -> int:
        """Start a wing and return its process id."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{place}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@dataclass
class Tally:
    """What came of the kills."""

    kills: int = 0
    cycles: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """By what the kill met: the last step that was told before it."""
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    shortest_off_s: float = float("inf")

    def report(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "kills": self.kills,
            "cycles": self.cycles,
            "killed_after": dict(self.ends),
            "outcomes": dict(self.outcomes),
            "shortest_off_s": None if self.shortest_off_s == float("inf") else round(self.shortest_off_s, 3),
            "wrong": self.wrong,
        }


class Pc:
    """A test PC with one board and a relay module; its wing is killed again and again."""

    def __init__(self, place: Path, nursery: Nursery, feeds: str, rng: random.Random, tally: Tally) -> None:
        self.module = DevantechModule(process_delay=0.001)
        self._place, self._nursery, self._feeds = place, nursery, feeds
        self._rng, self._tally = rng, tally
        self._ports = (3, 4) if feeds == AGENT_TIMED else (3,)
        self._pid = 0
        self._count = 0

    async def kill_until(self, total: int) -> None:
        """Go on until there have been ``total`` kills on all PCs together."""
        async with self.module:
            (self._place / "lab.toml").write_text(LAB.format(port=self.module.port, feeds=self._feeds))
            self._pid = self._nursery.birth(self._place)
            while self._tally.kills < total:
                await self._one_cycle()
            self._kill()

    async def _one_cycle(self) -> None:
        """Order a cycle, kill the wing in it, once or several times, and see what came of it."""
        for port in self._ports:
            self.module.contacts.set(port, True, cause="outside")
        self._count += 1
        command = {"action": "cycle", "board": "evm-07", "id": f"cycle-{self._count}"}
        begun = len(self.module.transitions)
        self._tally.cycles += 1
        ordered = asyncio.create_task(self._say(command), name="order")
        await self._sleep_until_the_kill(str(command["id"]))
        while True:
            self._tally.ends[self._last_word(str(command["id"]))] += 1
            self._tally.kills += 1
            self._kill()
            ordered.cancel()
            await asyncio.gather(ordered, return_exceptions=True)
            self._pid = self._nursery.birth(self._place)
            ordered = asyncio.create_task(self._say(command), name="order again")
            if self._rng.random() > 0.25:
                break
            await asyncio.sleep(self._rng.uniform(0, 0.5))
        try:
            async with asyncio.timeout(_ANSWER_S):
                final = await ordered
        except TimeoutError:
            self._tally.wrong.append(f"{command['id']}: nobody told its end within {_ANSWER_S:g} s")
            return
        await self._come_to_rest()
        self._judge(str(command["id"]), self.module.transitions[begun:], final)

    async def _sleep_until_the_kill(self, command_id: str) -> None:
        """Wait for any moment of the cycle, or for one close to a step of it, where little time is left."""
        if self._rng.random() < 0.4:
            await asyncio.sleep(self._rng.uniform(0, _LONGEST_S))
            return
        word = self._rng.choice(["accepted", "running off", "running dwell", "running on", "succeeded"])
        deadline = time.monotonic() + _LONGEST_S
        while self._last_word(command_id) != word and time.monotonic() < deadline:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.001)
        await asyncio.sleep(self._rng.choice([0, self._rng.uniform(0, 0.03)]))

    async def _say(self, command: dict[str, Any]) -> CommandStep:
        """Give an order by the local socket until somebody takes it; return the final step."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(str(self._place / "agent.sock"))
                try:
                    writer.write(json.dumps(command).encode() + b"\n")
                    while line := await reader.readline():
                        step = CommandStep.model_validate_json(line)
                        if step.final:
                            return step
                finally:
                    writer.close()
            await asyncio.sleep(0.01)

    async def _come_to_rest(self) -> None:
        """Wait until the module has ended what it times by itself."""
        until = time.monotonic() + OFF_S + 1
        while time.monotonic() < until and self._dark:  # noqa: ASYNC110 - the module's own clock ends it
            await asyncio.sleep(0.02)

    @property
    def _dark(self) -> bool:
        return not all(self.module.outputs[port] for port in self._ports)

    def _judge(self, command_id: str, moves: Sequence[Transition], final: CommandStep) -> None:
        """CMD-1 and CMD-3, by the module's own log."""
        for port in self._ports:
            mine = [move for move in moves if move.port == port]
            if [move.energised for move in mine] not in ([], [False], [False, True]):
                self._tally.wrong.append(f"{command_id}: port {port} moved {mine}")
            if len(mine) == 2:
                off = mine[1].at - mine[0].at
                self._tally.shortest_off_s = min(self._tally.shortest_off_s, off)
                if off < OFF_S - CLOSE_S:
                    self._tally.wrong.append(f"{command_id}: port {port} was off for {off:.3f} s")
        if final.state is State.REFUSED:
            self._tally.wrong.append(f"{command_id}: {final.text}")
        dark = self._dark
        if dark and final.observed == "on":
            self._tally.wrong.append(f"{command_id}: left dark, and told: {final.text}")
        moved = "untouched" if not moves else "left off" if dark else "off and on"
        self._tally.outcomes[f"{moved}, {final.state}"] += 1

    def _last_word(self, command_id: str) -> str:
        """Return the last step that was told of a command: "running dwell"."""
        with contextlib.suppress(OSError, ValueError):  # the last line may be half there
            for line in reversed((self._place / "steps").read_bytes()[-4096:].splitlines()):
                if command_id.encode() + b'"' in line and line.startswith(b"{"):
                    step = CommandStep.model_validate_json(line)
                    return f"{step.state} {step.phase}".strip() if not step.final else str(step.state)
        return "nothing"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


async def kill(count: int, *, pcs: int, seed: int, place: Path) -> Tally:
    """Kill so many times, on several PCs side by side, and return what came of it."""
    tally = Tally()
    with Nursery() as nursery:
        async with asyncio.TaskGroup() as tasks:
            for number in range(pcs):
                own = place / f"pc-{number:02}"
                own.mkdir()
                feeds = AGENT_TIMED if number % 2 else MODULE_TIMED
                pc = Pc(own, nursery, feeds, random.Random(seed * 1000 + number), tally)
                tasks.create_task(pc.kill_until(count), name=own.name)
    tally.wrong += await asyncio.to_thread(complaints, place)
    return tally


def complaints(place: Path) -> list[str]:
    """Return what the wings' logs say that must not be in them."""
    logs = {log.parent.name: log.read_text() for log in place.glob("*/log")}
    return [f"{name} says: {text[-2000:]}" for name, text in logs.items() if "Traceback" in text]


def main() -> int:
    """Kill and print what came of it; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="faults.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--pcs", type=int, default=10, help="how many test PCs work side by side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nursery:
        be_nursery()
        return 0
    with tempfile.TemporaryDirectory(prefix="boardherd-kills-") as directory:
        tally = asyncio.run(kill(options.count, pcs=options.pcs, seed=options.seed, place=Path(directory)))
    figures = tally.report()
    print(json.dumps(figures, indent=2) if options.json else figures)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
