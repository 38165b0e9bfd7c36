"""The TCP transport against a peer that answers, is silent, talks too much or hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

import pytest

from boardherd_agent.devices.device import DeviceError, DeviceGarbled, DeviceOffline
from boardherd_agent.devices.transports import TcpTransport
from support.ports import free_port


class Peer:
    """A server for one client, played by hand."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._arrived.put_nowait((reader, writer))

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(5):
            return await self._arrived.get()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as it:
        yield it


@pytest.fixture
async def transport(peer: Peer) -> AsyncIterator[TcpTransport]:
    it = TcpTransport("127.0.0.1", peer.port)
    await it.open(5)
    yield it
    await it.close()


async def end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the transport has closed its side; TimeoutError if it keeps it open."""
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            await reader.read(-1)


async def test_a_reply_may_come_in_pieces(peer: Peer, transport: TcpTransport) -> None:
    reader, writer = await peer.client()
    exchange = asyncio.create_task(transport.exchange(b"\x10", 3, 5), name="exchange")
    assert await reader.read(9) == b"\x10"
    writer.write(b"\x13\x02")
    await asyncio.sleep(0.01)
    assert not exchange.done()
    writer.write(b"\x1c")
    assert await exchange == b"\x13\x02\x1c"


async def test_small_requests_leave_at_once(transport: TcpTransport) -> None:
    assert transport._streams is not None
    sock = transport._streams[1].get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (b"", DeviceOffline, "does not answer within 0.05 s"),
        (b"\x13", DeviceOffline, "does not answer within 0.05 s"),
        (b"\x13\x02\x1c\x99", DeviceGarbled, "answers 13 02 1c 99 where 3 bytes belong"),
    ],
    ids=["silence", "too short", "too long"],
)
async def test_the_connection_is_gone_after_a_wrong_reply(
    peer: Peer, transport: TcpTransport, reply: bytes, error: type[DeviceError], words: str
) -> None:
    reader, writer = await peer.client()
    writer.write(reply)
    with pytest.raises(error) as caught:
        await transport.exchange(b"\x10", 3, 0.05)
    assert words in str(caught.value)
    await end_of(reader)
    with pytest.raises(DeviceOffline, match="closed"):
        await transport.exchange(b"\x10", 3, 5)


async def test_the_connection_is_gone_after_a_cancelled_exchange(peer: Peer, transport: TcpTransport) -> None:
    reader, _ = await peer.client()
    exchange = asyncio.create_task(transport.exchange(b"\x10", 3, 60), name="exchange")
    assert await reader.read(9) == b"\x10"
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    await end_of(reader)


async def test_a_peer_that_hangs_up_is_noticed(peer: Peer, transport: TcpTransport) -> None:
    reader, writer = await peer.client()
    exchange = asyncio.create_task(transport.exchange(b"\x10", 3, 60), name="exchange")
    await reader.read(9)
    writer.close()
    with pytest.raises(DeviceOffline, match="has closed the connection"):
        await exchange


async def test_a_closed_transport_refuses_and_closes_again_quietly(transport: TcpTransport) -> None:
    await transport.close()
    await transport.close()
    with pytest.raises(DeviceOffline):
        await transport.exchange(b"\x10", 3, 5)


async def test_a_refused_connection_is_said_in_words() -> None:
    port = free_port()
    with pytest.raises(DeviceOffline, match=rf"^127\.0\.0\.1:{port}: Connection refused$"):
        await TcpTransport("127.0.0.1", port).open(5)
