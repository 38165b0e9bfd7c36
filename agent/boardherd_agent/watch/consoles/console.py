"""Keeps a board's serial console: hears what it says, remembers it, and lets go of it when it is somebody's.

``when-idle``: the port is open only while nobody holds the board, and is never written to, for a newline stops
U-Boot. ``tap``: the port is the agent's, who shares it (:mod:`boardherd_agent.watch.consoles.sharing`) and writes what
the holder of the board's lock types.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from boardherd_agent.devices.serial_ports import BY_ID, device_path
from boardherd_agent.watch.booting.boot_patterns import BootReader
from boardherd_agent.watch.consoles.openers import Openers, holders
from boardherd_agent.watch.consoles.scrollback import Scrollback
from boardherd_agent.watch.consoles.serial_port import (
    LOCKS,
    Listener,
    PortTaken,
    SerialUnavailable,
    listening,
)
from boardherd_agent.watch.judging.evidence import ConsoleState, Heard
from boardherd_shared.backoff import delays
from boardherd_shared.clock import Clock

_STEADY_S = 10.0
"""A port that stayed open this long starts the next series of waits from the beginning."""

_LOOK_S = 0.5
"""How often it is looked whether the board is free again; its holder's end is told besides."""

_CALM_S = 2.0
"""A port that somebody had opened is left alone this long after he closed it: many programs open it twice."""

_LOOK_FOR_HOLDERS_S = 10.0
"""How often it is looked whether a program still has the port that had it before we came: nothing tells its end."""

_CLOSE_S = 5.0
"""How long whoever takes the board waits for the port to be closed. Only an adapter that hangs takes longer."""

_TAP_BYTES = 1024 * 1024
_IDLE_BYTES = 256 * 1024

log = structlog.get_logger()


