"""The bench of this test PC: its relays and boards as lab.toml describes them, joined to each other.

Relays tell here what their ports do; here it becomes the power of boards, which the watching side is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from boardherd_agent.control.journal import PortMemory
from boardherd_agent.control.power import FeedLine, Target, combine, targets_of
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import Driver
from boardherd_agent.devices.ports import PortStatus, PortUse
from boardherd_agent.devices.worker import RelayWorker
from boardherd_agent.reporting import Reporter, describe_board
from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.probing import Pace
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import BoardRecord, BootTimes, Power, RelayRecord
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
        """
        self._clock = clock
        self._reporter = reporter
        self._remember = remember
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
                relay, relays[relay], make, self._uses(relay, memories), clock, self._port_changed
            )
            for relay, make in factories.items()
        }

    @property
    def targets(self) -> dict[str, Target]:
        """Return everything that can be switched, by name."""
        return targets_of(
            {
                board: (
                    max([config.off_time, *(feed.off_time or 0.0 for feed in config.power)]),
                    [
                        FeedLine(self.workers[feed.relay], feed.relay, feed.port, feed.after)
                        for feed in config.power
                    ],
                )
                for board, config in self.boards.items()
            }
        )

    def has(self, board: str, relay: str, port: int) -> bool:
        """Tell whether a board, or else a relay port, belongs to this test PC."""
        if board:
            return board in self.boards
        return any((feed.relay, feed.port) == (relay, port) for c in self.boards.values() for feed in c.power)

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
            for feed in config.power:
                yield self.workers[feed.relay].status(feed.port).record(self._clock, change=False)

    def board_records(self) -> Iterable[BoardRecord]:
        """Return the current verdict on every board, as refreshes."""
        return (watch.record(change=False) for watch in self.watches.values())

    async def wait_alive(self, board: str, timeout: float) -> BootTimes | None:
        """Return the boot's times once ``board`` is alive, or None after ``timeout`` seconds."""
        return await self.watches[board].wait_alive(timeout)

    def describe(self, board: str) -> str:
        """Return the present verdict on ``board`` in words."""
        return describe_board(self.watches[board].record(change=False))

    def _uses(self, relay: str, memories: Memories) -> dict[int, PortUse]:
        uses = {}
        for board, config in self.boards.items():
            for feed in (feed for feed in config.power if feed.relay == relay):
                use = PortUse(board, feed.polarity, config.normally)
                memory = memories.get((relay, feed.port))
                uses[feed.port] = replace(use, **asdict(memory)) if memory else use
        return uses

    def _port_changed(self, status: PortStatus) -> None:
        self._remember(status)
        self._reporter.port(status.record(self._clock, change=True))
        switched = status.switched_at
        ours = switched is not None and self._clock.wall() - switched < _OUR_SWITCH_US
        self.watches[status.board].power_changed(
            self._power_of(status.board), self._clock.up(), by_us=ours and status.observed is status.asked
        )

    def _power_of(self, board: str) -> Power:
        feeds = self.boards[board].power
        return combine([self.workers[feed.relay].status(feed.port).observed for feed in feeds])
