"""The simulated rack: relay modules, boards, and the wires between them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from boardherd.rack import layout
from boardherd.rack.board import Fault, NoPower, SimulatedBoard
from boardherd.rack.devices.devantech import DevantechModule
from boardherd.rack.truth import BoardTruth, ModuleTruth, PortTruth, Switching, Truth

MODULE_FAULTS = ("hang", "dead", "reboot")
"""``hang``: keeps connections, answers nothing. ``dead``: unreachable, contacts stay. ``reboot``: resets its
connections, drops every contact and comes back by itself."""

PORT_FAULTS = ("weld",)
"""``weld``: the contact stays closed whatever the module does, and the module does not notice."""

WIRING = "wiring"
"""The target that stands for all wires between ports and boards."""


class RackError(Exception):
    """The rack cannot do what it was asked; the message is a sentence for a person."""


class Rack:
    """Relay modules on TCP ports and boards behind them, alive inside ``async with``.

    Every contact starts open and every board dark, as after a power failure of the lab.
    """

    def __init__(
        self,
        directory: Path,
        *,
        boards: int = 6,
        modules: int = 2,
        boot_seconds: float = 4.0,
        seed: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        """Describe a rack; nothing is opened yet. Raises ValueError, in words, for numbers that do not fit.

        Args:
            directory: where the boards' consoles are put.
            boards: how many boards; the last one has two feeds.
            modules: how many relay modules with eight ports each.
            boot_seconds: how long a board takes to its login prompt.
            seed: makes the small differences between boots repeatable.
            host: address that everything listens on.
        """
        self.layout = layout.plan(boards, modules)
        self.host = host
        self.boards: Mapping[str, SimulatedBoard] = {
            board.id: SimulatedBoard(
                board.id,
                directory.absolute(),
                platform=board.platform,
                host=host,
                boot_seconds=boot_seconds,
                seed=seed,
            )
            for board in self.layout.boards
        }
        self.modules: Mapping[str, DevantechModule] = {
            module.id: DevantechModule(
                host=host, mac=module.mac, on_change=partial(self._switched, module.id)
            )
            for module in self.layout.modules
        }
        self._module_faults: dict[str, Literal["hang", "dead"]] = {}
        self._wires = self._as_planned()
        self._welded: set[str] = set()
        self._epoch = time.time() - time.monotonic()
        """Wall-clock time at which the modules' clock was zero; kept, so that a switching never changes its time."""
        self._alive = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for board in self.boards.values():
                await stack.enter_async_context(board)
            for module in self.modules.values():
                await stack.enter_async_context(module)
            self._alive = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._alive.__aexit__(exc_type, exc, tb)

    def power_all(self, leave_off: Collection[str] = ()) -> None:
        """Energise what feeds the boards, as a lab at work would have it, without any command.

        Raises RackError if ``leave_off`` names a board that is not there.
        """
        for id_ in leave_off:
            self._find(id_, self.boards, "board")
        for port, board in self._wires.items():
            if board is not None and board not in leave_off:
                relay, number = _split(port)
                self.modules[relay].switch(number, energised=True)

    async def fault(self, target: str, fault: str) -> str:
        """Let something be wrong with a board, a relay module or one of its ports, and say in words what is now.

        Raises RackError, which lists what is known, for an unknown target or fault.
        """
        if target in self.boards:
            return self._board_fault(target, fault)
        if target in self._wires:
            return self._weld(target, fault)
        self._find(target, {**self.boards, **self.modules}, "board or module")
        return await self._module_fault(target, fault)

    async def heal(self, target: str | None = None) -> str:
        """End the faults of a board, a module, a port or the wiring, or all of them; raises RackError.

        A board that a fault has stopped boots afresh. Contacts stay as they are, but for welded ones, which
        follow their module again.
        """
        known = {**self.boards, **self.modules, WIRING: None}
        if target is None or target in self._wires:
            self._welded -= set(self._wires) if target is None else {target}
            self._wire(self._wires)
        for id_ in known if target is None else {target} - set(self._wires):
            self._find(id_, known, "board or module")
            if id_ in self.boards:
                self.boards[id_].heal()
            elif id_ in self.modules:
                self._module_faults.pop(id_, None)
                await self.modules[id_].heal()
            else:
                self._wire(self._as_planned())
        return f"{target or 'everything'} is healed"

    def miswire(self, a: str, b: str) -> str:
        """Swap what two ports feed; ports are written ``eth-1:3``. Raises RackError for unknown ones."""
        for port in (a, b):
            self._find(port, self._wires, "port")
        self._wire(self._wires | {a: self._wires[b], b: self._wires[a]})
        return f"{a} feeds {self._wires[a] or 'nothing'}, {b} feeds {self._wires[b] or 'nothing'}"

    def truth(self) -> Truth:
        """Return what really is."""
        return Truth(
            boards={id_: self._board_truth(board) for id_, board in self.boards.items()},
            ports={port: PortTruth(energised=self._closed(port), board=b) for port, b in self._wires.items()},
            modules={id_: self._module_truth(id_, module) for id_, module in self.modules.items()},
            transitions=self._transitions(),
        )

    def lab_toml(self, site: str = "demo", pc: str = "demo-pc") -> str:
        """Return a lab.toml that describes this rack as it was planned, behind one test PC."""
        parts = [layout.lab_head(site, pc)]
        parts += [
            layout.lab_module(module, self.host, self.modules[module.id].port)
            for module in self.layout.modules
        ]
        parts += [
            layout.lab_board(board, pc, _place_of(self.boards[board.id])) for board in self.layout.boards
        ]
        return "".join(parts)

    def _as_planned(self) -> dict[str, str | None]:
        """Return what each port feeds when nobody has made a mistake."""
        wires: dict[str, str | None] = {
            f"{id_}:{number}": None for id_, module in self.modules.items() for number in module.outputs
        }
        return wires | {feed.port: board.id for board in self.layout.boards for feed in board.feeds}

    def _wire(self, wires: dict[str, str | None]) -> None:
        self._wires = wires
        for id_ in self.boards:
            self._feed(id_)

    def _switched(self, relay: str, number: int, energised: bool, at: float) -> None:
        """Take note that a contact has moved."""
        del energised, at  # the module itself knows, and keeps a log
        if board := self._wires[f"{relay}:{number}"]:
            self._feed(board)

    def _feed(self, id_: str) -> None:
        feeds = self._feeds_of(id_)
        self.boards[id_].power(on=bool(feeds) and all(self._closed(port) for port in feeds))

    def _feeds_of(self, id_: str) -> tuple[str, ...]:
        return tuple(port for port, board in self._wires.items() if board == id_)

    def _energised(self, port: str) -> bool:
        relay, number = _split(port)
        return self.modules[relay].outputs[number]

    def _closed(self, port: str) -> bool:
        """Return whether current flows, which is what the module believes unless the contact is welded."""
        return port in self._welded or self._energised(port)

    def _weld(self, port: str, name: str) -> str:
        self._find(name, PORT_FAULTS, "fault of a port")
        self._welded.add(port)
        self._wire(self._wires)
        return f"the contact of {port} is welded"

    def _board_fault(self, id_: str, name: str) -> str:
        self._find(name, [fault.value for fault in Fault], "fault of a board")
        try:
            self.boards[id_].fail(Fault(name))
        except NoPower as error:
            raise RackError(str(error)) from error
        return f"{id_} has the fault {name}"

    async def _module_fault(self, id_: str, name: str) -> str:
        self._find(name, MODULE_FAULTS, "fault of a module")
        module = self.modules[id_]
        if name == "reboot":
            self._module_faults.pop(id_, None)
            await module.reboot()
            return f"{id_} has rebooted"
        if name == "hang":
            self._module_faults[id_] = "hang"
            await module.hang()
        else:
            self._module_faults[id_] = "dead"
            await module.dead()
        return f"{id_} has the fault {name}"

    def _board_truth(self, board: SimulatedBoard) -> BoardTruth:
        return BoardTruth(
            powered=board.powered,
            up=board.up,
            stage=board.stage,
            faults=tuple(sorted(board.faults)),
            boots=board.boots,
            feeds=self._feeds_of(board.id),
        )

    def _module_truth(self, id_: str, module: DevantechModule) -> ModuleTruth:
        return ModuleTruth(
            fault=self._module_faults.get(id_),
            connections=module.connections,
            connections_max=module.connections_max,
        )

    def _transitions(self) -> tuple[Switching, ...]:
        switchings = [
            Switching(
                port=f"{id_}:{change.port}",
                energised=change.energised,
                at=round((self._epoch + change.at) * 1e6),
                cause=change.cause,
            )
            for id_, module in self.modules.items()
            for change in module.transitions
        ]
        return tuple(sorted(switchings, key=lambda switching: switching.at))

    @staticmethod
    def _find(name: str, known: Collection[str], what: str) -> None:
        if name not in known:
            raise RackError(f'there is no {what} "{name}"; known are: {", ".join(known)}')


def _split(port: str) -> tuple[str, int]:
    relay, _, number = port.rpartition(":")
    return relay, int(number)


def _place_of(board: SimulatedBoard) -> layout.BoardPlace:
    return layout.BoardPlace(
        board.host, board.ssh_port, board.tcp_port, board.console_path, board.boot_seconds
    )
