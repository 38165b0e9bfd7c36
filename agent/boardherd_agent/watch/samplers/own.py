"""What the agent itself costs."""

from __future__ import annotations

import time

import psutil


class OwnSampler:
    """Measures the agent's share of one core since the call before, and its memory now."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = self._reading()

    def __call__(self) -> dict[str, float | int]:
        """Return ``agent_memory`` and, if time has passed, ``agent_cpu_percent``."""
        fields: dict[str, float | int] = {"agent_memory": self._process.memory_info().rss}
        (cpu_before, before), self._last = self._last, self._reading()
        cpu, now = self._last
        if now > before:
            fields["agent_cpu_percent"] = round(max(0.0, 100.0 * (cpu - cpu_before) / (now - before)), 2)
        return fields

    def _reading(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return times.user + times.system, time.monotonic()
