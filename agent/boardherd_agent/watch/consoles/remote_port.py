"""Consoles behind a terminal server: ``socket://host:port`` for bare TCP, ``rfc2217://host:port`` for telnet."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

from boardherd_agent.devices.codecs.rfc2217 import TelnetPort

_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
"""A server that vanished without a word is noticed after 25 s, though a console may be silent for days."""


async def connect(url: str, baud: int, protocol: asyncio.Protocol) -> asyncio.Transport:
    """Connect to ``url``; raises ValueError in words for one that makes no sense, OSError or UnicodeError else."""
    scheme, host, port = _parts(url)
    loop = asyncio.get_running_loop()
    inner = protocol if scheme == "socket" else _Telnet(TelnetPort(baud), protocol)
    transport, _ = await loop.create_connection(lambda: inner, host, port)
    _keep_alive(transport.get_extra_info("socket"))
    return inner.outer if isinstance(inner, _Telnet) else transport


def _parts(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in {"socket", "rfc2217"} or not parts.hostname or port is None:
        raise ValueError(f'"{url}" cannot be opened; write socket://host:port or rfc2217://host:port')
    return parts.scheme, parts.hostname, port


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Telnet(asyncio.Protocol):
    """Stands between the network and who listens to the port."""

    def __init__(self, telnet: TelnetPort, port: asyncio.Protocol) -> None:
        self._telnet, self._port = telnet, port
        self.outer: _TelnetTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.outer = _TelnetTransport(self._telnet, transport)
        transport.write(self._telnet.greeting())
        self._port.connection_made(self.outer)

    def data_received(self, data: bytes) -> None:
        text, answer = self._telnet.received(data)
        if answer:
            self.outer.inner.write(answer)
        if text:
            self._port.data_received(text)

    def pause_writing(self) -> None:
        self._port.pause_writing()

    def resume_writing(self) -> None:
        self._port.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connection_lost(exc)


class _TelnetTransport(asyncio.Transport):
    """What the listener of a telnet port writes to and closes."""

    def __init__(self, telnet: TelnetPort, inner: asyncio.Transport) -> None:
        super().__init__()
        self._telnet, self.inner = telnet, inner

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.inner.write(self._telnet.sent(bytes(data)))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.inner.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        return self.inner.is_closing()

    def abort(self) -> None:
        self.inner.abort()
