"""Why a port is not what it was: told from how the connection fared between two readings. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

OUTSIDE = "switched from outside"
REBOOTED = "module rebooted"
AWAY = "changed while the module did not answer"
FOUND = "found so when the agent started"

OUTAGES = frozenset({REBOOTED, AWAY})
"""Causes that are the module's own doing, or happened while nobody could look."""


class Link(IntEnum):
    """How the connection to a device fared since the reading before; the worst counts."""

    HELD = 0
    FRESH = 1
    """Closed on purpose and opened again, which says nothing about the device."""
    BROKEN = 2
    """Found broken, and open again at the first try."""
    OUTAGE = 3
    """The device did not answer for a while."""


def cause_of(link: Link, before: Iterable[int], now: Iterable[int], ours: int | None) -> str:
    """Return what explains changes between two readings: OUTSIDE, REBOOTED or AWAY.

    A module that lost its supply comes back with nothing energised. Outputs that went with a broken
    connection were then dropped by the module, not switched one by one by somebody else. Where the
    connection was closed on purpose, it takes two outputs that dropped at once to say so.

    Args:
        link: how the connection fared in between.
        before: the outputs that were energised.
        now: the outputs that are energised.
        ours: the output that is being switched by us just now, which proves nothing.
    """
    dropped = set(before) - {ours}
    released = not set(now) - {ours}
    if released and (link >= Link.BROKEN or (link is Link.FRESH and len(dropped) >= 2)):
        return REBOOTED
    return AWAY if link is Link.OUTAGE else OUTSIDE
