"""Serial ports opened to listen: found by name, respected when busy, never written to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import serial
import serial_asyncio_fast

from boardherd_agent.watch.texts import brief, error_text

BY_ID = Path("/dev/serial/by-id")
LOCKS = Path("/var/lock")

_BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY}
_CONNECT_S = 5.0


class SerialUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The port cannot be listened to now; the message says why."""


def device_path(name: str, by_id: Path = BY_ID) -> str:
    """Return the device that ``name`` in lab.toml means.

    A path or, on Windows, a port name is taken as it is; anything else is a name below /dev/serial/by-id, of
    which udev's ending "-port0" may be left out.
    """
    if name.startswith("/") or sys.platform == "win32":
        return name
    path = by_id / name
    with_port = by_id / f"{name}-port0"
    return str(with_port if with_port.exists() and not path.exists() else path)


def lock_holder(device: str, locks: Path = LOCKS) -> int | None:
    """Return the process that holds the ``LCK..`` file of ``device``, if one does.

    minicom and other old hands keep such files (Filesystem Hierarchy Standard 5.9): the process id in ten
    digits. A file whose process has ended is stale and counts for nothing.
    """
    try:
        pid = int((locks / f"LCK..{Path(os.path.realpath(device)).name}").read_text("ascii", "replace"))
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and pid != os.getpid() and _runs(pid) else None


def _runs(pid: int) -> bool:
    if not hasattr(os, "kill") or sys.platform == "win32":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextlib.asynccontextmanager
async def listening(
    name: str, baud: int, on_data: Callable[[bytes], None], *, by_id: Path = BY_ID, locks: Path = LOCKS
) -> AsyncIterator[Listener]:
    """Listen on a serial port, or on a ``socket://host:port`` behind which a terminal server has one.

    ``on_data`` gets the bytes as they come. Raises SerialUnavailable when the port cannot be opened.
    """
    listener = Listener(on_data)
    if "://" in name:
        transport = await _connect(name, listener)
    else:
        device = device_path(name, by_id)
        if holder := lock_holder(device, locks):
            raise SerialUnavailable(f"busy: process {holder} has locked {Path(device).name}")
        listener.device, listener.locks = device, locks
        transport = await _open(device, baud, listener)
    try:
        yield listener
    finally:
        transport.abort()
        await listener.closed.wait()


class Listener(asyncio.Protocol):
    """The receiving end of an open port."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._on_data = on_data
        self.closed = asyncio.Event()
        self._trouble = ""
        self.device = ""
        self.locks = LOCKS

    def data_received(self, data: bytes) -> None:
        """Hand on what arrived."""
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why the port is gone."""
        self._trouble = brief(str(exc)) if exc else "closed by the other side"
        self.closed.set()

    async def until_lost(self, check_s: float = 1.0) -> None:
        """Return never; raises SerialUnavailable when the port is gone or somebody else locks it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(check_s):
                    await self.closed.wait()
                    raise SerialUnavailable(f"lost: {self._trouble}")
            if self.device and (holder := lock_holder(self.device, self.locks)):
                raise SerialUnavailable(f"busy: left to process {holder}, which locked it")


async def _connect(url: str, listener: Listener) -> asyncio.Transport:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "socket" or not parts.hostname or port is None:
        raise SerialUnavailable(f'"{url}" cannot be opened; write socket://host:port')
    try:
        async with asyncio.timeout(_CONNECT_S):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: listener, parts.hostname, port
            )
    except TimeoutError:
        raise SerialUnavailable(f"{url}: no answer within {_CONNECT_S:g} s") from None
    except OSError as error:
        raise SerialUnavailable(f"{url}: {error_text(error)}") from error
    return transport


async def _open(device: str, baud: int, listener: Listener) -> asyncio.Transport:
    """Open a device for exclusive use, leaving DTR and RTS as the system's open() leaves them.

    pyserial sets both lines to on, which is what Linux does itself at open(); setting anything else would be
    an edge that resets some boards.
    """
    try:
        transport, _ = await serial_asyncio_fast.create_serial_connection(
            asyncio.get_running_loop(), lambda: listener, device, baudrate=baud, exclusive=True
        )
    except (serial.SerialException, OSError, ValueError) as error:
        raise SerialUnavailable(_why(device, error)) from error
    if transport.serial is not None and sys.platform != "win32":
        _keep_lines_at_close(transport.serial)
    opened: asyncio.Transport = transport
    return opened


def _why(device: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return f"{device} is not there"
    if number in _BUSY:
        return f"busy: another program has locked {device}"
    if number == errno.EACCES:
        return f"{device}: permission denied; the agent needs the group that owns it, dialout as a rule"
    return brief(f"{device}: {os.strerror(number) if number else error}")


def _keep_lines_at_close(port: serial.Serial) -> None:
    """Clear HUPCL: otherwise closing drops DTR and the next opening raises it, an edge that resets boards."""
    import termios

    with contextlib.suppress(termios.error, OSError):
        attributes = termios.tcgetattr(port.fileno())
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)