class Console:
    """Keeps one console open while it may, and tells of each sign, of each chunk, and of its own state."""

    def __init__(
        self,
        board: str,
        port: str,
        baud: int,
        clock: Clock,
        *,
        on_heard: Callable[[Heard], None],
        on_state: Callable[[ConsoleState], None],
        tap: bool = False,
        by_id: Path = BY_ID,
        locks: Path = LOCKS,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            board: the board's id.
            port: as in lab.toml: a name below ``by_id``, a device path, socket://host:port or
                rfc2217://host:port.
            baud: speed of the port.
            clock: tells when something was heard.
            on_heard: called for each chunk of characters, and once for each sign in it, in order.
            on_state: called when the port was opened, and with the trouble when it cannot be read.
            tap: the port stays the agent's whoever holds the board.
            by_id: where udev keeps stable names of serial ports.
            locks: where programs keep ``LCK..`` files.
        """
        self.board = board
        self.tap = tap
        self.scrollback = Scrollback(_TAP_BYTES if tap else _IDLE_BYTES)
        """What the console said lately."""
        self.held: Callable[[], str] = lambda: ""
        """Returns to whom the port is left, in words; empty while nobody holds the board. Set by who knows."""
        self._port, self._baud, self._clock = port, baud, clock
        self._on_heard, self._on_state = on_heard, on_state
        self._by_id, self._locks = by_id, locks
        self._trouble: str | None = None
        self._reader = BootReader()
        self._last_up = 0
        self._openers = Openers()
        self._listener: Listener | None = None
        self._session: asyncio.Task[None] | None = None
        self._vacated = 0
        self._wake = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def device(self) -> str:
        """What a program opens to have the console for itself: a path of this machine, or a URL."""
        return device_path(self._port, self._by_id)

    @property
    def trouble(self) -> str:
        """Why the port cannot be read now, in words; empty while it is."""
        return "not opened yet" if self._trouble is None else self._trouble

    @property
    def left_to(self) -> str:
        """To whom the port is left, in words; empty while it is the agent's to open."""
        if self.tap:
            return ""
        return self.held() or ("left to whoever is about to lock the board" if self._vacated else "")

    async def run(self) -> None:
        """Listen while it may, until cancelled; a port that vanishes or is busy is tried again with back-off."""
        waits = delays()
        try:
            while True:
                await self._until_ours()
                opened = time.monotonic()
                if taken := await self._listen_while_ours():
                    await self._until_left_alone(taken)
                if time.monotonic() - opened > _STEADY_S:
                    waits = delays()
                if not self.left_to:
                    await self._pause(next(waits))
        finally:
            self._openers.close()

    async def vacate(self) -> None:
        """Close the port, and keep it closed until :meth:`free` is called as often as this; tapped, do nothing.

        Returns when others have the port to themselves; at the latest after five seconds, when an adapter
        hangs that nobody could use.
        """
        self._vacated += 1
        if self.tap or self._session is None:
            return
        self._session.cancel()
        _, hanging = await asyncio.wait({self._session}, timeout=_CLOSE_S)
        if hanging:
            log.warning("the console could not be closed in time", board=self.board, port=self._port)

    def free(self) -> None:
        """Take back one :meth:`vacate`; while :attr:`held` names somebody the port stays closed."""
        self._vacated = max(0, self._vacated - 1)
        self.look_again()

    def look_again(self) -> None:
        """Look at once whether the board is free: its holder has changed."""
        self._wake.set()
        self._tell()

    async def write(self, data: bytes) -> None:
        """Write to a tapped console and return when the port has taken it; raises SerialUnavailable if it cannot."""
        if not self.tap or self._listener is None:
            raise SerialUnavailable(self.trouble or "not written to by the agent")
        await self._listener.write(data)

    async def changed(self) -> None:
        """Wait until something was said, or the state of the port has changed."""
        await self._news.wait()

    async def _until_ours(self) -> None:
        while left_to := self.left_to:
            self._report(left_to)
            if "://" not in self._port:  # who opens it now may still have it when the board is free again
                self._openers.watch(self.device)
            await self._pause(_LOOK_S)

    async def _until_left_alone(self, taken: str) -> None:
        """Wait until whoever has opened the port has closed it and no other has come."""
        self._report(await asyncio.to_thread(_with_name, taken, self.device))
        while await self._others_have_it():
            self._openers.moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_HOLDERS_S):
                    await self._openers.moved.wait()
        await asyncio.sleep(_CALM_S)

    async def _others_have_it(self) -> bool:
        return bool(self._openers.count() or await asyncio.to_thread(holders, self.device))

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _listen_while_ours(self) -> str:
        """Listen until the port is lost or left; return who has opened it, in words, if that was why."""
        session = asyncio.create_task(self._listen(), name=f"port of {self.board}")
        self._session = session
        try:
            await asyncio.wait({session})
        finally:
            session.cancel()
            await asyncio.wait({session})
            self._session = None
        error = None if session.cancelled() else session.exception()
        if isinstance(error, PortTaken):
            return str(error)
        if isinstance(error, SerialUnavailable):
            self._report(str(error))
        elif error:
            raise error
        return ""

    async def _listen(self) -> None:
        self._reader = BootReader()
        self.scrollback.begin()
        async with listening(
            self._port,
            self._baud,
            self._heard,
            self._openers,
            by_id=self._by_id,
            locks=self._locks,
            exclusive=self.tap,
        ) as listener:
            self._report("")
            with self._written_through(listener):
                await listener.until_lost(lambda: self.left_to)

    @contextlib.contextmanager
    def _written_through(self, listener: Listener) -> Iterator[None]:
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    def _heard(self, data: bytes) -> None:
        self.scrollback.add(data, self._clock.wall())
        # Signs of one chunk get successive times, so that their order is kept.
        up = max(self._clock.up(), self._last_up + 1)
        for sign in self._reader.feed(data):
            self._on_heard(Heard(up, sign.line, sign.stage))
            up += 1
        self._on_heard(Heard(up, self._reader.last_line))
        self._last_up = up
        self._tell()

    def _report(self, trouble: str) -> None:
        """Tell of a change of the port's state, once."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if self.left_to:
            log.info("the console is left", board=self.board, why=trouble)
        elif trouble:
            log.warning("the console cannot be read", board=self.board, why=trouble)
        else:
            log.info("the console is read", board=self.board, port=self._port)
        self._on_state(ConsoleState(self._clock.up(), trouble))
        self._tell()

    def _tell(self) -> None:
        """Wake everybody who waits in :meth:`changed`."""
        self._news.set()
        self._news = asyncio.Event()


def _with_name(taken: str, device: str) -> str:
    """Return who has taken a port with his process in it, if we may know that."""
    found = holders(device)
    return taken.replace("another program", f"process {found[0]}", 1) if found else taken
