"""Listens to a board's serial console and tells what it hears. Never writes: a newline stops U-Boot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from boardherd_agent.devices.serial_ports import BY_ID
from boardherd_agent.watch.boot_patterns import BootReader
from boardherd_agent.watch.evidence import ConsoleState, Heard
from boardherd_agent.watch.serial_port import LOCKS, SerialUnavailable, listening
from boardherd_shared.backoff import delays
from boardherd_shared.clock import Clock

_STEADY_S = 10.0
"""A port that stayed open this long starts the next series of waits from the beginning."""

log = structlog.get_logger()


class Console:
    """Keeps one console open while it can be, and tells of each sign, of each chunk, and of its own state."""

    def __init__(
        self,
        board: str,
        port: str,
        baud: int,
        clock: Clock,
        *,
        on_heard: Callable[[Heard], None],
        on_state: Callable[[ConsoleState], None],
        by_id: Path = BY_ID,
        locks: Path = LOCKS,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            board: for the log.
            port: as in lab.toml: a name below ``by_id``, a device path, or socket://host:port.
            baud: speed of the port.
            clock: tells when something was heard.
            on_heard: called for each chunk of characters, and once for each sign in it, in order.
            on_state: called when the port was opened, and with the trouble when it cannot be read.
            by_id: where udev keeps stable names of serial ports.
            locks: where programs keep ``LCK..`` files.
        """
        self._board = board
        self._port = port
        self._baud = baud
        self._clock = clock
        self._on_heard = on_heard
        self._on_state = on_state
        self._by_id = by_id
        self._locks = locks
        self._trouble: str | None = None
        self._reader = BootReader()
        self._last_up = 0

    async def run(self) -> None:
        """Listen until cancelled; a port that vanishes or is busy is tried again with back-off."""
        waits = delays()
        while True:
            opened = time.monotonic()
            try:
                await self._listen()
            except SerialUnavailable as error:
                self._report(str(error))
            if time.monotonic() - opened > _STEADY_S:
                waits = delays()
            await asyncio.sleep(next(waits))

    async def _listen(self) -> None:
        self._reader = BootReader()
        async with listening(
            self._port, self._baud, self._heard, by_id=self._by_id, locks=self._locks
        ) as listener:
            self._report("")
            await listener.until_lost()

    def _heard(self, data: bytes) -> None:
        # Signs of one chunk get successive times, so that their order is kept.
        up = max(self._clock.up(), self._last_up + 1)
        for sign in self._reader.feed(data):
            self._on_heard(Heard(up, sign.line, sign.stage))
            up += 1
        self._on_heard(Heard(up, self._reader.last_line))
        self._last_up = up

    def _report(self, trouble: str) -> None:
        """Tell of a change of the port's state, once."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("the console cannot be read", board=self._board, why=trouble)
        else:
            log.info("the console is read", board=self._board, port=self._port)
        self._on_state(ConsoleState(self._clock.up(), trouble))
