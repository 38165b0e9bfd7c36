"""Whether a relay port is what it should be. Pure."""

from __future__ import annotations

from boardherd_shared.records import Power, RelayRecord


def is_drifting(state: RelayRecord) -> bool:
    """Tell whether a port, as far as it is known, is not what was asked for or what is normal for it."""
    if state.observed is Power.UNKNOWN:
        return False
    not_asked = state.asked is not Power.UNKNOWN and state.asked is not state.observed
    not_normal = state.expected not in {"any", state.observed}
    return not_asked or not_normal


def should_be(state: RelayRecord) -> Power | None:
    """Return what a port should be when it is known to be something else, None when it is right or not known.

    What somebody asked for goes before what is normal: who switches a board off wants it to stay off.
    """
    if state.observed is Power.UNKNOWN:
        return None
    if state.asked is not Power.UNKNOWN:
        return state.asked if state.asked is not state.observed else None
    return Power(state.expected) if state.expected not in {"any", state.observed} else None
