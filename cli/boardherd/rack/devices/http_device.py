"""What simulated devices with an HTTP interface have in common: a small server whose every moment can go wrong.

It speaks HTTP/1.1 with kept connections, one request after the other as a device's single processor works them
off, and drops a request whose sender has gone before its turn. A garbled answer keeps its head and loses its
body.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.device import SimulatedDevice

_HEAD_END = b"\r\n\r\n"
_LONGEST_REQUEST = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for zero seconds: closing then sends RST instead of FIN."""


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    """Path and query as they stood in the first line."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        """The path without the query, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of several with one name, the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form in the body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200) -> Response:
        """Make an answer in JSON."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @classmethod
    def text(cls, text: str, status: int = 200) -> Response:
        """Make an answer in plain words."""
        return cls(status, text.encode(), {"Content-Type": "text/plain"})


class HttpDevice(SimulatedDevice):
    """A device with one HTTP server, alive inside ``async with``."""

    def __init__(
        self,
        outlets: Iterable[int],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        process_delay: float = 0.002,
        keeps_outputs: bool = False,
        on_change: Callable[[int, bool, float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Describe a device; it is switched on by entering its context.

        Args:
            outlets: its outputs, numbered from 1.
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            process_delay: seconds between the arrival of a request and acting on it.
            keeps_outputs: whether the outputs come back as they were after a reboot; else they are released.
            on_change: called with port, energised and monotonic time at each change of an output.
            clock: the device's clock in seconds.
            sleep: how the device waits for the end of a pulse.
        """
        super().__init__(Contacts(outlets, on_change=on_change, clock=clock, sleep=sleep))
        self.host, self.port = host, port
        self.process_delay, self.keeps_outputs = process_delay, keeps_outputs
        self.requests: deque[Request] = deque(maxlen=1000)
        """What arrived last, unanswered ones included."""
        self.clock = clock
        self._started_at = clock() - 3600.0  # it has been running for a while
        self._connections: list[_Connection] = []
        self._inbox: asyncio.Queue[tuple[_Connection, Request]] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._firmware_task: asyncio.Task[None] | None = None
        self._hung = False

    @abstractmethod
    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""

    @property
    def uptime(self) -> int:
        """Whole seconds since the device started."""
        return int(self.clock() - self._started_at)

    @property
    def waiting(self) -> int:
        """How many requests have come and are not being worked on yet."""
        return self._inbox.qsize()

    def where(self) -> dict[str, Any]:
        """Return the part of the stanza that every such device has."""
        return {"address": self.host, "tcp_port": self.port, "port_count": len(self.outputs)}

    async def __aenter__(self) -> Self:
        await self._listen()
        self._firmware_task = asyncio.create_task(self._run(), name=f"{type(self).__name__} :{self.port}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._firmware_task is not None:
            self._firmware_task.cancel()
            await asyncio.gather(self._firmware_task, return_exceptions=True)
        await self.stop()
        await self.contacts.close()
        await self._unplug()

    async def stop(self) -> None:
        """End what a device of this kind has running beside its server."""

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    async def hang(self) -> None:
        """Keep every connection, accept new ones, and neither act nor answer until :meth:`heal`."""
        self._hung = True

    async def dead(self) -> None:
        """Reset all connections and refuse new ones until :meth:`heal`; the outputs stay as they are."""
        await self._unplug()

    async def reboot(self, *, seconds: float = 0.5) -> None:
        """Reset all connections, lose the outputs unless it keeps them, and return when it is back."""
        await self._unplug()
        if self.keeps_outputs:
            self.contacts.end_pulses()
        else:
            self.contacts.drop()
        await asyncio.sleep(seconds)
        self._started_at = self.clock()
        await self.heal()

    async def heal(self) -> None:
        """End every fault; requests that came during a hang stay lost."""
        self._hung = self.answer_fail = False
        self.delay, self.garble = 0.0, None
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _unplug(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in self._connections:
            connection.reset()
        await server.wait_closed()

    def opened(self, connection: _Connection) -> None:
        """Take a new connection in; called by the connection itself."""
        self._connections.append(connection)
        self.connections_max = max(self.connections_max, len(self._connections))

    def closed(self, connection: _Connection) -> None:
        """Forget a connection whose peer has gone; called by the connection itself."""
        if connection in self._connections:
            self._connections.remove(connection)

    def received(self, connection: _Connection, request: Request) -> None:
        """Queue a request for the firmware; lost if the device hangs."""
        self.requests.append(request)
        if not self._hung:
            self._inbox.put_nowait((connection, request))

    async def _run(self) -> None:
        """Work off one request after the other."""
        while True:
            connection, request = await self._inbox.get()
            await asyncio.sleep(self.process_delay + self.delay)
            if self._hung or connection not in self._connections:
                continue
            response = self.respond(request)
            if self.garble is not None and response.status != HTTPStatus.UNAUTHORIZED:
                response = Response(200, self.garble, response.headers)
            connection.send(response)


class _Connection(asyncio.Protocol):
    """One TCP connection: cuts what arrives into requests."""

    def __init__(self, device: HttpDevice) -> None:
        self._device = device
        self._transport: asyncio.Transport | None = None
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the new connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._device.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass on each request that is complete; anything that is no HTTP ends the connection."""
        self._unread += data
        try:
            while (cut := _cut(self._unread)) is not None:
                request, self._unread = cut
                self._device.received(self, request)
        except ValueError:
            self.reset()
        if len(self._unread) > _LONGEST_REQUEST:
            self.reset()

    def eof_received(self) -> None:
        """Give up the place at once: the peer has closed, its requests are lost."""
        self._device.closed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the place after a reset."""
        del exc
        self._device.closed(self)

    def send(self, response: Response) -> None:
        """Send an answer."""
        assert self._transport is not None
        phrase = HTTPStatus(response.status).phrase
        headers = dict(response.headers)
        if response.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(len(response.body))
        head = [
            f"HTTP/1.1 {response.status} {phrase}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._transport.write("\r\n".join(head).encode("latin-1") + _HEAD_END + response.body)

    def reset(self) -> None:
        """End the connection with RST."""
        assert self._transport is not None
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


def _cut(unread: bytes) -> tuple[Request, bytes] | None:
    """Return the first request and what follows it, None if it is not complete; ValueError if it is none."""
    head, end, rest = unread.partition(_HEAD_END)
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    return Request(method, target, headers, rest[:length]), rest[length:]
