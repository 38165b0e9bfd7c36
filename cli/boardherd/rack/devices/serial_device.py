"""What all simulated relays on a serial port have in common: a pseudo-terminal, and one command after the other."""

from __future__ import annotations

import asyncio
import tempfile
from abc import abstractmethod
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice
from boardherd.rack.serial_line import SerialLine


class SerialDevice(SimulatedDevice):
    """A relay board at one end of a serial cable, alive inside ``async with``.

    The other end is a path that stays the same when the board is unplugged and plugged in again, as a name
    below /dev/serial/by-id does; while it is unplugged the path does not exist, and programs that have it open
    get an error. What the board says while nobody has its port open is lost.
    """

    def __init__(
        self, kind: str, contacts: Contacts, *, path: str | Path | None = None, process_delay: float = 0.002
    ) -> None:
        """Describe a board.

        Args:
            kind: the driver that speaks to it.
            contacts: its relays.
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
        """
        super().__init__(contacts)
        self.process_delay = process_delay
        self.commands: deque[bytes] = deque(maxlen=1000)
        """What was asked of it last, one entry for each command."""
        self.path = Path(path or kind)
        """Where its port is, as soon as it is alive."""
        self._kind = kind
        self._own_directory = path is None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._line: SerialLine | None = None
        self._typed = bytearray()
        self._arrived = asyncio.Event()
        self._firmware: asyncio.Task[None] | None = None
        self._hung = False

    async def __aenter__(self) -> Self:
        if self._own_directory:
            self._directory = tempfile.TemporaryDirectory(prefix=f"boardherd-{self._kind}-")
            self.path = Path(self._directory.name, self._kind)
        self._plug()
        self._firmware = asyncio.create_task(self._run(), name=f"{self._kind} at {self.path}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._firmware is not None:
            self._firmware.cancel()
            await asyncio.gather(self._firmware, return_exceptions=True)
        await self.contacts.close()
        self._unplug()
        if self._directory is not None:
            self._directory.cleanup()

    @property
    def unfinished(self) -> bytes:
        """What has come in and is no whole command yet."""
        return bytes(self._typed)

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this board."""
        return {"kind": self._kind, "serial_port": str(self.path)}

    async def hang(self) -> None:
        """Keep the port, and neither act nor answer until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Be unplugged until :meth:`heal`; the contacts stay as they are."""
        self._unplug()

    async def reboot(self, *, seconds: float = 0.2) -> None:
        """Be unplugged and plugged in again."""
        self._unplug()
        self.lose_power()
        await asyncio.sleep(seconds)
        await self.heal()

    async def heal(self) -> None:
        """End every fault; what came during a hang stays lost."""
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        if self._line is None:
            self._plug()

    def lose_power(self) -> None:
        """Drop the contacts: the board lives on the power of the USB port."""
        self.contacts.drop()

    @abstractmethod
    def cut(self, typed: bytearray) -> bytes | None:
        """Take the first whole command out of ``typed``; None if there is none yet.

        What can be no command is taken out of ``typed`` too.
        """

    @abstractmethod
    def execute(self, command: bytes) -> bytes:
        """Carry out a command and return the answer, empty for none."""

    def command_contact(self, port: int, energised: bool) -> None:
        """Move a contact as a command asked, unless the board ignores commands just now or has no such contact."""
        if port in self.contacts and not self.answer_fail:
            self.contacts.set(port, energised)

    def _plug(self) -> None:
        self._line = SerialLine(self.path, self._received).__enter__()

    def _unplug(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            line.__exit__(None, None, None)
        self._typed.clear()

    def _received(self, data: bytes) -> None:
        if not self._hung:
            self._typed += data
            self._arrived.set()

    async def _run(self) -> None:
        """Work off one command after the other, as the board's single processor does."""
        while True:
            command = self.cut(self._typed)
            if command is None:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            self.commands.append(command)
            line = self._line
            await asyncio.sleep(self.process_delay + self.delay)
            if self._hung or line is not self._line:
                continue  # the command was lost together with the power, or in the hang
            answer = self.execute(command)
            if answer and line is not None:
                line.write(answer if self.garble is None else self.garble)
