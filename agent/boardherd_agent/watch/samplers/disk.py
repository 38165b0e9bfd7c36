"""Space on the watched disk, and traffic of all disks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

_BLOCK_DEVICES = Path("/sys/block")
_STACKED = ("dm-", "loop", "md", "ram", "zram", "drbd", "bcache")
"""Devices that sit on top of others (LVM, RAID, images): their traffic is counted below them already."""


class DiskSampler:
    """Measures the disk behind a mount point."""

    def __init__(self, mountpoint: str) -> None:
        self._mountpoint = mountpoint

    def __call__(self) -> dict[str, float | int]:
        """Return space in bytes and traffic since boot; OSError if the mount point is gone."""
        usage = psutil.disk_usage(self._mountpoint)
        return {
            "disk_total": usage.total,
            "disk_used": usage.used,
            "disk_free": usage.free,
            "disk_percent": min(100.0, max(0.0, usage.percent)),
            **_traffic(),
        }


def _traffic() -> dict[str, int]:
    """Return bytes read and written since boot; nothing where the system does not count them."""
    counters = psutil.disk_io_counters(perdisk=True)
    if not counters:
        return {}
    whole = whole_disks(counters, {path.name for path in _BLOCK_DEVICES.glob("*")})
    return {
        "disk_read": sum(disk.read_bytes for disk in whole),
        "disk_written": sum(disk.write_bytes for disk in whole),
    }


def whole_disks(counters: Mapping[str, Any], block_devices: set[str]) -> list[Any]:
    """Return the counters of physical disks, each byte once: no partitions, nothing stacked on others.

    Args:
        counters: counters by device name, partitions among them.
        block_devices: names of whole devices as Linux knows them; empty elsewhere, where psutil lists only those.
    """
    return [
        disk
        for name, disk in counters.items()
        if not name.startswith(_STACKED) and (not block_devices or name.replace("/", "!") in block_devices)
    ]
