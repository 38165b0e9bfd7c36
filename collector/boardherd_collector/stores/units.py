"""From what a PC measures to the names and units of the domain: GB are 10**9 bytes, MB are 10**6."""

from __future__ import annotations

from boardherd_shared.records import HostRecord

_GB, _MB = 1e9, 1e6
HOST_COLUMNS: dict[str, tuple[str, float | None]] = {
    "status": ("status", None),
    "cpu_percent": ("cpu_percent", None),
    "memory_total_gb": ("memory_total", _GB),
    "memory_used_gb": ("memory_used", _GB),
    "memory_free_gb": ("memory_free", _GB),
    "memory_percent": ("memory_percent", None),
    "disk_total_gb": ("disk_total", _GB),
    "disk_used_gb": ("disk_used", _GB),
    "disk_free_gb": ("disk_free", _GB),
    "disk_percent": ("disk_percent", None),
    "network_io_read_mb": ("network_received", _MB),
    "network_io_write_mb": ("network_sent", _MB),
    "process_count": ("process_count", None),
    "thread_count": ("thread_count", None),
    "load_1m": ("load_1m", None),
    "load_5m": ("load_5m", None),
    "load_15m": ("load_15m", None),
    "swap_total_gb": ("swap_total", _GB),
    "swap_used_gb": ("swap_used", _GB),
    "disk_read_mb": ("disk_read", _MB),
    "disk_written_mb": ("disk_written", _MB),
    "uptime_s": ("uptime_s", None),
    "temperature_c": ("temperature_c", None),
    "agent_cpu_percent": ("agent_cpu_percent", None),
    "agent_memory_mb": ("agent_memory", _MB),
    "spool_mb": ("spool_bytes", _MB),
    "spool_pending": ("spool_pending", None),
    "spool_parked": ("spool_parked", None),
    "spool_oldest_s": ("spool_oldest_s", None),
    "spool_volatile": ("spool_volatile", None),
}
"""Column of pc_stats: field of the record, and how many of its bytes make one of the column's unit."""


def host_values(record: HostRecord) -> dict[str, str | int | float | None]:
    """Return the measured values of a sample in the names and units of the domain."""
    return {column: _scaled(record, field, unit) for column, (field, unit) in HOST_COLUMNS.items()}


def _scaled(record: HostRecord, field: str, unit: float | None) -> str | int | float | None:
    value: str | int | float | None = getattr(record, field)
    if unit is None or not isinstance(value, int | float):
        return value
    return value / unit
