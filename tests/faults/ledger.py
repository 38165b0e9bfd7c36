"""The generator's own account of what it handed over: the witness that every verdict rests on.

Each line is written with one system call, before or after the deed, so that a process that is killed leaves
at most a deed that was offered and not confirmed. Those records may be stored or not; they may not be doubled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boardherd_agent.delivery.ranges import Range, collapse

Key = tuple[str, int]
"""Stream and number of an envelope."""


class LedgerFile:
    """The writing side; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the account at ``path`` and go on after what stands there."""
        self.next = max((last for line in read_lines(path) for _, last in line.ranges), default=0) + 1
        """The next number for a record."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, b"\n")  # ends a line that a killed process left unfinished

    def offer(self, numbers: Sequence[int]) -> None:
        """Note records that are about to be handed over."""
        self._write("offered", numbers)

    def accept(self, numbers: Sequence[int], keys: Iterable[Key], *, volatile: bool = False) -> None:
        """Note records that were taken, and in which envelopes they are."""
        word = "volatile" if volatile else "accepted"
        self._write(word, numbers, " ".join(f"{stream}:{seq}" for stream, seq in keys))

    def _write(self, word: str, numbers: Sequence[int], rest: str = "") -> None:
        spans = ",".join(f"{first}-{last}" for first, last in collapse((n, n) for n in numbers))
        os.write(self._file, f"{word} {spans} {rest}".rstrip().encode() + b" .\n")


@dataclass(frozen=True)
class Line:
    """A line of the account."""

    word: str
    ranges: tuple[Range, ...]
    keys: tuple[Key, ...]


@dataclass
class Account:
    """What an account says in the end."""

    offered: set[int] = field(default_factory=set)
    accepted: dict[int, tuple[Key, ...]] = field(default_factory=dict)
    """Records that were safe on the disk when the spool said so, and the envelopes they may be in."""
    volatile: dict[int, tuple[Key, ...]] = field(default_factory=dict)
    """Records that the spool took into memory, saying that it could not do better."""


def read_lines(path: Path) -> list[Line]:
    """Return the complete lines of the account at ``path``; none if there is no such file."""
    text = path.read_text() if path.exists() else ""
    return [_line(words) for raw in text.split("\n") if (words := raw.split()) and words[-1] == "."]


def read_account(path: Path) -> Account:
    """Return what the account at ``path`` says."""
    account = Account()
    books = {"accepted": account.accepted, "volatile": account.volatile}
    for line in read_lines(path):
        numbers = [n for first, last in line.ranges for n in range(first, last + 1)]
        if line.word == "offered":
            account.offered.update(numbers)
        else:
            books[line.word].update(dict.fromkeys(numbers, line.keys))
    return account


def _line(words: list[str]) -> Line:
    spans = [span.split("-") for span in words[1].split(",")]
    keys = [word.rsplit(":", 1) for word in words[2:-1]]
    return Line(
        words[0], tuple((int(a), int(b)) for a, b in spans), tuple((key[0], int(key[1])) for key in keys)
    )
