"""Traffic of the network interfaces."""

from __future__ import annotations

import psutil


def sample_network() -> dict[str, float | int]:
    """Return bytes received and sent on all interfaces since boot; nothing where there is no interface."""
    counters = psutil.net_io_counters(pernic=True).values()
    if not counters:
        return {}
    return {
        "network_received": sum(one.bytes_recv for one in counters),
        "network_sent": sum(one.bytes_sent for one in counters),
    }
