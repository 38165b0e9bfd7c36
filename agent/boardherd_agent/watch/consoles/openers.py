"""Who else has a serial port open. Linux alone can tell; elsewhere nobody is ever seen.

A port that two programs read gives each of them half of the bytes, and the kernel does not mind. inotify tells
of every open and close of the device at the moment it happens, whoever does it, without any right but to read
the device. What was open before we looked is found in /proc, as far as its processes are ours to look into.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
from pathlib import Path

import structlog

_OPEN, _CLOSE_WRITE, _CLOSE_NOWRITE, _IGNORED, _OVERFLOW = 0x20, 0x08, 0x10, 0x8000, 0x4000
_EVENT = struct.Struct("iIII")
_READ_SIZE = 4096

log = structlog.get_logger()


class Openers:
    """Counts the programs that have opened one device, from :meth:`watch` on."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        """Is set when somebody, we or others, opened or closed the device."""
        self._inotify = -1
        self._watched: int | None = None
        self._count = 0

    def watch(self, device: str) -> None:
        """Watch ``device`` from now on; the same one again goes on counting."""
        if self._inotify < 0 and not self._begin():
            return
        self._take()
        wd = _library().inotify_add_watch(
            self._inotify, os.fsencode(device), _OPEN | _CLOSE_WRITE | _CLOSE_NOWRITE
        )
        if wd < 0 or wd != self._watched:
            self._forget()
            self._watched = wd if wd >= 0 else None

    def count(self) -> int:
        """Return how many hold the device now of those who opened it since it is watched, ourselves among them."""
        self._take()
        return self._count

    def close(self) -> None:
        """Watch no longer."""
        if self._inotify >= 0:
            asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify, self._watched, self._count = -1, None, 0

    def _begin(self) -> bool:
        if sys.platform != "linux":
            return False
        descriptor: int = _library().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            log.info("who else opens a console cannot be seen", why=os.strerror(ctypes.get_errno()))
            return False
        self._inotify = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._happened)
        return True

    def _happened(self) -> None:
        if self._take():
            self.moved.set()

    def _take(self) -> bool:
        """Count what has happened since the last call; tell whether anything has."""
        if self._inotify < 0:
            return False
        happened = False
        try:
            while events := os.read(self._inotify, _READ_SIZE):
                happened = True
                self._note_all(events)
        except BlockingIOError:
            pass
        return happened

    def _note_all(self, events: bytes) -> None:
        place = 0
        while place < len(events):
            wd, mask, _cookie, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size + length
            self._note(wd, mask)

    def _note(self, wd: int, mask: int) -> None:
        if mask & _OVERFLOW or (mask & _IGNORED and wd == self._watched):  # lost count, or the device is gone
            self._forget()
        elif wd == self._watched and mask & _OPEN:
            self._count += 1
        elif wd == self._watched:
            self._count = max(0, self._count - 1)

    def _forget(self) -> None:
        self._watched, self._count = None, 0


def holders(device: str) -> list[int]:
    """Return the processes that have ``device`` open, as far as we may look; not ourselves. Takes milliseconds."""
    if sys.platform != "linux":
        return []
    target, own = os.path.realpath(device), str(os.getpid())
    processes = (it for it in Path("/proc").glob("[0-9]*") if it.name != own)
    return [int(process.name) for process in processes if _has_open(process, target)]


def _has_open(process: Path, target: str) -> bool:
    try:
        with os.scandir(process / "fd") as files:
            return any(_leads_to(file.path) == target for file in files)
    except OSError:  # it has ended, or is somebody else's
        return False


def _leads_to(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - tens of thousands of them; a Path each would cost seconds
    except OSError:
        return ""


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
