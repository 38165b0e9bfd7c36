"""What all simulated relays on a serial port have in common: a pseudo-terminal, and one command after the other."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from pathlib import Path
from typing import Any

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.plugged_device import PluggedDevice
from boardherd.rack.serial_line import SerialLine


class SerialDevice(PluggedDevice):
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
        super().__init__(contacts, process_delay=process_delay)
        self.commands: deque[bytes] = deque(maxlen=1000)
        """What was asked of it last, one entry for each command."""
        self.path = Path(path or kind)
        """Where its port is, as soon as it is alive."""
        self._kind = kind
        self._needs_directory = path is None
        self._line: SerialLine | None = None
        self._typed = bytearray()
        self._arrived = asyncio.Event()

    def prepare(self) -> None:
        """Make a place for the port."""
        if self._needs_directory:
            self.path = self.own_directory(self._kind) / self._kind

    @property
    def unfinished(self) -> bytes:
        """What has come in and is no whole command yet."""
        return bytes(self._typed)

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this board."""
        return {"kind": self._kind, "serial_port": str(self.path)}

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

    async def plug_in(self) -> None:
        """Let the path lead to the port."""
        self._line = SerialLine(self.path, self._received).__enter__()

    async def unplug(self) -> None:
        """Take the port away, and lose what was typed."""
        assert self._line is not None
        line, self._line = self._line, None
        line.__exit__(None, None, None)
        self._typed.clear()

    def _received(self, data: bytes) -> None:
        if not self._hung:
            self._typed += data
            self._arrived.set()

    async def work(self) -> None:
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
