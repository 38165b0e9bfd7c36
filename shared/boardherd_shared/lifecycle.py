"""One entry, one exit: signals become one cancellation, systemd hears how it goes."""

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
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: systemd does not restart after it (``RestartPreventExitStatus=78``)."""

STOP_WITHIN_S = 9.0
"""After this the process is ended without ceremony, to keep the promise to stop within 10 s."""

_COMPLAIN_EVERY_S = 60.0

log = structlog.get_logger()


class CannotStart(Exception):  # noqa: N818
    """The world does not allow this program to run: a port is taken, a directory cannot be written.

    The message is one sentence for the operator; the process ends with exit code 1 and no traceback.
    """


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run ``main`` until it ends or SIGTERM or SIGINT cancels it; return the exit code.

    0 after a signal or a normal end; 1 after CannotStart, or after a bug, which is logged with its traceback.
    Uses the selector event loop everywhere, since the MQTT library needs one that can watch sockets.
    """
    with asyncio.Runner(loop_factory=_selector_loop) as runner:
        try:
            return runner.run(_until_stopped(main))
        except KeyboardInterrupt:  # Windows, where the loop takes no signal handlers
            return 0


def _selector_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop()


async def _until_stopped(main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_Complaints())
    task = loop.create_task(main(), name="main")
    stopped = False

    def stop(number: int) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            log.info("stopping", signal=signal.Signals(number).name)
            notify("STOPPING=1")
            _end_hard_after(STOP_WITHIN_S)
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    except Exception as error:  # noqa: BLE001 - the last one to hear of it
        return _explain(error)
    return 0


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


def _end_hard_after(seconds: float) -> None:
    def end() -> None:
        sys.stderr.write(f"did not stop within {seconds:g} s, ending now\n")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def notify(message: str) -> None:
    """Tell systemd something ("READY=1", "WATCHDOG=1", "STATUS=..."); does nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
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
