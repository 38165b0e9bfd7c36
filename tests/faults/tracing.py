"""System calls of a process that fail, kill or take their time, by strace."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.processes import Child

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="needs strace to interfere with system calls"
)


def traced(child: Child, place: Path, inject: str, plain: list[str] | None = None) -> list[str]:
    """Return the command of ``child`` with a fault in its system calls, as strace's ``inject`` puts it.

    With -D strace stands beside the process, which keeps its number and its parent.
    """
    return ["strace", "-D", *_options(place / "strace.log", inject), *(plain or child.command)]


@contextlib.asynccontextmanager
async def interfered(child: Child, place: Path, inject: str) -> AsyncIterator[None]:
    """Have the system calls of ``child``, which runs, go wrong inside the block."""
    command = ["strace", *_options(place / "strace.log", inject), "-p", str(child.pid)]
    strace = Child(command, place / "strace.out")
    strace.start()
    try:
        await asyncio.sleep(0.2)
        if not strace.running:
            pytest.skip(f"strace may not look at other processes here: {strace.log.read_text()}")
        yield
        assert await strace.end(signal.SIGINT) in {-signal.SIGINT, 0, 130}
    finally:
        strace.kill_now()


def _options(log: Path, inject: str) -> list[str]:
    calls = inject.partition(":")[0]
    return ["-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={inject}"]
