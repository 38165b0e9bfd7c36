"""How long the word of an agent counts, for what is stored. Pure; the views of the databases say the same in SQL."""

from __future__ import annotations

from boardherd_collector.fleet_view import REFRESH_S, STALE_INTERVALS

CONFIRMED_S = STALE_INTERVALS * REFRESH_S
"""So long a verdict on a board or the state of a port counts after it was last confirmed."""
LEAST_S = 5.0
"""No PC counts as silent sooner than this after it was heard, since what is heard comes through a transaction."""
LONGEST_INTERVAL_S = 86400.0
"""No agent samples less often; one that says so is taken to mean this."""


def sample_interval(said_s: float) -> float:
    """Return the interval to store for an agent that says it samples every ``said_s`` seconds."""
    return min(said_s, LONGEST_INTERVAL_S)


def silent_after(interval_s: float) -> float:
    """Return for how long a PC may be silent, in seconds, when it samples every ``interval_s`` seconds."""
    return max(STALE_INTERVALS * interval_s, LEAST_S)
