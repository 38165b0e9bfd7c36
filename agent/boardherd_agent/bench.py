"""The bench of this test PC: its relays and boards as lab.toml describes them, joined to each other.

Relays tell here what their ports do; here it becomes the power of boards, which the watching side is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

from boardherd_agent.control.journal import PortMemory
from boardherd_agent.control.power import Target, combine, targets_of
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import Driver
from boardherd_agent.devices.ports import PortStatus, PortUse
from boardherd_agent.devices.worker import RelayWorker
from boardherd_agent.reporting import Reporter, describe_board
from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.probing import Pace
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import BoardConfig, Feed
from boardherd_shared.records import BoardRecord, BootTimes, Power, RelayRecord, Verdict
from boardherd_shared.settings import ConfigError

_OUR_SWITCH_US = 5_000_000
"""A port that changed within this time after our own switch changed because of it."""

MakeDriver = Callable[[], Driver]
Memories = Mapping[tuple[str, int], PortMemory]


def driver_factories(inventory: Inventory, pc: str, secrets: Sequence[Path]) -> dict[str, MakeDriver]:
    """Return for each relay of ``pc`` what makes its driver; raises ConfigError with a sentence for each fault."""
    factories: dict[str, MakeDriver] = {}
    faults: list[str] = []
    for relay in inventory.relays_of(pc):
        try:
            factories[relay] = _driver_factory(inventory, relay, secrets)
        except ValueError as error:
            faults.append(inventory.document.fault(("relay", relay), str(error)))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return factories


def _driver_factory(inventory: Inventory, relay: str, secrets: Sequence[Path]) -> MakeDriver:
    """Return what makes the driver of ``relay``; raises ConfigError, or ValueError in words."""
    config = inventory.lab.relay[relay]
    if config.driver is None:
        raise ValueError(f"kind is required; known kinds are {', '.join(drivers.kinds())}")
    module = drivers.load(config.driver)
    options = inventory.options_of(relay, module.Options, secrets)
    module.Driver(config, options)  # says ValueError now and not when it is needed
    return partial(module.Driver, config, options)


class Bench:
    """Relay workers and board watches of one test PC."""

    def __init__(
        self,
        inventory: Inventory,
        pc: str,
        factories: Mapping[str, MakeDriver],
        memories: Memories,
        pace: Pace,
        clock: Clock,
        reporter: Reporter,
        remember: Callable[[PortStatus], None],
        *,
        may_restore: Callable[[str, int], bool] = lambda _relay, _port: False,
    ) -> None:
        """Set up workers and watches; nothing is opened yet.

        Args:
            inventory: the whole lab.
            pc: this test PC.
            factories: what :func:`driver_factories` returned.
            memories: what is remembered of the ports.
            pace: how often boards are looked at.
            clock: this machine's clocks.
            reporter: hears of every change.
            remember: keeps what shall outlive the process of a port.
            may_restore: asked before a relay's port is brought back after an outage; False while its board
                is locked, in use, taken out or being switched.
        """
        self._pc = pc
        self._clock = clock
        self._reporter = reporter
        self._remember = remember
        self._may_restore = may_restore
        self.boards = inventory.boards_of(pc)
        self.watches = {
            board: BoardWatch(
                board, config, clock, on_verdict=reporter.board, on_boot=reporter.boot, pace=pace
            )
            for board, config in self.boards.items()
        }
        relays = inventory.relays_of(pc)
        self.workers = {
            relay: RelayWorker(
                relay,
                relays[relay],
                make,
                self._uses(relay, memories),
                clock,
                self._port_changed,
                tell=partial(self._tell, relay),
                may_restore=partial(self._may_restore, relay),
                shared=self._is_shared(inventory, relay),
            )
            for relay, make in factories.items()
        }

    @property
    def targets(self) -> dict[str, Target]:
        """Return everything that can be switched, by name."""
        return targets_of(self.boards, self.workers.__getitem__, f"agent/{self._pc}")

    def has(self, board: str, relay: str, port: int) -> bool:
        """Tell whether a board, or else a relay port, belongs to this test PC."""
        if board:
            return board in self.boards
        return any((wire.relay, wire.port) == (relay, port) for c in self.boards.values() for wire in c.wires)

    async def run_relays(self) -> None:
        """Keep every relay open and read, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for relay, worker in self.workers.items():
                tasks.create_task(worker.run(), name=f"relay {relay}")

    async def run_watches(self) -> None:
        """Look at every board, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for board, watch in self.watches.items():
                tasks.create_task(watch.run(), name=f"watch {board}")

    def port_records(self) -> Iterable[RelayRecord]:
        """Return the current state of every port, as refreshes."""
        for config in self.boards.values():
            for wire in config.wires:
                yield self.workers[wire.relay].status(wire.port).record(self._clock, change=False)

    def board_records(self) -> Iterable[BoardRecord]:
        """Return the current verdict on every board, as refreshes."""
        return (watch.record(change=False) for watch in self.watches.values())

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        """Return the boot's times once ``board`` is alive, or None after ``timeout`` seconds."""
        return await self.watches[board].wait_alive(timeout)

    def describe(self, board: str) -> str:
        """Return the present verdict on ``board`` in words."""
        return describe_board(self.watches[board].record(change=False))

    def _is_shared(self, inventory: Inventory, relay: str) -> bool:
        """Return whether another PC drives ports of ``relay`` too."""
        others = (board for id_, board in inventory.lab.board.items() if id_ not in self.boards and board.pc)
        return any(wire.relay == relay for board in others for wire in board.wires)

    def alive(self, board: str) -> bool:
        """Tell whether ``board`` is alive now."""
        return self.watches[board].verdict in {Verdict.ALIVE, Verdict.DEGRADED}

    async def probe(self, board: str) -> str:
        """Look at ``board`` with every probe now, and return the verdict in words."""
        await self.watches[board].look()
        return f"{board}: {self.describe(board)}"

    def report(self) -> str:
        """Tell everything that is known once more, and return how much that was, in words."""
        ports, boards = list(self.port_records()), list(self.board_records())
        self._reporter.refresh_now(ports, boards)
        return f"told the state of {len(boards)} boards and {len(ports)} ports"

    def in_use(self, board: str) -> str:
        """Return who uses ``board`` without a lock, in words; empty for nobody."""
        return self.watches[board].console_taken

    def _uses(self, relay: str, memories: Memories) -> dict[int, PortUse]:
        """Return what the ports of ``relay`` are for, with what is remembered of them."""
        uses: dict[int, PortUse] = {}
        for board, config in self.boards.items():
            ours = {feed.port: _feed_use(board, config, feed) for feed in config.power if feed.relay == relay}
            ours |= {
                line.port: PortUse(board, line.polarity, line.normally, line=name)
                for name, line in config.lines.items()
                if line.relay == relay
            }
            uses |= {port: _remembered(use, memories.get((relay, port))) for port, use in ours.items()}
        return uses

    def _tell(self, relay: str, event: Literal["fault", "transition"], port: int, text: str) -> None:
        self._reporter.event(event, f"relay/{relay}/{port}", text)

    def _port_changed(self, status: PortStatus) -> None:
        self._remember(status)
        self._reporter.port(status.record(self._clock, change=True))
        if status.line:
            return  # a line says nothing about the board's power
        switched = status.switched_at
        ours = switched is not None and self._clock.wall() - switched < _OUR_SWITCH_US
        self.watches[status.board].power_changed(
            self._power_of(status.board), self._clock.up(), by_us=ours and status.observed is status.asked
        )

    def _power_of(self, board: str) -> Power:
        feeds = self.boards[board].power
        return combine([self.workers[feed.relay].status(feed.port).observed for feed in feeds])


def _feed_use(board: str, config: BoardConfig, feed: Feed) -> PortUse:
    return PortUse(board, feed.polarity, config.normally, min_off=config.min_off)


def _remembered(use: PortUse, memory: PortMemory | None) -> PortUse:
    return replace(use, **asdict(memory)) if memory else use
