"""What a sample of the PC tells of delivery itself, so that its troubles are seen from afar."""

from __future__ import annotations

from boardherd_agent.delivery.store import Figures
from boardherd_agent.delivery.uplink import Traffic


def delivery_fields(spool: Figures, traffic: Traffic, dropped: int) -> dict[str, float | int]:
    """Return fields of a HostRecord.

    Args:
        spool: what is held.
        traffic: what has passed.
        dropped: records that were given up before the spool had them.
    """
    return {
        "spool_bytes": spool.bytes,
        "spool_pending": spool.pending,
        "spool_parked": spool.parked,
        "spool_oldest_s": spool.oldest_age_s,
        "spool_volatile": spool.volatile,
        "envelopes_sent": traffic.sent,
        "envelopes_resent": traffic.resent,
        "envelopes_acknowledged": traffic.acknowledged,
        "envelopes_refused": traffic.refused + traffic.parked,
        "envelopes_lost": spool.lost,
        "records_dropped": dropped,
    }
