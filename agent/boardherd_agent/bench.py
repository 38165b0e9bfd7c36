"""The bench of this test PC: its relays and boards as lab.toml describes them, joined to each other.

Relays tell here what their ports do; here it becomes the power of boards, which the watching side is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
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
from boardherd_agent.watch.booting.boot_history import BootHistory
from boardherd_agent.watch.consoles.console import Console
from boardherd_agent.watch.judging.feeds import relay_seen
from boardherd_agent.watch.judging.outlook import Outlook
from boardherd_agent.watch.judging.pulse import Pulse
from boardherd_agent.watch.probes import build_probes
from boardherd_agent.watch.probing.gate import Gate
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.prober import Pace
from boardherd_agent.watch.witnessing.sight import Sight
from boardherd_agent.watch.witnessing.witness import Witness
from boardherd_shared.clock import Clock
from boardherd_shared.inventory import Inventory
from boardherd_shared.lab import BoardConfig, Feed
from boardherd_shared.records import BoardRecord, BootTimes, Power, RelayRecord, Verdict, Wiring
from boardherd_shared.settings import ConfigError

_OUR_SWITCH_US = 5_000_000
"""A port that changed within this time after our own switch changed because of it."""

_LAST_WORDS = 30
"""Lines of a console that are told when its board falls silent."""

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
        past_boots: Path | None = None,
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
            past_boots: the file that keeps how long the boards took to boot; without one it is forgotten.
        """
        self._pc = pc
        self._clock = clock
        self._reporter = reporter
        self._remember = remember
        self._may_restore = may_restore
        self.boards = inventory.boards_of(pc)
        means, pulse = Means(Gate(pace.at_once)), Pulse()
        self._means = means
        self._history = BootHistory(past_boots, self.boards)
        self.watches = {
            board: BoardWatch(
                board,
                config,
                clock,
                on_verdict=reporter.board,
                on_boot=reporter.boot,
                pace=pace,
                means=means,
                pulse=pulse,
                history=self._history,
            )
            for board, config in self.boards.items()
        }
        addresses = {board: config.board_ip for board, config in self.boards.items()}
        self._outlook = Outlook(self.watches, addresses, clock, pulse, every_s=pace.tick)
        probes = {board: build_probes(board, config, means) for board, config in self.boards.items()}
        self.witness = Witness(pc, Sight(self.boards, self.watches, probes, clock), pace.settle)
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
        with self._means.pinger.kept_open():
            async with asyncio.TaskGroup() as tasks:
                for board, watch in self.watches.items():
                    tasks.create_task(watch.run(), name=f"watch {board}")
                tasks.create_task(self._outlook.run(), name="outlook")
                tasks.create_task(self._history.run(), name="boot history")
                tasks.create_task(self.witness.run(), name="witness of cuts")

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

    def wiring_changed(self, board: str, wiring: Wiring, *, change: bool) -> None:
        """Take note of what is now known of the wiring of ``board``, and tell its state and that of its ports anew."""
        watch = self.watches[board]
        watch.wiring_changed(wiring)
        self._reporter.board(watch.record(change=change))
        for feed in self.boards[board].power:
            self._reporter.port(self.workers[feed.relay].status(feed.port).record(self._clock, change=change))

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

    @property
    def consoles(self) -> dict[str, Console]:
        """Return the consoles that are watched, by board."""
        return {board: watch.console for board, watch in self.watches.items() if watch.console}

    @contextlib.asynccontextmanager
    async def vacated(self, board: str) -> AsyncIterator[None]:
        """Keep the console of ``board`` closed meanwhile, for whoever is to have it; one that is tapped stays open."""
        console = self.watches[board].console
        if console is None:
            yield
            return
        await console.vacate()
        try:
            yield
        finally:
            console.free()

    def last_words(self, board: str) -> tuple[str, ...]:
        """Return the last lines on the console of ``board``, oldest first; none where nobody listens."""
        console = self.watches[board].console
        return console.scrollback.words(_LAST_WORDS) if console else ()

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
        now = self._clock.up()
        self.watches[status.board].power_changed(
            self._power_of(status.board),
            now,
            by_us=ours and status.observed is status.asked,
            relay=relay_seen(self._feeds_of(status.board), now),
        )

    def _power_of(self, board: str) -> Power:
        return combine([feed.observed for feed in self._feeds_of(board)])

    def _feeds_of(self, board: str) -> list[PortStatus]:
        return [self.workers[feed.relay].status(feed.port) for feed in self.boards[board].power]


def _feed_use(board: str, config: BoardConfig, feed: Feed) -> PortUse:
    return PortUse(board, feed.polarity, config.normally, min_off=config.min_off)


def _remembered(use: PortUse, memory: PortMemory | None) -> PortUse:
    return replace(use, **asdict(memory)) if memory else use
