"""How a console is shown to one who reads it: as the bytes that they are, or as JSON, a line each. Pure."""

from __future__ import annotations

from typing import Protocol

from boardherd_agent.watch.consoles.scrollback import Scrollback, printable_lines
from boardherd_shared.console import ConsoleLine

_LONGEST = 64 * 1024
"""A line that is longer than this is told in pieces."""


class Telling(Protocol):
    """Makes what is sent out of what was said."""

    def said(self, data: bytes, offset: int) -> bytes:
        """Return what to send for bytes of the console, the first of which has this offset."""
        ...

    def notice(self, words: str) -> bytes:
        """Return what to send when the agent itself has something to say."""
        ...


class Raw:
    """Bytes as they came; what the agent says stands on a line of its own."""

    def said(self, data: bytes, offset: int) -> bytes:
        """Return the bytes."""
        del offset
        return data

    def notice(self, words: str) -> bytes:
        """Return the words on a line."""
        return f"\r\n[boardherd: {words}]\r\n".encode()


class Lines:
    """JSON, one object a line, each with the time at which its line began."""

    def __init__(self, scrollback: Scrollback) -> None:
        """Take the times from ``scrollback``."""
        self._scrollback = scrollback
        self._begun = b""
        self._at = 0

    def said(self, data: bytes, offset: int) -> bytes:
        """Return the lines that ``data`` completes."""
        told = bytearray()
        for piece in data.splitlines(keepends=True):
            if not self._begun:
                self._at = self._scrollback.time_of(offset)
            self._begun += piece
            offset += len(piece)
            if piece.endswith(b"\n") or len(self._begun) > _LONGEST:
                told += self._take()
        return bytes(told)

    def notice(self, words: str) -> bytes:
        """Return what is begun of a line, and the words."""
        return self._take() + _encoded(ConsoleLine(text=words, notice=True))

    def _take(self) -> bytes:
        line, self._begun = self._begun, b""
        told = (ConsoleLine(at=self._at / 1e6, text=text) for text in printable_lines(line))
        return b"".join(map(_encoded, told))


def _encoded(line: ConsoleLine) -> bytes:
    return line.model_dump_json(exclude_none=True, exclude_defaults=True).encode() + b"\n"
