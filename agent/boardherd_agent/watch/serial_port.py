"""Serial ports opened to listen: respected when busy, never written to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from boardherd_agent.devices.device import DeviceOffline
from boardherd_agent.devices.serial_ports import BY_ID, PortBusy, attach, device_path
from boardherd_agent.watch.texts import brief, error_text

LOCKS = Path("/var/lock")

_OPEN_S = 5.0


class SerialUnavailable(Exception):  # noqa: N818 - a state of the world, not a fault of the program
    """The port cannot be listened to now; the message says why."""


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
    device = device_path(name, by_id)
    if "://" not in name:
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


async def _open(device: str, baud: int, listener: Listener) -> asyncio.Transport:
    """Open a port within a few seconds; raises SerialUnavailable."""
    try:
        async with asyncio.timeout(_OPEN_S):
            return await attach(device, baud, listener, behind="the adapter")
    except TimeoutError:
        raise SerialUnavailable(f"{device}: no answer within {_OPEN_S:g} s") from None
    except PortBusy as error:
        raise SerialUnavailable(f"busy: another program has locked {device}") from error
    except DeviceOffline as error:
        raise SerialUnavailable(brief(str(error))) from error
    except UnicodeError as error:
        raise SerialUnavailable(f"{device}: this is no host name") from error
    except OSError as error:
        raise SerialUnavailable(f"{device}: {error_text(error)}") from error
