"""What a program did to the files of a directory, one system call after another, as strace heard it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
_LINE = re.compile(r"(?P<pid>\d+) +(?P<call>[a-z0-9_]+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_BEGUN = re.compile(r"(?P<pid>\d+) +(?P<head>[a-z0-9_]+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. [a-z0-9_]+ resumed>(?P<tail>.*)")
_DESCRIPTOR = re.compile(r"(\d+)<(?:\\x[0-9a-f]{2})*>(?:\(deleted\))?")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_WITHIN_S = 90


@dataclass(frozen=True)
class Create:
    """A file that was not there before has a name; ``file`` tells files apart, whatever they are called."""

    file: int
    name: str


@dataclass(frozen=True)
class Write:
    """Bytes were written."""

    file: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file was cut or stretched."""

    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    """fsync or fdatasync has returned; it stands for what was done before the event number ``begun``."""

    file: int | None
    """None for the directory itself."""
    begun: int


@dataclass(frozen=True)
class Rename:
    """A file has another name."""

    old: str
    new: str


@dataclass(frozen=True)
class Unlink:
    """A name is gone."""

    name: str


@dataclass(frozen=True)
class Said:
    """The program wrote a line to its witness: from here on somebody counts on it."""

    line: str


Event = Create | Write | Truncate | Sync | Rename | Unlink | Said


def record(command: Sequence[str], place: Path, witness: Path, log: Path) -> list[Event]:
    """Run ``command``, which keeps its files in the empty directory ``place``; return what it did to them.

    Names are relative to ``place``. What the command appends to ``witness``, outside of it, are its own words.
    """
    options = ["-f", "-y", "-xx", "-s", str(2**26), "-qq", "--seccomp-bpf", "-e", f"trace={_CALLS}"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        )
    }
    done = subprocess.run(
        ["strace", *options, "-o", str(log), *command],
        env=environment, timeout=_WITHIN_S, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with log.open() as lines:
        return list(_Reader(place, witness).events(lines))


class _Reader:
    """Follows names and descriptors through a log."""

    def __init__(self, place: Path, witness: Path) -> None:
        self._place = f"{place}/"
        self._root = str(place)
        self._witness = str(witness)
        self._files: dict[str, int] = {}
        self._open: dict[int, tuple[str, int | None]] = {}  # by descriptor: its path, and which file that was
        self._offsets: dict[int, int] = {}  # by descriptor; -1 appends
        self._sizes: dict[int, int] = {}
        self._born = 0
        self._count = 0

    def events(self, lines: Iterator[str]) -> Iterator[Event]:
        """Yield what the log tells of."""
        for begun, text in self._whole(lines):
            found = _LINE.match(text)
            if found is None or int(found["result"]) < 0:
                continue
            for event in self._event(found["call"], found["arguments"], int(found["result"]), begun):
                self._count += 1
                yield event

    def _whole(self, lines: Iterator[str]) -> Iterator[tuple[int, str]]:
        """Yield whole lines, each with the number of events there had been when its call began."""
        begun: dict[str, tuple[int, str]] = {}
        for line in lines:
            if found := _BEGUN.match(line):
                begun[found["pid"]] = self._count, f"{found['pid']} {found['head']}"
            elif (found := _RESUMED.match(line)) and found["pid"] in begun:
                since, head = begun.pop(found["pid"])
                yield since, head + found["tail"]
            else:
                yield self._count, line

    def _event(self, call: str, arguments: str, result: int, begun: int) -> Iterator[Event]:
        match call:
            case "openat":
                yield from self._opened(arguments, result)
            case "write" | "pwrite64":
                yield from self._written(arguments, result, positioned=call == "pwrite64")
            case "ftruncate":
                if (file := self._file(arguments)) is not None:
                    size = int(arguments.rpartition(",")[2])
                    self._sizes[file] = size
                    yield Truncate(file, size)
            case "fsync" | "fdatasync":
                path, file = self._open.get(_descriptor(arguments), ("", None))
                if path == self._root or file is not None:
                    yield Sync(file, begun)
            case _:
                yield from self._renamed_or_gone([_text(raw) for raw in _TEXT.findall(arguments)])

    def _opened(self, arguments: str, descriptor: int) -> Iterator[Event]:
        (raw,) = _TEXT.findall(arguments)
        path = _text(raw)
        self._open[descriptor] = path, None
        if not path.startswith(self._place):
            return
        name = path.removeprefix(self._place)
        if name not in self._files:
            if "O_CREAT" not in arguments:
                return  # a directory
            self._born += 1
            self._files[name] = self._born
            self._sizes[self._born] = 0
            yield Create(self._born, name)
        file = self._files[name]
        self._open[descriptor] = path, file
        if "O_TRUNC" in arguments and self._sizes[file]:
            self._sizes[file] = 0
            yield Truncate(file, 0)
        self._offsets[descriptor] = -1 if "O_APPEND" in arguments else 0

    def _written(self, arguments: str, length: int, *, positioned: bool) -> Iterator[Event]:
        descriptor = _descriptor(arguments)
        path, file = self._open.get(descriptor, ("", None))
        if path != self._witness and file is None:
            return
        (raw,) = _TEXT.findall(arguments.partition(",")[2])
        data = bytes.fromhex(raw.replace("\\x", ""))[:length]
        if file is None:
            yield from (Said(line) for line in data.decode().splitlines())
            return
        at = int(arguments.rpartition(",")[2]) if positioned else self._offsets[descriptor]
        if at < 0:
            at = self._sizes[file]
        elif not positioned:
            self._offsets[descriptor] += length
        self._sizes[file] = max(self._sizes[file], at + length)
        yield Write(file, at, data)

    def _renamed_or_gone(self, paths: Sequence[str]) -> Iterator[Event]:
        names = [path.removeprefix(self._place) for path in paths if path.startswith(self._place)]
        if names and names[0] in self._files:
            file = self._files.pop(names[0])
            if len(names) == 1:
                yield Unlink(names[0])
            else:
                self._files[names[1]] = file
                yield Rename(names[0], names[1])

    def _file(self, arguments: str) -> int | None:
        return self._open.get(_descriptor(arguments), ("", None))[1]


def _descriptor(arguments: str) -> int:
    found = _DESCRIPTOR.match(arguments)
    return int(found[1]) if found else -1


def _text(raw: str) -> str:
    return bytes.fromhex(raw.replace("\\x", "")).decode()
