"""Serial lines with somebody at each end: boards that talk, agents that listen, programs that read."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from boardherd_agent.watch.booting.boot_patterns import Notice, Stage
from boardherd_agent.watch.consoles.console import Console
from boardherd_agent.watch.judging.evidence import ConsoleState, Heard
from support.clock import FakeClock


class Board:
    """The far end of a serial line: a real pseudo-terminal."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        self.slave = slave
        os.set_blocking(self._master, False)

    def says(self, data: bytes) -> None:
        os.write(self._master, data)

    def received(self) -> bytes:
        """Return what was written into the other end since the last call."""
        try:
            return os.read(self._master, 65536)
        except BlockingIOError:
            return b""

    def vanish(self) -> None:
        for handle in (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(handle)

    @property
    def lockable(self) -> bool:
        """Whether nobody holds the line. It is asked by a handle that was open all the time: opening is noticed."""
        try:
            fcntl.flock(self.slave, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self.slave, fcntl.LOCK_UN)
        return True


class Ears:
    """A console that is listened to, and all it told."""

    def __init__(self, port: str, locks: Path, *, tap: bool = False) -> None:
        self.heard: list[Heard] = []
        self.states: list[ConsoleState] = []
        self.console = Console(
            "evm-07",
            port,
            115200,
            FakeClock(),
            locks=locks,
            on_heard=self.heard.append,
            on_state=self.states.append,
            tap=tap,
        )

    @property
    def state(self) -> str | None:
        return self.states[-1].trouble if self.states else None

    @property
    def stages(self) -> list[Stage | Notice]:
        return [heard.stage for heard in self.heard if heard.stage]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.console.run(), name="console under test")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return once ``condition`` holds; TimeoutError otherwise."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the world tells nobody when it changes
            await asyncio.sleep(0.01)
