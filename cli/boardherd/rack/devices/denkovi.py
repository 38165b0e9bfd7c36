"""A simulated Denkovi USB board with 16 relays: commands that end with two slashes, and echoes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.serial_device import SerialDevice

RELAYS = 16

_END = b"//"
_COMMAND = re.compile(rb"ask//|on//|off//|\d\d[+-]//|x..//", re.DOTALL)


class DenkoviBoard(SerialDevice):
    """One board on one serial port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a board.

        Args:
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, RELAYS + 1), on_change=on_change)
        super().__init__("denkovi", contacts, path=path, process_delay=process_delay)

    def cut(self, typed: bytearray) -> bytes | None:
        """Take out the next command, and with it what stands before it and is none."""
        if not (match := _COMMAND.search(typed)):
            return None
        command = match[0]
        del typed[: match.end()]
        return bytes(command)

    def execute(self, command: bytes) -> bytes:
        """Answer the question, or set relays and echo the command."""
        match command.removesuffix(_END):
            case b"ask":
                return self._mask().to_bytes(2, "big")
            case b"on" | b"off" as word:
                for port in self.outputs:
                    self.command_contact(port, word == b"on")
            case body if body[:1] == b"x":
                mask = int.from_bytes(body[1:], "big")
                for port in self.outputs:
                    self.command_contact(port, bool(mask >> (RELAYS - port) & 1))
            case body:
                self.command_contact(int(body[:2]), body[2:] == b"+")
        return command

    def _mask(self) -> int:
        """Return the states with relay 1 in the highest bit."""
        return sum(1 << (RELAYS - port) for port, energised in self.outputs.items() if energised)


simulate = DenkoviBoard
