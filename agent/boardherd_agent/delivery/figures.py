"""Delivery in figures: what a spool may take, what it holds, and what a sample of the PC tells of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boardherd_agent.delivery.uplink import Traffic


@dataclass(frozen=True)
class Limits:
    """How much a spool may take."""

    max_bytes: int = 1024**3
    """Bytes of envelopes on the disk; files may exceed it by 32 MiB for the log, the ballast and work space."""
    max_age_s: float = 7 * 86400.0
    """How long an envelope is kept, in seconds of running time."""
    ballast_bytes: int = 8 * 1024**2
    """Space held in reserve for a full disk."""
    memory_bytes: int = 16 * 1024**2
    """Bytes of envelopes in memory while the disk cannot be written."""


@dataclass(frozen=True)
class Figures:
    """What a spool holds, for status and metrics."""

    bytes: int = 0
    pending: int = 0
    acknowledged: int = 0
    parked: int = 0
    oldest_age_s: float = 0.0
    lost: int = 0
    """Envelopes given up since the start, though the database did not have them."""
    volatile: bool = False
    """True while new records are kept in memory only."""
    trouble: str = ""
    """What is wrong with the disk, in words; empty when nothing is."""


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
