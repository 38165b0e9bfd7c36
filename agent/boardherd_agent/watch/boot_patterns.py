"""What a board says on its console while it boots: bytes in, signs out.

A :class:`BootReader` looks at every byte once and in order, so the signs it finds do not depend on how the
bytes were cut into chunks. Patterns after those of labgrid and LAVA: U-Boot's banners and prompt, the
kernel's first line, its panic, and the prompts of login and shell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, StrEnum

from boardherd_agent.watch.texts import brief

MAX_LINE = 512
"""Bytes kept of one line; the rest of a longer one is not looked at."""

_MAX_SEQUENCE = 64
"""A terminal sequence that is longer than this is garbage, and what follows is text again."""


class Stage(StrEnum):
    """Signs on the console, in the order of a boot."""

    SPL = "SPL"
    UBOOT = "U-Boot"
    UBOOT_PROMPT = "U-Boot prompt"
    KERNEL = "kernel"
    PANIC = "kernel panic"
    LOGIN = "login prompt"
    SHELL = "shell prompt"


@dataclass(frozen=True)
class Sign:
    """A stage that was recognised, and the line it was recognised by."""

    stage: Stage
    line: str


_LINES = (
    (Stage.SPL, re.compile(r"^U-Boot SPL 20\d\d")),
    (Stage.UBOOT, re.compile(r"^U-Boot 20\d\d")),
    (Stage.KERNEL, re.compile(r"Starting kernel|Linux version \d")),
    (Stage.PANIC, re.compile(r"(?<!end )Kernel panic - not syncing")),
)
"""Recognised when the line is complete."""

_PROMPTS = (
    (Stage.UBOOT_PROMPT, re.compile(r"^=> $")),
    (Stage.LOGIN, re.compile(r"(?:^|\s)\S+ login: $")),
    (Stage.SHELL, re.compile(r"^\[?\w[\w.-]*@\S+[^#$]{0,80}[#$] $|^(?:[~/]\S* )?[#$] $")),
)
"""No newline follows a prompt: recognised at the space that ends it."""


class _Mode(Enum):
    TEXT = 0
    ESCAPE = 1
    CONTROL = 2
    """``ESC [``: ends with a letter or one of ``@[\\]^_`{|}~`` (ECMA-48)."""
    STRING = 3
    """``ESC ]`` and its like: ends with BEL or ESC backslash."""
    CHARSET = 4
    """``ESC (`` and its like: one more byte."""


class BootReader:
    """Turns console bytes into signs. Memory is bounded whatever arrives."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._mode = _Mode.TEXT
        self._sequence = 0
        self._return = False
        self._last = ""

    @property
    def last_line(self) -> str:
        """The last line with anything on it, even if it is not complete: a dead board's last words."""
        return brief(bytes(self._line)) or self._last

    def feed(self, data: bytes) -> list[Sign]:
        """Return the signs that ``data`` completes, in order."""
        signs: list[Sign] = []
        for byte in data:
            if self._mode is _Mode.TEXT:
                signs += self._text(byte)
            else:
                self._terminal(byte)
        return signs

    def _text(self, byte: int) -> list[Sign]:
        if byte == 0x0A:
            return self._end_line()
        # A carriage return alone starts the line anew, as progress displays do.
        signs = self._end_line() if self._return else []
        self._return = byte == 0x0D
        if byte == 0x1B:
            self._mode, self._sequence = _Mode.ESCAPE, 0
        elif byte == 0x08:
            del self._line[-1:]
        elif byte in {0x20, 0x09}:
            self._append(0x20)
            signs += self._match(_PROMPTS)
        elif byte > 0x20 and byte != 0x7F:
            self._append(byte)
        return signs

    def _terminal(self, byte: int) -> None:
        """Skip one byte of a terminal sequence."""
        self._sequence += 1
        match self._mode:
            case _Mode.ESCAPE:
                self._mode = _after_escape(byte)
            case _Mode.CONTROL | _Mode.STRING if byte == 0x1B:
                self._mode = _Mode.ESCAPE
            case _Mode.CONTROL if 0x40 <= byte <= 0x7E:
                self._mode = _Mode.TEXT
            case _Mode.STRING if byte == 0x07:
                self._mode = _Mode.TEXT
            case _Mode.CHARSET:
                self._mode = _Mode.TEXT
        if self._sequence >= _MAX_SEQUENCE:
            self._mode = _Mode.TEXT

    def _append(self, byte: int) -> None:
        if len(self._line) < MAX_LINE:
            self._line.append(byte)

    def _end_line(self) -> list[Sign]:
        signs = self._match(_LINES)
        self._last = brief(bytes(self._line)) or self._last
        self._line.clear()
        self._return = False
        return signs

    def _match(self, patterns: tuple[tuple[Stage, re.Pattern[str]], ...]) -> list[Sign]:
        text = self._line.decode("utf-8", "replace")
        return [Sign(stage, brief(text)) for stage, pattern in patterns if pattern.search(text)]


def _after_escape(byte: int) -> _Mode:
    match byte:
        case 0x5B:  # [
            return _Mode.CONTROL
        case 0x5D | 0x50 | 0x58 | 0x5E | 0x5F:  # ] P X ^ _
            return _Mode.STRING
        case 0x28 | 0x29 | 0x2A | 0x2B | 0x23 | 0x25:  # ( ) * + # %
            return _Mode.CHARSET
        case _:
            return _Mode.TEXT
