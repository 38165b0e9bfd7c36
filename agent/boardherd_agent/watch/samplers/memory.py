"""Memory and swap."""

from __future__ import annotations

import psutil


def sample_memory() -> dict[str, float | int]:
    """Return memory and swap in bytes. Used is what programs cannot get any more, caches not counted."""
    memory = psutil.virtual_memory()
    swap = psutil.swap_memory()
    used = max(0, memory.total - memory.available)
    return {
        "memory_total": memory.total,
        "memory_used": used,
        "memory_free": memory.available,
        "memory_percent": round(min(100.0, 100.0 * used / memory.total), 2) if memory.total else 0.0,
        "swap_total": swap.total,
        "swap_used": swap.used,
    }


def memory_total() -> int:
    """Return the physical memory in bytes; 0 where it cannot be read."""
    try:
        return int(psutil.virtual_memory().total)
    except (psutil.Error, OSError):
        return 0
