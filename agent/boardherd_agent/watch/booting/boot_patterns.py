"""What a board says on its console while it boots: bytes in, signs out.

A :class:`BootReader` takes every byte once and in order, so the signs it finds do not depend on how the bytes
were cut into chunks. Patterns after those of labgrid and LAVA: U-Boot's banners and prompt, the kernel's
first line, its panic, and the prompts of login and shell.

A board that floods its console must not cost the agent a core: text is taken in runs, and only a line that
holds one of a few words is looked at closely.
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


class Notice(StrEnum):
    """What a kernel says that is no step of a boot."""

    LINK_UP = "link up"
    LINK_DOWN = "link down"
    HALTED = "shut down"


@dataclass(frozen=True)
class Sign:
    """What was recognised, and the line it was recognised by."""

    stage: Stage | Notice
    line: str


_LINES: tuple[tuple[Stage | Notice, re.Pattern[str]], ...] = (
    (Stage.SPL, re.compile(r"^U-Boot SPL 20\d\d")),
    (Stage.UBOOT, re.compile(r"^U-Boot 20\d\d")),
    (Stage.KERNEL, re.compile(r"Starting kernel|Linux version \d")),
    (Stage.PANIC, re.compile(r"(?<!end )Kernel panic - not syncing")),
    (Notice.LINK_UP, re.compile(r"\bLink is Up\b")),
    (Notice.LINK_DOWN, re.compile(r"\bLink is Down\b")),
    (Notice.HALTED, re.compile(r"\breboot: (?:Power down|System halted)")),
)
"""Recognised when the line is complete."""

_TELLING = re.compile(rb"U-Boot|Starting kernel|Linux version|Kernel panic|Link is |reboot: ")
"""A line without any of these words matches none of the patterns above."""

_PROMPTS: tuple[tuple[Stage | Notice, re.Pattern[str]], ...] = (
    (Stage.UBOOT_PROMPT, re.compile(r"^=> $")),
    (Stage.LOGIN, re.compile(r"(?:^|\s)\S+ login: $")),
    (Stage.SHELL, re.compile(r"^\[?\w[\w.-]*@\S+[^#$]{0,80}[#$] $|^(?:[~/]\S* )?[#$] $")),
)
"""No newline follows a prompt: recognised at the space that ends it."""

_PROMPT_END = re.compile(rb"[>:#$] ")
"""How each of the prompts above ends."""

_BREAKS = re.compile(rb"[\n\r\x1b\b]")
"""What ends a run of plain text."""

_COLOUR = re.compile(rb"\x1b\[[0-?]{0,48}[ -/]{0,8}[@-~]")
"""A terminal sequence as most are; taken at once when it lies whole in a chunk."""

_SPACED = bytes.maketrans(b"\t", b" ")
_UNSEEN = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])


_INTERFACE = re.compile(r"([\w.-]+):? (?:NIC )?Link is ")
"""Drivers write "eth0: Link is Up" or "igb: eth0 NIC Link is Up"."""


def interface(line: str) -> str:
    """Return which network interface a line about a link speaks of; empty if it names none."""
    found = _INTERFACE.search(line)
    return found[1] if found else ""


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
        self._last = b""

    @property
    def last_line(self) -> str:
        """The last line with anything on it, even if it is not complete: a dead board's last words."""
        return brief(bytes(self._line)) or brief(self._last)

    def feed(self, data: bytes) -> list[Sign]:
        """Return the signs that ``data`` completes, in order."""
        signs: list[Sign] = []
        place = 0
        while place < len(data):
            if self._mode is not _Mode.TEXT:
                self._terminal(data[place])
                place += 1
                continue
            found = _BREAKS.search(data, place)
            end = found.start() if found else len(data)
            if end > place:
                self._run(data[place:end], signs)
            place = self._break(data, end, signs) if found else end
        return signs

    def _run(self, run: bytes, signs: list[Sign]) -> None:
        """Take text in which no line ends."""
        if self._return:  # a carriage return alone starts the line anew, as progress displays do
            self._end_line(signs)
        text = run.translate(_SPACED, _UNSEEN)[: MAX_LINE - len(self._line)]
        before = len(self._line)
        self._line += text
        for prompt in _PROMPT_END.finditer(self._line, max(0, before - 1)):
            _match(_PROMPTS, self._line[: prompt.end()], signs)

    def _break(self, data: bytes, place: int, signs: list[Sign]) -> int:
        """Take one byte that is no plain text, or a whole terminal sequence; return where to go on."""
        byte = data[place]
        if byte == 0x0A:
            self._end_line(signs)
            return place + 1
        if self._return:
            self._end_line(signs)
        self._return = byte == 0x0D
        if byte == 0x08:
            del self._line[-1:]
        elif byte == 0x1B:
            if sequence := _COLOUR.match(data, place):
                return sequence.end()
            self._mode, self._sequence = _Mode.ESCAPE, 0
        return place + 1

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

    def _end_line(self, signs: list[Sign]) -> None:
        if _TELLING.search(self._line):
            _match(_LINES, self._line, signs)
        if _says_something(self._line):
            self._last = bytes(self._line)
        self._line.clear()
        self._return = False


def _says_something(line: bytearray) -> bool:
    return bool(line.strip()) if line.isascii() else bool(brief(bytes(line)))


def _match(
    patterns: tuple[tuple[Stage | Notice, re.Pattern[str]], ...], line: bytes | bytearray, signs: list[Sign]
) -> None:
    text = line.decode("utf-8", "replace")
    signs += [Sign(stage, brief(text)) for stage, pattern in patterns if pattern.search(text)]


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
