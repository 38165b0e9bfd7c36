"""A simulated "USBRelayN" board: its feature reports, behind a TCP port in place of the USB.

Only a kernel module makes a HID device out of a program, so this one is reached at the seam where the driver
otherwise calls hidapi. A request is one letter: ``I`` for the product string, ``G`` to get the feature report,
``S`` and nine bytes to set it. An answer is its length in one byte, and what hidapi would return.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice

_REPORT_LENGTH = 9
_ENERGISE, _RELEASE, _ENERGISE_ALL, _RELEASE_ALL = 0xFF, 0xFD, 0xFE, 0xFC


class HidRelayBoard(SimulatedDevice):
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
        super().__init__(Contacts(range(1, relays + 1), on_change=on_change))
        self.relays, self.serial, self.id_first = relays, serial, id_first
        self.host, self.port, self.process_delay = host, port, process_delay
        self.commands: deque[bytes] = deque(maxlen=1000)
        """The reports that were set last."""
        self._server: asyncio.Server | None = None
        self._users: set[asyncio.Task[None]] = set()
        self._hung = False

    async def __aenter__(self) -> Self:
        await self._plug()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._unplug()
        await self.contacts.close()

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this board."""
        return {"kind": "hid_relay", "serial": self.serial, "simulator": f"{self.host}:{self.port}"}

    @property
    def connections(self) -> int:
        """How many programs have the board open now."""
        return len(self._users)

    async def hang(self) -> None:
        """Keep everything open, and neither act nor answer until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Be unplugged until :meth:`heal`; the contacts stay as they are."""
        await self._unplug()

    async def reboot(self, *, seconds: float = 0.2) -> None:
        """Be unplugged and plugged in again, which drops the contacts."""
        await self._unplug()
        self.contacts.drop()
        await asyncio.sleep(seconds)
        await self.heal()

    async def heal(self) -> None:
        """End every fault; what came during a hang stays lost."""
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        if self._server is None:
            await self._plug()

    async def _plug(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _unplug(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for user in self._users:
            user.cancel()
        await asyncio.gather(*self._users, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = asyncio.current_task()
        assert user is not None
        user.set_name(f"user of the HID relay :{self.port}")
        self._users.add(user)
        self.connections_max = max(self.connections_max, len(self._users))
        try:
            while letter := await reader.read(1):
                report = await reader.readexactly(_REPORT_LENGTH) if letter == b"S" else b""
                await self._answer(writer, letter, report)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # unplugged, or the program has ended; asyncio.streams would log a cancelled task
        finally:
            writer.transport.abort()
            self._users.discard(user)

    async def _answer(self, writer: asyncio.StreamWriter, letter: bytes, report: bytes) -> None:
        if letter != b"I":  # the host knows the product string since the board was plugged in
            await asyncio.sleep(self.process_delay + self.delay)
            if self._hung or writer.is_closing():
                return
        answer = self._act(letter, report)
        if self.garble is not None and letter == b"G":
            answer = self.garble
        writer.write(bytes([len(answer)]) + answer)

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
