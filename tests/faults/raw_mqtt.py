"""A client that minds no rule: MQTT 3.1.1 by hand, with QoS 0, any client id, any topic, any size."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CONNECT, _PUBLISH, _PINGREQ = 0x10, 0x30, b"\xc0\x00"
_RETAIN = 0x01
_ACCEPTED = b"\x20\x02\x00\x00"


class RawClient:
    """One connection; nothing is ever acknowledged to it, and it waits for nobody."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, topic: str | bytes, payload: bytes, *, retain: bool = False) -> None:
        """Send a message, and return when the socket has room for more."""
        body = _string(topic.encode() if isinstance(topic, str) else topic) + payload
        await self.send(_packet(_PUBLISH | (_RETAIN if retain else 0), body))

    async def send(self, data: bytes) -> None:
        """Send any bytes; ConnectionError when the broker has had enough."""
        self._writer.write(data)
        await self._writer.drain()

    async def heard(self) -> None:
        """Return when the broker has read everything that was sent before."""
        await self.send(_PINGREQ)
        await self._reader.readexactly(2)

    async def thrown_out(self, timeout: float = 10.0) -> None:
        """Return when the broker has closed the connection; TimeoutError."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(timeout):
                while await self._reader.read(4096):
                    pass


@contextlib.asynccontextmanager
async def raw_client(port: int, client_id: str = "raw") -> AsyncIterator[RawClient]:
    """Connect to the broker on a loopback port, as whoever one wants to be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = RawClient(reader, writer)
        await client.send(
            _packet(_CONNECT, _string(b"MQTT") + b"\x04\x02\x00\x3c" + _string(client_id.encode()))
        )
        assert await reader.readexactly(4) == _ACCEPTED
        yield client
    finally:
        writer.transport.abort()


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _packet(head: int, body: bytes) -> bytes:
    length, size = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        size += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([head]) + size + body
