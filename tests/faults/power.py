"""What may be left on a disk when the power goes: made from the calls of a program that kept its power. Pure.

The file system modelled here keeps what was synced, and owes the rest: each write after the last sync of its
file may have reached the disk, or not, or in part, in any order; a sector is whole or old. Names are kept in
order, as journalling file systems do, and for certain only once the directory was synced.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from faults.syscalls import Create, Event, Rename, Said, Sync, Truncate, Unlink, Write

How = Literal["nothing owed", "everything owed", "the last one torn", "the last one alone", "by chance"]
"""What becomes of what the disk still owes."""
HOWS: tuple[How, ...] = get_args(How)
_SECTORS = (512, 4096)

Fate = Literal["kept", "lost", "torn", "hollow"]
"""``hollow``: the file has grown by it, and the bytes are zeros."""


@dataclass(frozen=True)
class Cut:
    """A moment at which the power goes, and what is found afterwards."""

    at: int
    """How many calls there had been."""
    how: How
    seed: int
    said: tuple[str, ...]
    """What the program had told the world by then."""
    files: dict[str, bytes]

    def __str__(self) -> str:
        return f"cut after {self.at} calls, {self.how}, seed {self.seed}"


@dataclass
class _File:
    durable: bytes = b""
    owed: list[tuple[int, Write | Truncate]] = field(default_factory=list)

    def sync(self, begun: int) -> None:
        """Have everything on the disk that was written before the event number ``begun``."""
        late = [(number, change) for number, change in self.owed if number >= begun]
        content = bytearray(self.durable)
        for number, change in self.owed:
            if number < begun:
                _apply(content, change)
        self.durable, self.owed = bytes(content), late

    def after(self, fates: dict[int, Fate], sector: int, rng: random.Random) -> bytes:
        """Return what is found of it when its owed changes have these fates; what has none is lost."""
        content = bytearray(self.durable)
        for number, change in self.owed:
            match fates.get(number, "lost"):
                case "kept":
                    _apply(content, change)
                case "torn" if isinstance(change, Write):
                    for piece in _sectors(change, sector):
                        if rng.random() < 0.5:
                            _apply(content, piece)
                case "hollow" if isinstance(change, Write):
                    content.extend(bytes(max(0, change.at + len(change.data) - len(content))))
        return bytes(content)


class Disk:
    """A directory on a file system that loses its power."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._moves: list[tuple[int, Create | Rename | Unlink]] = []

    def take(self, number: int, event: Event) -> None:
        """Do what the program did; ``number`` counts its events."""
        match event:
            case Create(file, _):
                self._files[file] = _File()
                self._moves.append((number, event))
            case Rename() | Unlink():
                self._moves.append((number, event))
            case Write() | Truncate():
                self._files[event.file].owed.append((number, event))
            case Sync(None, begun):
                _move(self._names, [move for at, move in self._moves if at < begun])
                self._moves = [(at, move) for at, move in self._moves if at >= begun]
            case Sync(int() as file, begun):
                self._files[file].sync(begun)
            case Said():
                pass

    @property
    def owes(self) -> bool:
        """True while something was written that is not certain yet."""
        return bool(self._moves) or any(file.owed for file in self._files.values())

    def after(self, how: How, seed: int) -> dict[str, bytes]:
        """Return the files that are found when the power goes now."""
        rng = random.Random(seed)
        owed = sorted(number for file in self._files.values() for number, _ in file.owed)
        fates = _fates(how, owed, rng)
        names = dict(self._names)
        moves = [move for _, move in self._moves]
        kept = {"nothing owed": 0, "by chance": rng.randint(0, len(moves))}.get(how, len(moves))
        _move(names, moves[:kept])
        sector = rng.choice(_SECTORS)
        return {name: self._files[file].after(fates, sector, rng) for name, file in sorted(names.items())}


def cuts(events: Sequence[Event], count: int, seed: int) -> Iterator[Cut]:
    """Yield ``count`` cuts through ``events``, in order: before syncs, right after promises, and anywhere."""
    rng = random.Random(seed)
    plan = sorted((at, rng.choice(HOWS), rng.randrange(2**32)) for at in _moments(events, count, rng))
    disk, done, said = Disk(), 0, list[str]()
    for at, how, chance in plan:
        for number in range(done, at):
            event = events[number]
            disk.take(number, event)
            if isinstance(event, Said):
                said.append(event.line)
        done = at
        yield Cut(at, how, chance, tuple(said), disk.after(how, chance))


def _moments(events: Sequence[Event], count: int, rng: random.Random) -> list[int]:
    """Return ``count`` moments: every kind in turn, each moment of a kind once before any comes again."""
    kinds = [
        [number for number, event in enumerate(events) if isinstance(event, Sync)],
        [number + 1 for number, event in enumerate(events) if isinstance(event, Said)],
        list(range(len(events) + 1)),
    ]
    moments: list[int] = []
    while len(moments) < count:
        for kind in kinds:
            moments += rng.sample(kind, min(len(kind), max(1, count // len(kinds))))
    return moments[:count]


def _fates(how: How, owed: Sequence[int], rng: random.Random) -> dict[int, Fate]:
    match how:
        case "nothing owed":
            return {}
        case "the last one alone":
            return dict.fromkeys(owed[-1:], "kept")
        case "by chance":
            fates: tuple[Fate, ...] = ("kept", "lost", "torn", "hollow")
            return {number: rng.choice(fates) for number in owed}
        case _:
            found: dict[int, Fate] = dict.fromkeys(owed, "kept")
            if how == "the last one torn":
                found |= dict.fromkeys(owed[-1:], "torn")
            return found


def _apply(content: bytearray, change: Write | Truncate) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        content.extend(bytes(max(0, change.at - len(content))))
        content[change.at : change.at + len(change.data)] = change.data


def _sectors(write: Write, size: int) -> Iterator[Write]:
    """Yield a write in pieces that a disk writes whole or not at all."""
    at, end = write.at, write.at + len(write.data)
    while at < end:
        until = min(end, (at // size + 1) * size)
        yield Write(write.file, at, write.data[at - write.at : until - write.at])
        at = until


def _move(names: dict[str, int], moves: Sequence[Create | Rename | Unlink]) -> None:
    for move in moves:
        match move:
            case Create(file, name):
                names[name] = file
            case Rename(old, new):
                names[new] = names.pop(old)
            case Unlink(name):
                del names[name]
