"""A simulated KMTronic USB relay board: three-byte commands, never acknowledged.

Boards with four and eight relays answer the question for all of them; smaller ones each relay's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.serial_device import SerialDevice

_HEADER, _LENGTH = 0xFF, 3
_ALL, _ASK = 0x09, 0x03


class KmtronicBoard(SerialDevice):
    """One board on one serial port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        relays: int = 8,
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a board.

        Args:
            relays: how many relays it has: 1, 2, 4 or 8.
            path: where its port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a command and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, relays + 1), on_change=on_change)
        super().__init__("kmtronic", contacts, path=path, process_delay=process_delay)
        self._asked_at_once = relays >= 4

    def cut(self, typed: bytearray) -> bytes | None:
        """Take out the next three bytes that begin with FF."""
        while typed and typed[0] != _HEADER:
            del typed[0]
        if len(typed) < _LENGTH:
            return None
        command = bytes(typed[:_LENGTH])
        del typed[:_LENGTH]
        return command

    def execute(self, command: bytes) -> bytes:
        """Answer a question, or set a relay without a word."""
        _, relay, action = command
        if self._asked_at_once and (relay, action) == (_ALL, 0):
            return bytes(self.outputs.values())
        if not self._asked_at_once and action == _ASK and relay in self.contacts:
            return bytes([_HEADER, relay, self.outputs[relay]])
        if action in {0, 1}:
            self.command_contact(relay, bool(action))
        return b""


simulate = KmtronicBoard
