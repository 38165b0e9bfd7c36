"""Serial ports opened to listen: respected when busy, left when somebody else comes, not written to by themselves.

Nobody is announced who opens a port. Those who care leave a lock, ``flock`` or an ``LCK..`` file; those who do
not are noticed by :mod:`boardherd_agent.watch.consoles.openers`, for two readers of one port get half of the bytes
each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from boardherd_agent.devices.device import DeviceOffline
from boardherd_agent.devices.serial_ports import BY_ID, PortBusy, attach, device_path
from boardherd_agent.watch.consoles.openers import Openers, holders
from boardherd_agent.watch.consoles.remote_port import connect
from boardherd_agent.watch.texts import brief, error_text

LOCKS = Path("/var/lock")

_OPEN_S = 5.0
_CHECK_S = 1.0
"""How often it is looked for an ``LCK..`` file, which nothing announces."""


class SerialUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The port cannot be listened to now; the message says why."""


class PortTaken(SerialUnavailable):
    """Somebody else has opened the port; it was left to him."""


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
    name: str,
    baud: int,
    on_data: Callable[[bytes], None],
    openers: Openers,
    *,
    by_id: Path = BY_ID,
    locks: Path = LOCKS,
    exclusive: bool = False,
) -> AsyncIterator[Listener]:
    """Listen on a serial port, or on one behind a terminal server (``socket://`` or ``rfc2217://``).

    Args:
        name: the port as in lab.toml.
        baud: its speed.
        on_data: gets the bytes as they come.
        openers: counts who has the device open.
        by_id: where udev keeps stable names of serial ports.
        locks: where programs keep ``LCK..`` files.
        exclusive: refuse others the port (TIOCEXCL), but for root, whom the kernel lets in.

    Raises:
        SerialUnavailable: the port cannot be opened, or others have it.
    """
    listener = Listener(on_data, openers)
    if "://" in name:
        transport = await _open(name, connect(name, baud, listener))
    else:
        device = device_path(name, by_id)
        _refuse_busy(device, locks, openers)
        listener.device, listener.locks = device, locks
        transport = await _open(device, attach(device, baud, listener, behind="the adapter"))
    listener.opened(transport)
    try:
        if listener.device:
            await _refuse_held(listener.device)
            listener.keep_others_out(exclusive)
        yield listener
    finally:
        listener.keep_others_out(False)
        transport.abort()
        await listener.closed.wait()


def _refuse_busy(device: str, locks: Path, openers: Openers) -> None:
    """Raise SerialUnavailable if it is known before opening that somebody has the port."""
    if holder := lock_holder(device, locks):
        raise SerialUnavailable(f"busy: process {holder} has locked {Path(device).name}")
    openers.watch(device)
    if openers.count():
        raise PortTaken(f"busy: another program has {device} open")


async def _refuse_held(device: str) -> None:
    """Raise SerialUnavailable if somebody has had the port open since before we looked."""
    if found := await asyncio.to_thread(holders, device):
        raise PortTaken(f"busy: process {found[0]} has {device} open")


class _Port(Protocol):
    def fileno(self) -> int: ...


class Listener(asyncio.Protocol):
    """The agent's end of an open port."""

    def __init__(self, on_data: Callable[[bytes], None], openers: Openers) -> None:
        self._on_data = on_data
        self._openers = openers
        self.closed = asyncio.Event()
        self._trouble = ""
        self.device = ""
        self.locks = LOCKS
        self._transport: asyncio.Transport | None = None
        self._port: _Port | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._exclusive = False

    def opened(self, transport: asyncio.Transport) -> None:
        """Take note of what the port is written to and closed by."""
        self._transport = transport
        self._port = getattr(transport, "serial", None)
        if self._port is None:
            transport.set_write_buffer_limits(high=0)
        else:
            _let_plain_readers_wait(self._port)

    def data_received(self, data: bytes) -> None:
        """Hand on what arrived."""
        self._on_data(data)

    def pause_writing(self) -> None:
        """Note that the network takes no more for now."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Note that the network takes more."""
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why the port is gone."""
        self._trouble = brief(str(exc)) if exc else "closed by the other side"
        self.closed.set()
        self._room.set()
        self._openers.moved.set()

    def keep_others_out(self, exclusive: bool) -> None:
        """Refuse others to open the port, or let them again."""
        if self._port is None or exclusive == self._exclusive or sys.platform == "win32":
            return
        import fcntl
        import termios

        with contextlib.suppress(OSError, ValueError):  # the port has gone
            fcntl.ioctl(self._port.fileno(), termios.TIOCEXCL if exclusive else termios.TIOCNXCL)
        self._exclusive = exclusive

    async def write(self, data: bytes) -> None:
        """Write ``data`` and return when the port has taken it; raises SerialUnavailable when it is gone."""
        while data and not self.closed.is_set():
            data = data[await self._write_some(data) :]
        if data:
            raise SerialUnavailable(f"lost: {self._trouble}")

    async def _write_some(self, data: bytes) -> int:
        if self._port is None:
            assert self._transport is not None
            await self._room.wait()
            self._transport.write(data)
            return len(data)
        try:  # not by the transport: pyserial spins while a port that does not block is full
            return os.write(self._port.fileno(), data)
        except BlockingIOError:
            await self._until_writable(self._port.fileno())
            return 0
        except (OSError, ValueError) as error:
            raise SerialUnavailable(f"lost: {brief(str(error))}") from error

    async def _until_writable(self, descriptor: int) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(descriptor, ready.set)
        try:
            async with asyncio.timeout(_CHECK_S):
                await ready.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_writer(descriptor)

    async def until_lost(self, leave: Callable[[], str]) -> None:
        """Return never; raises SerialUnavailable when the port is gone, or ``leave`` says why to leave it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_S):
                    await self._openers.moved.wait()
            self._openers.moved.clear()
            if self.closed.is_set():
                raise SerialUnavailable(f"lost: {self._trouble}")
            if self.device and (holder := lock_holder(self.device, self.locks)):
                raise SerialUnavailable(f"busy: left to process {holder}, which locked it")
            if self.device and not self._exclusive and self._openers.count() > 1:
                raise PortTaken("busy: left to another program, which has opened it")
            if why := leave():
                raise SerialUnavailable(why)


def _let_plain_readers_wait(port: _Port) -> None:
    """Undo pyserial's VMIN 0, which outlasts us: ``cat`` would take a silent port for the end of a file."""
    if sys.platform == "win32":
        return
    import termios

    with contextlib.suppress(termios.error, OSError):
        attributes = termios.tcgetattr(port.fileno())
        attributes[6][termios.VMIN] = 1
        termios.tcsetattr(port.fileno(), termios.TCSANOW, attributes)


async def _open(port: str, opening: Coroutine[Any, Any, asyncio.Transport]) -> asyncio.Transport:
    """Open a port within a few seconds; raises SerialUnavailable."""
    try:
        async with asyncio.timeout(_OPEN_S):
            return await opening
    except TimeoutError:
        raise SerialUnavailable(f"{port}: no answer within {_OPEN_S:g} s") from None
    except PortBusy as error:
        raise SerialUnavailable(f"busy: another program has locked {port}") from error
    except UnicodeError as error:
        raise SerialUnavailable(f"{port}: this is no host name") from error
    except (DeviceOffline, ValueError) as error:
        raise SerialUnavailable(brief(str(error))) from error
    except OSError as error:
        raise SerialUnavailable(f"{port}: {error_text(error)}") from error
