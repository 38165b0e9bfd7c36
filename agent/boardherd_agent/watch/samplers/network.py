"""Traffic of the network interfaces."""

from __future__ import annotations

import psutil


def sample_network() -> dict[str, float | int]:
    """Return bytes received and sent on all interfaces since boot."""
    counters = psutil.net_io_counters()
    return {"network_received": counters.bytes_recv, "network_sent": counters.bytes_sent}
