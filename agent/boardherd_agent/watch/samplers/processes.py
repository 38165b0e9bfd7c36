"""Test processes and their threads; without patterns, all of them by the cheapest way."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from boardherd_agent.watch.samplers.system import parse_loadavg

_PROC = Path("/proc")


class ProcessSampler:
    """Counts processes and threads.

    With patterns it walks over all processes, which costs milliseconds and is why there are none by default,
    and counts those whose name or command line a pattern is found in. Without, it counts all processes by
    listing /proc and takes the thread total from /proc/loadavg (kernel threads included); outside Linux only
    the number of processes is known that cheaply.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile ``patterns``; raises re.error for one that is no regular expression."""
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def __call__(self) -> dict[str, float | int]:
        """Return ``process_count`` and, where known, ``thread_count``."""
        if self._patterns:
            return self._matching()
        if sys.platform == "linux":
            return {
                "process_count": sum(entry.name.isdigit() for entry in _PROC.iterdir()),
                "thread_count": parse_loadavg((_PROC / "loadavg").read_text())[3],
            }
        else:  # noqa: RET505 - mypy takes what follows a test of the platform for unreachable
            return {"process_count": len(psutil.pids())}

    def _matching(self) -> dict[str, float | int]:
        processes = threads = 0
        for process in psutil.process_iter():
            try:
                if self._is_test(process):
                    threads += process.num_threads()
                    processes += 1
            except psutil.Error:  # it ended meanwhile, or is none of our business
                continue
        return {"process_count": processes, "thread_count": threads}

    def _is_test(self, process: psutil.Process) -> bool:
        if process.pid == psutil.Process().pid:
            return False  # the agent's own command line may name the pattern
        texts = (process.name(), " ".join(process.cmdline()))
        return any(pattern.search(text) for pattern in self._patterns for text in texts)
