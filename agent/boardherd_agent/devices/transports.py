"""Ways to a device: one request out, one reply back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline

_MORE = 256
"""Read this much at once, so that a reply that is too long shows."""


class TcpTransport:
    """A TCP connection to a device that answers each request with a reply of known length.

    Nothing is ever pipelined. Because such a protocol cannot be brought back into step, the connection is
    gone after anything but the expected reply: silence, too many bytes, or a cancelled exchange.
    """

    def __init__(self, host: str, port: int) -> None:
        """Remember where the device is; nothing is opened yet."""
        self._place = f"{host}:{port}"
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, timeout: float) -> None:
        """Connect within ``timeout`` seconds; raises DeviceOffline."""
        try:
            async with asyncio.timeout(timeout):
                self._streams = await asyncio.open_connection(self._host, self._port)
        except TimeoutError as error:
            raise DeviceOffline(f"{self._place} takes no connection within {timeout:g} s") from error
        except (OSError, UnicodeError) as error:
            raise DeviceOffline(f"{self._place}: {_words(error)}") from error
        self._streams[1].get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def exchange(self, request: bytes, reply_length: int, timeout: float) -> bytes:
        """Write ``request`` in one piece and return the ``reply_length`` bytes that answer it.

        Raises DeviceOffline when the device has gone or does not answer within ``timeout`` seconds, and
        DeviceGarbled when it sends more than was expected. The connection is closed in both cases, and
        when the caller is cancelled.
        """
        if self._streams is None or self._streams[0].at_eof():
            raise DeviceOffline(f"{self._place} has closed the connection")
        reader, writer = self._streams
        try:
            async with asyncio.timeout(timeout):
                writer.write(request)
                return await self._reply(reader, reply_length)
        except TimeoutError as error:
            self._drop()
            raise DeviceOffline(f"{self._place} does not answer within {timeout:g} s") from error
        except OSError as error:
            self._drop()
            raise DeviceOffline(f"{self._place}: {_words(error)}") from error
        except BaseException:
            self._drop()
            raise

    async def close(self) -> None:
        """Close the connection, if there is one, and return when the socket is gone."""
        if self._streams is None:
            return
        _, writer = self._streams
        self._streams = None
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader, length: int) -> bytes:
        reply = b""
        while len(reply) < length:
            chunk = await reader.read(_MORE)
            if not chunk:
                raise DeviceOffline(f"{self._place} has closed the connection")
            reply += chunk
        if len(reply) > length:
            shown = reply[:16].hex(" ")
            raise DeviceGarbled(f"{self._place} answers {shown} where {length} bytes belong")
        return reply

    def _drop(self) -> None:
        """Stop using the connection at once; :meth:`close` waits until it is gone."""
        if self._streams is not None:
            self._streams[1].transport.abort()


def _words(error: OSError | UnicodeError) -> str:
    """Return what is wrong without the address, which asyncio puts into its messages in Python's notation."""
    if isinstance(error, UnicodeError):
        return "this is no host name"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
