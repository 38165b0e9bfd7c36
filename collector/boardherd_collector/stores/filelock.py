"""A lock that one process at a time can hold, and that dies with it."""

from __future__ import annotations

import os
from pathlib import Path

from boardherd_collector.stores.base import StoreError

try:
    import fcntl
except ImportError:  # Windows, where two collectors on one file are not guarded against
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """An advisory lock on a file beside what it guards."""

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``, which is made if it is missing and stays."""
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock; StoreError in words when another process holds it or the file cannot be made."""
        guarded = self._path.with_suffix("")
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o640)
        except OSError as error:
            raise StoreError(f"{guarded} cannot be written: {error.strerror}") from error
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise StoreError(f"{guarded} is in use by another collector") from error
        self._file = file

    def release(self) -> None:
        """Let go of it; does nothing if it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
