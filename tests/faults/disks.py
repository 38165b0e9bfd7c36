"""Small disks that fill up, and files that rot."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096


class SmallDisk:
    """A file system of its own, in memory, that somebody else can fill. Needs root."""

    def __init__(self, place: Path, megabytes: int) -> None:
        self.place = place
        self._megabytes = megabytes
        self._filler = place / "somebody-elses-file"

    def mount(self) -> bool:
        """Make it; False where that is not allowed."""
        self.place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs", str(self.place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        """Take it away, even while somebody has a file open on it."""
        subprocess.run(["umount", "--lazy", str(self.place)], check=True)

    def fill(self) -> None:
        """Have somebody else's file take all that is left."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1024**2, PAGE):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\xff" * size)

    def relieve(self) -> None:
        """Remove somebody else's file."""
        self._filler.unlink(missing_ok=True)

    @contextlib.contextmanager
    def mounted(self) -> Iterator[bool]:
        """Have it inside the block; says whether there is one."""
        there = self.mount()
        try:
            yield there
        finally:
            if there:
                self.unmount()


def cut(path: Path, length: int) -> None:
    """Shorten a file to ``length`` bytes, as a file system check may."""
    os.truncate(path, min(length, path.stat().st_size))


def scribble(path: Path, at: int, length: int, rng: random.Random) -> None:
    """Write noise over a part of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(rng.randbytes(length))


def zero(path: Path, at: int, length: int) -> None:
    """Write zeros over a part of a file, as a lost block reads."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(length))
