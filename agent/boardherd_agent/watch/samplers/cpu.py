"""How busy the processors are."""

from __future__ import annotations

from typing import Any

import psutil


class CpuSampler:
    """Measures the busy share of all cores since the call before; the first call since construction.

    Differences are taken here because psutil's own ``cpu_percent`` remembers the last reading per thread,
    and samples are taken in whatever worker thread is free.
    """

    def __init__(self) -> None:
        self._last = busy_and_total(psutil.cpu_times())

    def __call__(self) -> dict[str, float | int]:
        """Return ``cpu_percent``, or nothing if no clock tick has passed."""
        before, self._last = self._last, busy_and_total(psutil.cpu_times())
        percent = share(before, self._last)
        return {} if percent is None else {"cpu_percent": percent}


def busy_and_total(times: Any) -> tuple[float, float]:
    """Return busy and total seconds of a ``cpu_times`` reading.

    Linux counts guest time inside user time as well, so it is taken out of the total; waiting for a disk is
    idle time.
    """
    fields = times._asdict()
    total = sum(fields.values()) - fields.get("guest", 0.0) - fields.get("guest_nice", 0.0)
    return total - fields["idle"] - fields.get("iowait", 0.0), total


def share(before: tuple[float, float], now: tuple[float, float]) -> float | None:
    """Return the busy share between two readings in percent; None if no time has passed between them."""
    total = now[1] - before[1]
    if total <= 0:
        return None
    return round(min(100.0, max(0.0, 100.0 * (now[0] - before[0]) / total)), 2)
