"""Ways to a device: one request out, one reply back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline
from boardherd_agent.devices.serial_ports import OpenPort, device_path, open_port

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


class SerialTransport:
    """A serial port with a device that answers some requests and not others.

    A port has no connection that could be closed on the device's side, so a late answer to an earlier
    question may arrive in the middle of the next one. Therefore the port is silent for a moment after it was
    opened before anything is asked, what came unasked is dropped before each request, and the port is closed
    after silence, nonsense or a cancelled exchange.
    """

    def __init__(self, port: str, baud: int = 9600, *, settle: float = 0.15) -> None:
        """Remember which port it is; nothing is opened yet.

        Args:
            port: a name below /dev/serial/by-id, a device path, or socket://host:port.
            baud: speed; devices of the CDC class ignore it.
            settle: seconds of silence before a port that was just opened is used.
        """
        self._port, self._baud, self._settle = port, baud, settle
        self._place = device_path(port)
        self._line: OpenPort | None = None

    async def open(self, timeout: float) -> None:
        """Open the port for this program alone, within ``timeout`` seconds; raises DeviceOffline."""
        try:
            async with asyncio.timeout(timeout):
                self._line = await open_port(self._port, self._baud)
                await self._silence(self._line)
        except TimeoutError as error:
            await self.close()
            raise DeviceOffline(f"{self._place} is not ready within {timeout:g} s") from error
        except (OSError, UnicodeError) as error:
            raise DeviceOffline(f"{self._place}: {_words(error)}") from error
        except BaseException:
            await self.close()
            raise

    def send(self, request: bytes) -> None:
        """Write a request that the device does not answer; raises DeviceOffline if the port is gone."""
        line = self._opened()
        line.take()
        line.write(request)
        self._opened()

    async def exchange(
        self,
        request: bytes,
        complete: Callable[[bytes], bool],
        timeout: float,
        *,
        alphabet: bytes | None = None,
        quiet: float | None = None,
    ) -> bytes:
        """Write ``request`` and return what answers it, as soon as ``complete`` says that this is all.

        Args:
            request: what to write.
            complete: tells of what has come so far whether it is a whole reply.
            timeout: how long to wait for a whole reply, in seconds.
            alphabet: the bytes that a reply may consist of; any unless given.
            quiet: return what has come after so many seconds of silence too; for replies of unknown length.

        Raises:
            DeviceOffline: no whole reply has come within ``timeout`` seconds, or the port is gone.
            DeviceGarbled: what has come can belong to no reply.
        """
        reply = bytearray()
        try:
            self.send(request)
            async with asyncio.timeout(timeout):
                await self._collect(reply, complete, alphabet, quiet)
        except TimeoutError as error:
            self._drop()
            part = f", only {reply[:32].hex(' ')} came" if reply else ""
            raise DeviceOffline(f"{self._place} does not answer within {timeout:g} s{part}") from error
        except BaseException:
            self._drop()
            raise
        return bytes(reply)

    def check(self) -> None:
        """Raise DeviceOffline if the port is gone."""
        self._opened()

    async def close(self) -> None:
        """Close the port, if it is open, and return when others can open it."""
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    def _opened(self) -> OpenPort:
        if self._line is None or self._line.lost:
            raise DeviceOffline(f"{self._place} is gone; was the relay unplugged?")
        return self._line

    async def _collect(
        self,
        reply: bytearray,
        complete: Callable[[bytes], bool],
        alphabet: bytes | None,
        quiet: float | None,
    ) -> None:
        """Add to ``reply`` what comes, until it is complete or, once begun, ``quiet`` for so long."""
        while not complete(bytes(reply)):
            silence = asyncio.timeout(quiet if reply else None)
            try:
                async with silence:
                    reply += await self._opened().more()
            except TimeoutError:
                if silence.expired():
                    return
                raise
            if alphabet is not None and not set(reply) <= set(alphabet):
                raise DeviceGarbled(f"{self._place} answers {reply[:32].hex(' ')}")

    async def _silence(self, line: OpenPort) -> None:
        """Return when nothing has come for a moment."""
        with contextlib.suppress(TimeoutError):
            while not line.lost:
                async with asyncio.timeout(self._settle):
                    await line.more()

    def _drop(self) -> None:
        """Stop using the port at once; :meth:`close` waits until others can open it."""
        if self._line is not None:
            self._line.abort()


def of_length(length: int) -> Callable[[bytes], bool]:
    """Return the test of :meth:`SerialTransport.exchange` for replies of ``length`` bytes."""
    return lambda reply: len(reply) >= length


def _words(error: OSError | UnicodeError) -> str:
    """Return what is wrong without the address, which asyncio puts into its messages in Python's notation."""
    if isinstance(error, UnicodeError):
        return "this is no host name"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
