"""A board's serial console: one end of a pseudo-terminal, and the line editing of its prompts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_UNREAD_LIMIT = 64 * 1024
"""Bytes kept for a reader that has the console open and is slow; the oldest are dropped."""

_LOOK_AGAIN_S = 0.05
"""How often to look whether somebody has opened the console: nothing announces an opener."""

_CHUNK = 4096
_LONGEST_LINE = 200


class SerialLine:
    """The board's end of a serial cable, under a path that stays the same.

    What is written while nobody has the other end open is lost, as on a real line; a reader that has it
    open and does not read never blocks the writer. Openers may come and go as often as they like.
    """

    def __init__(self, path: Path, typed: Callable[[bytes], None]) -> None:
        """Describe a line; it is made by entering its context.

        Args:
            path: where the other end can be opened, a symbolic link that replaces whatever is there.
            typed: called with what was written into the other end.
        """
        self.path = path
        self._typed = typed
        self._master = -1
        self._unread = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.pull()

    def plug(self) -> None:
        """Let the other end be there; nothing happens if it is."""
        if self._master >= 0:
            return
        self._master, slave = os.openpty()
        tty.setraw(slave)
        device = os.ttyname(slave)
        # Kept open it would hide whether anybody listens, and a late opener would get stale output.
        os.close(slave)
        os.set_blocking(self._master, False)
        _point(self.path, device)
        self._listen()

    def pull(self) -> None:
        """Take the other end away, as pulling the adapter does: whoever has it open sees it hang up."""
        if self._master < 0:
            return
        self._rest()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        os.close(self._master)
        self._master = -1

    def write(self, data: bytes) -> None:
        """Send ``data``, at once or when the reader gets round to it; lost if nobody has the line open."""
        if self._master < 0 or not self._has_reader():
            self._unread.clear()
            return
        self._unread += data
        del self._unread[:-_UNREAD_LIMIT]
        self._flush()

    def discard(self) -> None:
        """Drop what has not left yet, as a power cut does."""
        self._unread.clear()

    def _events(self) -> int:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return next((events for _, events in poll.poll(0)), 0)

    def _has_reader(self) -> bool:
        return not self._events() & select.POLLHUP

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._master)
        try:
            while self._unread:
                del self._unread[: os.write(self._master, self._unread)]
        except BlockingIOError:
            loop.add_writer(self._master, self._flush)
        except OSError:  # EIO: the reader has just gone
            self._unread.clear()

    def _listen(self) -> None:
        """Wait for input; an unopened pseudo-terminal is always "readable", so look at it now and then."""
        events = self._events()
        loop = asyncio.get_running_loop()
        if events & select.POLLIN or not events & select.POLLHUP:
            loop.add_reader(self._master, self._read)
        else:
            self._timer = loop.call_later(_LOOK_AGAIN_S, self._listen)

    def _read(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last opener has gone
            self._rest()
            self._listen()
            return
        self._typed(data)

    def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        self._unread.clear()
        if self._timer is not None:
            self._timer.cancel()


class LineInput:
    """What a prompt does with typed characters: echo them, rub out, and hand on whole lines."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        """Make an empty line; ``echo`` gets what the terminal shall show."""
        self._echo = echo
        self._line = ""
        self._after_return = False

    def clear(self) -> None:
        """Forget the line begun."""
        self._line, self._after_return = "", False

    def feed(self, data: bytes) -> Iterator[str]:
        """Take typed bytes and yield each line that they complete; CR, LF and CR LF all end a line."""
        for character in data.decode("ascii", "ignore"):
            if character == "\n" and self._after_return:
                self._after_return = False
                continue
            self._after_return = character == "\r"
            if character in "\r\n":
                line, self._line = self._line, ""
                self._echo("\n")
                yield line
            elif character in "\b\x7f":
                self._echo("\b \b" if self._line else "")
                self._line = self._line[:-1]
            elif character.isprintable() and len(self._line) < _LONGEST_LINE:
                self._line += character
                self._echo(character)


def _point(path: Path, device: str) -> None:
    """Make ``path`` a symbolic link to ``device`` without a moment in which it leads nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(device)
    fresh.replace(path)
