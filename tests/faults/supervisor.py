"""What systemd does with a service of ``Type=notify``: it listens, and ends one that has fallen silent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

from faults.processes import Child


class Watchdog:
    """Hears a process say that it is well; its ``environment`` is to be given to that process."""

    def __init__(self, place: Path, limit_s: float) -> None:
        """Listen at ``place``, and bear a silence of ``limit_s``, as ``WatchdogSec=`` of a unit."""
        self.environment = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": str(round(limit_s * 1e6))}
        self._place = place
        self._limit_s = limit_s
        self._heard_at: float | None = None
        self.bites = 0
        """How often it had to end the process."""

    @contextlib.asynccontextmanager
    async def guarding(self, child: Child) -> AsyncIterator[None]:
        """End ``child`` with SIGABRT and start it anew whenever it is silent for too long, inside the block."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(self._place))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(sock, self._hear, sock)
            task = asyncio.create_task(self._guard(child), name="watchdog")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                loop.remove_reader(sock)

    def _hear(self, sock: socket.socket) -> None:
        if b"WATCHDOG=1" in sock.recv(4096):
            self._heard_at = time.monotonic()

    async def _guard(self, child: Child) -> None:
        while True:
            await asyncio.sleep(0.05)
            if self._heard_at is not None and time.monotonic() - self._heard_at > self._limit_s:
                self._heard_at = None  # the next one has its time to start
                self.bites += 1
                assert await child.end(signal.SIGABRT) == -signal.SIGABRT
                child.start()

    async def heard(self) -> None:
        """Return once it has heard the process."""
        while self._heard_at is None:  # noqa: ASYNC110 - a plain field
            await asyncio.sleep(0.02)
