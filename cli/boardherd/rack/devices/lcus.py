"""A simulated LCUS relay board: four-byte commands, never acknowledged, and a query that not every board knows.

How the query is answered depends on the firmware, so it can be chosen: with one line for each channel, with
the same texts run together, with one raw byte for each channel, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.serial_device import SerialDevice

Answers = Literal["lines", "together", "raw", "nothing"]

_HEADER, _QUERY, _LENGTH = 0xA0, 0xFF, 4


class LcusBoard(SerialDevice):
    """One board on one serial port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        channels: int = 8,
        answers: Answers = "lines",
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a board.

        Args:
            channels: how many relays it has: 1, 2, 4 or 8.
            answers: how it answers the query: "lines", "together", "raw" or "nothing".
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, channels + 1), on_change=on_change)
        super().__init__("lcus", contacts, path=path, process_delay=process_delay)
        self.answers = answers

    def cut(self, typed: bytearray) -> bytes | None:
        """Take out the next query or the next four bytes that begin with A0."""
        while typed and typed[0] not in {_HEADER, _QUERY}:
            del typed[0]
        length = 1 if typed[:1] == bytes([_QUERY]) else _LENGTH
        if len(typed) < length:
            return None
        command = bytes(typed[:length])
        del typed[:length]
        return command

    def execute(self, command: bytes) -> bytes:
        """Answer the query in the board's way, or set a channel without a word if the checksum is right."""
        if command[0] == _QUERY:
            return self._states()
        _, channel, action, checksum = command
        if checksum == sum(command[:3]) & 0xFF and action in {0, 1}:
            self.command_contact(channel, bool(action))
        return b""

    def _states(self) -> bytes:
        words = {channel: "ON" if energised else "OFF" for channel, energised in self.outputs.items()}
        match self.answers:
            case "lines":
                return "".join(f"CH{channel}: {word}\r\n" for channel, word in words.items()).encode()
            case "together":
                return "".join(f"CH{channel}:{word}" for channel, word in words.items()).encode()
            case "raw":
                return bytes(self.outputs.values())
            case "nothing":
                return b""


simulate = LcusBoard
