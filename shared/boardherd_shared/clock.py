"""The three clocks: what time it is, how long this boot has lasted, and which boot it is."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What the time-keeping parts ask of the world, so that tests can bring their own."""

    @property
    def boot(self) -> str:
        """Identity of the machine's boot; changes when ``up`` starts again from zero."""
        ...

    def wall(self) -> int:
        """Return microseconds since 1970-01-01 UTC; may jump when somebody sets the clock."""
        ...

    def up(self) -> int:
        """Return microseconds since this boot, suspend included; never jumps."""
        ...


def boot_id() -> str:
    """Return the kernel's boot id, or an id for this process where the kernel has none.

    The id of a process is good enough elsewhere: its monotonic clock is compared with nothing older.
    """
    try:
        return _KERNEL_BOOT_ID.read_text().strip()
    except OSError:
        return str(uuid.uuid4())


@dataclass(frozen=True)
class SystemClock:
    """The machine's own clocks."""

    boot: str = field(default_factory=boot_id)

    def wall(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    def up(self) -> int:
        """Return microseconds of ``CLOCK_BOOTTIME``, or of the monotonic clock where there is none."""
        return boottime_ns() // 1000


def boottime_ns() -> int:
    """Return nanoseconds since boot; falls back to the monotonic clock outside Linux."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


def seconds(microseconds: int) -> float:
    """Return microseconds as seconds."""
    return microseconds / 1e6
