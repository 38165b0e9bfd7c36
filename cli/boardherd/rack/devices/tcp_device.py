"""What simulated devices behind a TCP port have in common: a server whose every moment can go wrong.

A device has one processor, which works off one request after the other, whichever connection they come from, and
drops a request whose sender has gone before its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from abc import abstractmethod
from typing import Any, Generic, TypeVar

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.plugged_device import PluggedDevice

R = TypeVar("R")
"""What a request is, when it has been cut out of what arrived."""

_LONGEST_REQUEST = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for zero seconds: closing then sends RST instead of FIN."""


class TcpDevice(PluggedDevice, Generic[R]):
    """A device with one TCP port, alive inside ``async with``; while it is unplugged, nothing listens there."""

    def __init__(
        self, contacts: Contacts, *, host: str = "127.0.0.1", port: int = 0, process_delay: float = 0.002
    ) -> None:
        """Describe a device.

        Args:
            contacts: its outputs.
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            process_delay: seconds between the arrival of a request and acting on it.
        """
        super().__init__(contacts, process_delay=process_delay)
        self.host, self.port = host, port
        self._connections: list[Connection] = []
        self._inbox: asyncio.Queue[tuple[Connection, R]] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    @abstractmethod
    def cut(self, unread: bytearray) -> R | None:
        """Take the first whole request out of ``unread``; None if there is none yet, ValueError for nonsense."""

    @abstractmethod
    def serve(self, connection: Connection, request: R) -> None:
        """Act on a request and answer it; not called while the device hangs, nor once the connection has gone."""

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """How many requests have come and are not being worked on yet."""
        return self._inbox.qsize()

    async def plug_in(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Stop listening and reset all connections."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.reset()
        await self._server.wait_closed()

    async def work(self) -> None:
        """Work off one request after the other."""
        while True:
            connection, request = await self._inbox.get()
            await asyncio.sleep(self.process_delay + self.delay)
            if not self._hung and connection in self._connections:
                self.serve(connection, request)

    def opened(self, connection: Connection) -> None:
        """Take a new connection in; called by the connection itself."""
        self._connections.append(connection)
        self.connections_max = max(self.connections_max, len(self._connections))

    def closed(self, connection: Connection) -> None:
        """Forget a connection whose peer has gone; called by the connection itself."""
        if connection in self._connections:
            self._connections.remove(connection)

    def received(self, connection: Connection, request: R) -> None:
        """Queue a request; lost if the device hangs. Called by the connection itself."""
        if not self._hung:
            self._inbox.put_nowait((connection, request))


class Connection(asyncio.Protocol):
    """One TCP connection: what arrives is cut into requests."""

    def __init__(self, device: TcpDevice[Any]) -> None:
        self._device = device
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new connection; called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._device.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass on each request that is complete; nonsense ends the connection. Called by the event loop."""
        self._unread += data
        try:
            while (request := self._device.cut(self._unread)) is not None:
                self._device.received(self, request)
        except ValueError:
            self.reset()
        if len(self._unread) > _LONGEST_REQUEST:
            self.reset()

    def eof_received(self) -> None:
        """Give up the place at once: the peer has closed, its requests are lost. Called by the event loop."""
        self._device.closed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the place after a reset; called by the event loop."""
        del exc
        self._device.closed(self)

    def send(self, answer: bytes) -> None:
        """Send an answer."""
        assert self._transport is not None
        self._transport.write(answer)

    def close(self) -> None:
        """End the connection when everything has been sent."""
        assert self._transport is not None
        self._transport.close()

    def reset(self) -> None:
        """End the connection with RST."""
        assert self._transport is not None
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
