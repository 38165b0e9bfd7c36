"""What simulated devices with an HTTP interface have in common: a small server.

It speaks HTTP/1.1 with kept connections. A garbled answer keeps its head and loses its body.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.tcp_device import Connection, TcpDevice

_HEAD_END = b"\r\n\r\n"


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


class HttpDevice(TcpDevice[Request]):
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
        contacts = Contacts(outlets, on_change=on_change, clock=clock, sleep=sleep)
        super().__init__(contacts, host=host, port=port, process_delay=process_delay)
        self.keeps_outputs = keeps_outputs
        self.requests: deque[Request] = deque(maxlen=1000)
        """What arrived last, unanswered ones included."""
        self.clock = clock
        self._started_at = clock() - 3600.0  # it has been running for a while

    @abstractmethod
    def respond(self, request: Request) -> Response:
        """Act on a request and return the answer."""

    @property
    def uptime(self) -> int:
        """Whole seconds since the device started."""
        return int(self.clock() - self._started_at)

    def where(self) -> dict[str, Any]:
        """Return the part of the stanza that every such device has."""
        return {"address": self.host, "tcp_port": self.port, "port_count": len(self.outputs)}

    def lose_power(self) -> None:
        """Do what the loss of power does to the outputs; the uptime begins anew."""
        super().lose_power()
        self._started_at = self.clock()

    def cut(self, unread: bytearray) -> Request | None:
        """Take the first whole request out of ``unread``; ValueError for what is no HTTP."""
        if (found := _cut(bytes(unread))) is None:
            return None
        request, unread[:] = found
        return request

    def received(self, connection: Connection, request: Request) -> None:
        """Queue a request; lost if the device hangs."""
        self.requests.append(request)
        super().received(connection, request)

    def serve(self, connection: Connection, request: Request) -> None:
        """Act on a request and answer it."""
        response = self.respond(request)
        if self.garble is not None and response.status != HTTPStatus.UNAUTHORIZED:
            response = Response(200, self.garble, response.headers)
        connection.send(_encoded(response))


def _encoded(response: Response) -> bytes:
    """Return an answer as it goes over the wire."""
    headers = dict(response.headers)
    if response.status != HTTPStatus.NO_CONTENT:
        headers["Content-Length"] = str(len(response.body))
    head = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(head).encode("latin-1") + _HEAD_END + response.body


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
