"""What a console said lately: a bounded ring of bytes in which everybody finds his own place. Pure.

Readers keep an offset, counted from the first byte ever, and ask for what came after it. So the ring is the
only buffer there is, however many read and however slow they are: who lags too far learns how much he missed.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass

from boardherd_agent.watch.texts import brief

_SLACK = 4
"""The ring is cut back when it is a quarter too long, not at every byte."""

_MARK_EVERY = 16
"""Bytes between two times that are kept; what came in smaller pieces shares a time."""

_WORDS_BYTES = 16 * 1024
"""How far back last words are looked for."""

_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]{0,64}(?:\x07|\x1b\\)?|[()*+#%].|[@-Z\\^_a-z0-9=>])",
    re.DOTALL,
)
"""Terminal sequences (ECMA-48), which say nothing to a person."""

_LINE_END = re.compile(rb"\r*\n")


@dataclass(frozen=True)
class Line:
    """A line of the console."""

    at: int
    """When it began, microseconds of the wall clock."""
    text: str


class Scrollback:
    """The newest bytes of a console, with times."""

    def __init__(self, size: int) -> None:
        """Keep the last ``size`` bytes."""
        self._size = size
        self._bytes = bytearray()
        self._first = 0
        self._marks = array("q")
        self._times = array("q")
        self._begun = 0

    @property
    def end(self) -> int:
        """The offset behind the last byte: how many there were ever."""
        return self._first + len(self._bytes)

    def add(self, data: bytes, at: int) -> None:
        """Append what came in at the wall clock time ``at``, in microseconds."""
        if not self._marks or self.end - self._marks[-1] >= _MARK_EVERY:
            self._marks.append(self.end)
            self._times.append(at)
        self._bytes += data
        if len(self._bytes) > self._size + self._size // _SLACK:
            self._trim()

    def begin(self) -> None:
        """Note that what follows is another life of the port: last words are not looked for before this."""
        self._begun = self.end

    def after(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Return up to ``limit`` bytes that came after ``offset``, and how many before them are gone."""
        missed = max(0, self._start - offset)
        place = offset + missed - self._first
        return bytes(self._bytes[place : place + limit]), missed

    def offset_of_last(self, lines: int) -> int:
        """Return where the last ``lines`` lines begin; a line that is not ended yet counts as one."""
        if lines <= 0:
            return self.end
        place, wanted = len(self._bytes), lines
        if self._bytes.endswith(b"\n"):
            wanted += 1
        while wanted and place >= 0:
            place = self._bytes.rfind(b"\n", 0, place)
            wanted -= 1
        return max(self._start, self._first + place + 1)

    def time_of(self, offset: int) -> int:
        """Return when the byte at ``offset`` came in, microseconds of the wall clock."""
        place = bisect_right(self._marks, offset) - 1
        return self._times[max(0, place)] if self._times else 0

    def words(self, lines: int) -> tuple[str, ...]:
        """Return the last lines with anything printable on them, oldest first, since :meth:`begin`."""
        start = max(self._begun, self.end - _WORDS_BYTES, self._start) - self._first
        return tuple(printable_lines(bytes(self._bytes[start:])))[-lines:] if lines > 0 else ()

    @property
    def _start(self) -> int:
        """Offset of the oldest byte that is promised."""
        return max(self._first, self.end - self._size)

    def _trim(self) -> None:
        surplus = len(self._bytes) - self._size
        del self._bytes[:surplus]
        self._first += surplus
        stale = max(0, bisect_right(self._marks, self._first) - 1)
        del self._marks[:stale]
        del self._times[:stale]


def printable_lines(data: bytes) -> list[str]:
    """Return the lines of ``data`` that a person would see, without terminal sequences."""
    lines = (brief(_last_writing(line)) for line in _LINE_END.split(_SEQUENCE.sub(b"", data)))
    return [line for line in lines if line]


def _last_writing(line: bytes) -> bytes:
    """Return what stands there in the end: a carriage return alone writes over what was there."""
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1]
