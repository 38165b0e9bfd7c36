"""A simulated "USBRelayN" board: its feature reports, behind a TCP port in place of the USB.

Only a kernel module makes a HID device out of a program, so this one is reached at the seam where the driver
otherwise calls hidapi. A request is one letter: ``I`` for the product string, ``G`` to get the feature report,
``S`` and nine bytes to set it. An answer is its length in one byte, and what hidapi would return.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.tcp_device import Connection, TcpDevice

_REPORT_LENGTH = 9
_ENERGISE, _RELEASE, _ENERGISE_ALL, _RELEASE_ALL = 0xFF, 0xFD, 0xFE, 0xFC


class HidRelayBoard(TcpDevice[bytes]):
    """One board behind one TCP port, alive inside ``async with``."""

    def __init__(
        self,
        *,
        relays: int = 8,
        serial: str = "HURTM",
        id_first: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
    ) -> None:
        """Describe a board.

        Args:
            relays: how many relays it has: 1, 2, 4 or 8.
            serial: the five characters that it calls its serial number.
            id_first: whether the host's library puts the report's id before a report that was read.
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            process_delay: seconds between the arrival of a request and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
        """
        contacts = Contacts(range(1, relays + 1), on_change=on_change)
        super().__init__(contacts, host=host, port=port, process_delay=process_delay)
        self.relays, self.serial, self.id_first = relays, serial, id_first
        self.commands: deque[bytes] = deque(maxlen=1000)
        """The reports that were set last."""

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this board."""
        return {"kind": "hid_relay", "serial": self.serial, "simulator": f"{self.host}:{self.port}"}

    def cut(self, unread: bytearray) -> bytes | None:
        """Take out the next letter, with the report if one follows."""
        length = 1 + _REPORT_LENGTH if unread[:1] == b"S" else 1
        if len(unread) < length:
            return None
        request = bytes(unread[:length])
        del unread[:length]
        return request

    def received(self, connection: Connection, request: bytes) -> None:
        """Queue a request; the host has known the product string since the board was plugged in."""
        if request == b"I":
            self.serve(connection, request)
        else:
            super().received(connection, request)

    def serve(self, connection: Connection, request: bytes) -> None:
        """Act on a request and answer it."""
        answer = self._act(request[:1], request[1:])
        if self.garble is not None and request == b"G":
            answer = self.garble
        connection.send(bytes([len(answer)]) + answer)

    def _act(self, letter: bytes, report: bytes) -> bytes:
        match letter:
            case b"I":
                return f"USBRelay{self.relays}".encode()
            case b"G":
                mask = sum(1 << (port - 1) for port, energised in self.outputs.items() if energised)
                read = self.serial.encode("ascii").ljust(7, b"\0") + bytes([mask])
                return (b"\0" if self.id_first else b"") + read
            case b"S":
                self.commands.append(report)
                self._set(report[1], report[2])
        return b""

    def _set(self, action: int, relay: int) -> None:
        if self.answer_fail:
            return
        ports = list(self.outputs) if action in {_ENERGISE_ALL, _RELEASE_ALL} else [relay]
        for port in ports:
            if port in self.contacts and action in {_ENERGISE, _RELEASE, _ENERGISE_ALL, _RELEASE_ALL}:
                self.contacts.set(port, action in {_ENERGISE, _ENERGISE_ALL})


simulate = HidRelayBoard
