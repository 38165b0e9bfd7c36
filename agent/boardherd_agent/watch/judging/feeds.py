"""What the relays behind a board's power have to say besides on and off. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from boardherd_agent.devices.causes import OUTAGES, REBOOTED
from boardherd_agent.devices.ports import NOT_ENDED, PortStatus
from boardherd_agent.watch.judging.evidence import RelaySeen
from boardherd_shared.records import Power

_OWN_DOING = OUTAGES | {NOT_ENDED}
"""Reasons for a state that nobody asked for, other than somebody's hand."""


def relay_seen(feeds: Sequence[PortStatus], up: int) -> RelaySeen:
    """Return what is odd about the feeds of a board at ``up``, microseconds since the PC's boot."""
    off = [feed for feed in feeds if feed.observed is Power.OFF]
    partly = any(feed.observed is Power.ON for feed in feeds) and bool(off)
    texts = [
        _why_off(feed) if _astray(feed) else f"{_port(feed)} is off"
        for feed in off
        if partly or _astray(feed)
    ]
    texts += [
        f"{feed.relay}: {feed.reason}" for feed in feeds if feed.observed is Power.UNKNOWN and feed.reason
    ]
    return RelaySeen(
        up,
        text=", ".join(dict.fromkeys(texts)),
        at_fault=any(_astray(feed) and feed.reason in _OWN_DOING for feed in off),
        partly=partly,
    )


def _astray(feed: PortStatus) -> bool:
    """Tell whether a port is not what it should be; one that is being switched, or held by a pulse, may be."""
    return feed.drift_since is not None


def _why_off(feed: PortStatus) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(feed.since / 1e6))
    if feed.reason == REBOOTED:
        return f"{feed.relay} rebooted {since}, {_port(feed)} should be ON"
    return f"{_port(feed)} {feed.reason or 'is off'} {since}, it should be ON"


def _port(feed: PortStatus) -> str:
    return f"{feed.relay}:{feed.port}"
