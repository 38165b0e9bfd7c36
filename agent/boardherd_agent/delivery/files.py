"""The files beside a spool: the lock, the tally, the quarantine for damaged ones, the ballast for bad days."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import IO

_COMPANIONS = ("", "-wal", "-shm")
_CHUNK = 1024 * 1024
_LEAST_SHARE = 8
"""The part of the ballast, one in so many, that is never given to new records."""


class SpoolBusyError(Exception):
    """Another agent uses this spool; the message names the file and the process."""


def machine_id() -> str:
    """Return the identity of this machine, or nothing where there is none to be had."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


class Whereabouts:
    """Whether a file that was opened still bears its name: it can be used long after it was removed or moved."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def note(self) -> None:
        """Take the file that bears the name now for the one that was opened."""
        with contextlib.suppress(OSError):
            self._opened = self._now()

    def forget(self) -> None:
        """Take the open file to be out of place, until the next :meth:`note`."""
        self._opened = None

    @property
    def in_place(self) -> bool:
        """True as well where nobody can tell at the moment."""
        try:
            return self._opened is not None and self._opened == self._now()
        except OSError:
            return self._opened is not None

    def _now(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino


class Lock:
    """A lock file that one process holds; it goes with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock; raises SpoolBusyError, or OSError when the file cannot be written."""
        file = self._path.open("a+")
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise SpoolBusyError(f"{self._path}: another agent uses this spool (process {holder})") from error
        with contextlib.suppress(OSError):  # a full disk: the number is a courtesy, the lock is what counts
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        self._file = file

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk kept in the buffer
                self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Tally:
    """How far each stream has come, noted outside of the database, to be had when that is damaged.

    A log that lost its tail opens without complaint and has merely forgotten the newest numbers, and of a
    file that is gone, or of what was only in memory, nothing is known at all: the note tells what there should
    be. It is written after each
    commit and in one go, so a killed process leaves it right; it is not fsynced, so after a power cut it may
    be behind, but never ahead.
    """

    _SIZE = 4096
    _STREAMS = 60

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: dict[str, int] | None = None

    def read(self) -> dict[str, int]:
        """Return the highest number by stream, the oldest stream first; nothing if the note cannot be read."""
        try:
            check, _, text = self._path.read_bytes().rstrip().partition(b" ")
            if int(check, 16) != zlib.crc32(text):
                return {}
            return {str(stream): int(last) for stream, last in json.loads(text).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def write(self, numbers: Mapping[str, int]) -> None:
        """Note ``numbers``, of the newest streams if there are very many; a disk that refuses is ignored."""
        newest = dict(islice(numbers.items(), max(0, len(numbers) - self._STREAMS), None))
        if newest == self._noted:
            return
        text = json.dumps(newest, separators=(",", ":")).encode()
        note = b"%08x %s" % (zlib.crc32(text), text)
        with contextlib.suppress(OSError):
            # In place: a full disk has room for what is there already.
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o640)
            try:
                os.write(handle, note.ljust(self._SIZE))
            finally:
                os.close(handle)
            self._noted = newest


def quarantine(database: Path, *, keep: int, max_bytes: int) -> Path:
    """Move a damaged database and its companions aside; return its new path.

    The newest ``keep`` are kept, fewer if together they take more than ``max_bytes``; raises OSError.
    """
    ward = database.parent / "quarantine"
    ward.mkdir(exist_ok=True)
    number = max((int(path.stem.rpartition("-")[2]) for path in _patients(ward, database)), default=0) + 1
    place = ward / f"{database.stem}-{number:06}{database.suffix}"
    for companion in _COMPANIONS:
        source = database.with_name(database.name + companion)
        if source.exists():
            source.rename(place.with_name(place.name + companion))
    patients = _patients(ward, database)
    while len(patients) > keep or (len(patients) > 1 and _size(patients) > max_bytes):
        for companion in _COMPANIONS:
            patients[0].with_name(patients[0].name + companion).unlink(missing_ok=True)
        del patients[0]
    return place


def _patients(ward: Path, database: Path) -> list[Path]:
    return sorted(ward.glob(f"{database.stem}-[0-9]*{database.suffix}"))


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


class Ballast:
    """Space held in reserve: a full disk stops SQLite even from deleting, until somebody gives way."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def full(self) -> bool:
        """Tell whether the reserve is there."""
        try:
            return self._size == 0 or self._path.stat().st_size >= self._size
        except OSError:
            return False

    def fill(self) -> bool:
        """Make the reserve if the disk has twice as much room; tell whether it is there now."""
        if self.full:
            return True
        try:
            if shutil.disk_usage(self._path.parent).free < 2 * self._size:
                return False
            with self._path.open("wb") as file:
                # Written, not allocated: the blocks must be ours on every file system. Noise does not compress.
                for at in range(0, self._size, _CHUNK):
                    file.write(os.urandom(min(_CHUNK, self._size - at)))
        except OSError:
            self.release()
            return False
        return True

    def shrink(self) -> None:
        """Give most of the reserve back to the disk, and keep as much as it takes to open a database."""
        with contextlib.suppress(OSError):
            os.truncate(self._path, min(self._path.stat().st_size, self._size // _LEAST_SHARE))

    def release(self) -> bool:
        """Give the reserve back to the disk; tell whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
