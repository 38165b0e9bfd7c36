"""One entry, one exit: signals become one cancellation or a reload, systemd hears how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from boardherd_shared.settings import ConfigError

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: systemd does not restart after it (``RestartPreventExitStatus=78``)."""

STOP_WITHIN_S = 9.0
"""After this the process is ended without ceremony, to keep the promise to stop within 10 s."""

_COMPLAIN_EVERY_S = 60.0
_NOTIFY_S = 0.5

log = structlog.get_logger()


class CannotStart(Exception):  # noqa: N818
    """The world does not allow this program to run: a port is taken, a directory cannot be written.

    The message is one sentence for the operator; the process ends with exit code 1 and no traceback.
    """


Main = Callable[[], Coroutine[Any, Any, None]]
"""Makes what runs."""


def run(main: Main, reload: Callable[[], Main] | None = None) -> int:
    """Run ``main`` until it ends or SIGTERM or SIGINT cancels it; return the exit code.

    0 after a signal or a normal end; 1 after CannotStart, or after a bug, which is logged with its traceback.
    Uses the selector event loop everywhere, since the MQTT library needs one that can watch sockets.

    Args:
        main: what runs. It tells systemd itself when it is ready.
        reload: called at SIGHUP, in a thread. It reads the configuration and returns what runs from then on, in
            this same process, once ``main`` has been cancelled and has ended as at a stop; on ConfigError its
            sentences are logged and ``main`` runs on. Without it SIGHUP ends the program, as by default.
    """
    with asyncio.Runner(loop_factory=_selector_loop) as runner:
        try:
            return runner.run(_Life(main, reload).live())
        except KeyboardInterrupt:  # Windows, where the loop takes no signal handlers
            return 0


def _selector_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop()


_at_ready: Callable[[], None] | None = None
"""Hears that what runs in this process is ready."""


class _Life:
    """One process: what runs in it, and what signals make of that."""

    def __init__(self, main: Main, reload: Callable[[], Main] | None) -> None:
        self._main = main
        self._reload = reload
        self._task: asyncio.Task[None]
        self._next: Main | None = None
        """What runs once the present task has ended, which it has been told to do."""
        self._stopped = False
        self._broken: BaseException | None = None
        self._hung_up, self._renewed, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._had_terminal = _has_terminal()

    async def live(self) -> int:
        """Run until the end; return the exit code."""
        global _at_ready  # noqa: PLW0603 - a process has one life
        _at_ready = self._ready.set
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_Complaints())
        self._task = loop.create_task(self._main(), name="main")
        with contextlib.suppress(NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop, number)
            if self._reload is not None and hasattr(signal, "SIGHUP"):
                loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        reloading = loop.create_task(self._keep_reloading(), name="reload")
        reloading.add_done_callback(self._reload_ended)
        try:
            return await self._run()
        finally:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)

    async def _run(self) -> int:
        while True:
            try:
                await self._task
            except asyncio.CancelledError:
                if self._broken is None and not self._stopped and self._next is None:
                    raise
            except Exception as error:  # noqa: BLE001 - the last one to hear of it
                return _explain(error)
            if self._broken is not None:
                return _explain(self._broken)
            if self._stopped or self._next is None:
                return 0
            self._main, self._next = self._next, None
            self._ready.clear()
            self._task = asyncio.get_running_loop().create_task(self._main(), name="main")
            self._renewed.set()

    def _stop(self, number: int) -> None:
        if self._stopped:
            return
        self._stopped = True
        log.info("stopping", signal=signal.Signals(number).name)
        notify("STOPPING=1")
        _end_hard_after(STOP_WITHIN_S)
        if self._next is None:  # else it is being cancelled already
            self._task.cancel()

    async def _keep_reloading(self) -> None:
        while True:
            await self._hung_up.wait()
            await self._ready.wait()  # what has not been opened yet cannot be closed in order
            self._hung_up.clear()
            if self._had_terminal and not _has_terminal():
                self._stop(signal.SIGHUP)  # the terminal was closed: what SIGHUP is called after
            elif not self._stopped:
                await self._renew()

    async def _renew(self) -> None:
        """Let what is configured now take the place of what runs; leave everything as it is if that is wrong."""
        assert self._reload is not None
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            wanted = await asyncio.to_thread(self._reload)
        except ConfigError as error:
            self._refuse(str(error).splitlines())
            return
        if self._stopped or self._task.done():
            return
        log.info("reloading")
        notify("STATUS=")
        self._next = wanted
        self._renewed.clear()
        self._task.cancel()
        hurry = _end_hard_after(STOP_WITHIN_S)
        await self._renewed.wait()
        hurry.cancel()

    def _refuse(self, faults: list[str]) -> None:
        for fault in faults:
            log.error("the new configuration is refused, the old one stays in force", fault=fault)
        notify(f"READY=1\nSTATUS=The new configuration is refused, the old one stays in force: {faults[0]}")

    def _reload_ended(self, task: asyncio.Task[None]) -> None:
        """End the process after a bug in reloading, which nothing but a restart mends."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._task.cancel()


def _has_terminal() -> bool:
    """Tell whether a terminal controls this process: it sends SIGHUP when it is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except (OSError, AttributeError):  # AttributeError: Windows has no such flag
        return False
    return True


class _Complaints:
    """Hears what the event loop has to tell that no task will.

    A server socket that cannot be accepted from, because the process may open no more files, is tried again every
    second: that is said once a minute, and without a traceback.
    """

    def __init__(self) -> None:
        self._said_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in {errno.EMFILE, errno.ENFILE}:
            loop.default_exception_handler(context)
        elif loop.time() - self._said_at > _COMPLAIN_EVERY_S:
            self._said_at = loop.time()
            log.error("no more files can be opened, so nobody new is let in", why=error.strerror)


def _explain(error: BaseException) -> int:
    """Log why the program ends by itself, and return its exit code."""
    reason = error
    while isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    if isinstance(reason, CannotStart):
        sys.stderr.write(f"{reason}\n")
    else:
        log.error("ended by a fault of its own", exc_info=error)
    return 1


def _end_hard_after(seconds: float) -> threading.Timer:
    def end() -> None:
        sys.stderr.write(f"did not stop within {seconds:g} s, ending now\n")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def notify(message: str) -> None:
    """Tell systemd something ("READY=1", "WATCHDOG=1", "STATUS=..."); does nothing without systemd.

    Whatever :func:`run` runs has to say READY=1 also where there is no systemd: it is not replaced before it has.
    """
    if message == "READY=1" and _at_ready is not None:
        _at_ready()
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_NOTIFY_S)  # we do not stand still because somebody does not listen
        sock.connect(address)
        sock.sendall(message.encode())


def watchdog_interval() -> float | None:
    """Return how often systemd wants to hear WATCHDOG=1, in seconds (a third of its limit), or None."""
    limit, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not limit or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / 3e6


def version_of_python() -> str:
    """Return the running interpreter's version, for hello messages and ``--version``."""
    return ".".join(str(part) for part in sys.version_info[:3])


def credentials_directory() -> Path | None:
    """Return where systemd put this service's credentials, if it did."""
    place = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(place) if place else None
