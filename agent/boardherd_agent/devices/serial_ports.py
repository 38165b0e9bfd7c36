"""Serial ports of devices: found by name, opened for one program alone, and what is wrong said in words."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import serial
import serial_asyncio_fast

from boardherd_agent.devices.device import DeviceOffline

BY_ID = Path("/dev/serial/by-id")
"""Where udev keeps names that stay the same whatever the order of plugging in."""

_BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY}
_GONE = {errno.ENXIO, errno.ENODEV, errno.EIO}


class OpenPort(asyncio.Protocol):
    """An open port: collects what comes in until it is taken, and notices when the port is gone."""

    def __init__(self) -> None:
        self.lost = False
        """Whether the port is gone, or has been given up."""
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by the event loop."""
        self._transport = transport  # type: ignore[assignment]  # the serial one derives from Transport untyped

    def data_received(self, data: bytes) -> None:
        """Keep what came in; called by the event loop."""
        self._received += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the port is closed; called by the event loop."""
        del exc  # to whoever uses the port, one end is like the other
        self.lost = True
        self._news.set()
        self._closed.set()

    def write(self, data: bytes) -> None:
        """Send ``data``; afterwards :attr:`lost` tells if the port turned out to be gone."""
        if self._transport is not None and not self.lost:
            self._transport.write(data)
            self.lost = self._transport.is_closing()

    def take(self) -> bytes:
        """Return what has come in since the last call."""
        received = bytes(self._received)
        self._received.clear()
        self._news.clear()
        return received

    async def more(self) -> bytes:
        """Wait until something comes in and return it; nothing if the port is gone."""
        while not self._received and not self.lost:
            self._news.clear()
            await self._news.wait()
        return self.take()

    def abort(self) -> None:
        """Give the port up at once."""
        self.lost = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    async def close(self) -> None:
        """Close the port, and return when others can open it."""
        self.abort()
        await self._closed.wait()


def device_path(name: str, by_id: Path = BY_ID) -> str:
    """Return what to open for ``name`` in lab.toml.

    Paths, URLs and, on Windows, port names are taken as they are; anything else is a name below
    /dev/serial/by-id, of which udev's ending "-port0" may be left out.
    """
    if name.startswith("/") or "://" in name or sys.platform == "win32":
        return name
    path = by_id / name
    with_port = by_id / f"{name}-port0"
    return str(with_port if with_port.exists() and not path.exists() else path)


class PortBusy(DeviceOffline):
    """Another program has the port open."""


async def open_port(name: str, baud: int) -> OpenPort:
    """Open the port of a relay; see :func:`attach`."""
    line = OpenPort()
    line.connection_made(await attach(name, baud, line))  # for a serial port the library does so only later
    return line


async def attach(
    name: str, baud: int, protocol: asyncio.Protocol, *, behind: str = "the relay"
) -> asyncio.Transport:
    """Open a serial port, 8N1, for this program alone, or the ``socket://host:port`` of a terminal server.

    DTR and RTS stay as the system's own open() leaves them, and are not dropped at close: an edge on them
    resets some boards. Cancelled, it leaves the port free.

    Args:
        name: as for :func:`device_path`.
        baud: speed.
        protocol: gets what comes in.
        behind: what is plugged into this machine, for messages.

    Raises:
        PortBusy: another program has it open.
        DeviceOffline: it cannot be opened for another reason.
        OSError, UnicodeError: the terminal server cannot be reached.
    """
    if "://" in name:
        return await _connect(name, protocol)
    path = device_path(name)
    try:
        return await _hand_over(await _open(path, baud), protocol)
    except (OSError, ValueError) as error:
        failure = PortBusy if _number(error) in _BUSY else DeviceOffline
        raise failure(open_failure(path, error, behind)) from error


def open_failure(path: str, error: Exception, behind: str = "the relay") -> str:
    """Return in words why ``path`` could not be opened, and what to do where that is known."""
    number = _number(error)
    if number == errno.ENOENT:
        return f"{path} is not there; is {behind} plugged in?"
    if number in _BUSY:
        return f"{path} is busy: another program has it open"
    if number == errno.EACCES:
        return f"{path}: permission denied; the agent needs the group that owns it, dialout as a rule"
    if number in _GONE:
        return f"{path} is there, but nothing is behind it; is {behind} plugged in?"
    if number == errno.ENOTTY:
        return f"{path} is no serial port"
    return f"{path}: {os.strerror(number) if number else error}"


def _number(error: Exception) -> int | None:
    """Return the system's error number; pyserial keeps the one of a failed setting in the exception before."""
    for source in (error, error.__context__):
        if source is not None and source.args and isinstance(source.args[0], int):
            return source.args[0]
    return None


async def _open(path: str, baud: int) -> serial.Serial:
    """Open a port in a thread, for a USB adapter answers when it likes; cancelled, it leaves the port free."""
    opening = asyncio.get_running_loop().run_in_executor(None, _open_now, path, baud)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([opening])
        if opening.done():
            _close_late(opening)
        else:
            opening.add_done_callback(_close_late)
        raise


async def _hand_over(port: serial.Serial, protocol: asyncio.Protocol) -> asyncio.Transport:
    """Hand an open port to the event loop; raises OSError if it has gone in the meantime."""
    try:
        transport, _ = await serial_asyncio_fast.connection_for_serial(
            asyncio.get_running_loop(), lambda: protocol, port
        )
    except OSError:
        port.close()
        raise
    handed_over: asyncio.Transport = transport
    return handed_over


def _open_now(path: str, baud: int) -> serial.Serial:
    port = serial.Serial(path, baud, exclusive=True)
    if sys.platform != "win32":
        _keep_lines_at_close(port)
    return port


def _close_late(opening: asyncio.Future[serial.Serial]) -> None:
    """Close a port that was opened for somebody who no longer waits."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _keep_lines_at_close(port: serial.Serial) -> None:
    """Clear HUPCL, which drops DTR at close."""
    import termios

    with contextlib.suppress(termios.error, OSError):
        attributes = termios.tcgetattr(port.fileno())
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)


async def _connect(url: str, protocol: asyncio.Protocol) -> asyncio.Transport:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "socket" or not parts.hostname or port is None:
        raise DeviceOffline(f'"{url}" cannot be opened; write socket://host:port')
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: protocol, parts.hostname, port)
    return transport
