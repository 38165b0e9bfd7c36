"""What the probes of one test PC share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from boardherd_agent.watch.probing.gate import Gate
from boardherd_agent.watch.probing.icmp import Pinger
from boardherd_agent.watch.probing.resolver import Resolver

_PROGRAMS_AT_ONCE = 4
"""A program costs more than a packet: so many of all ``command`` probes run at the same time."""


@dataclass(frozen=True)
class Means:
    """The means by which probes look. Belongs to one event loop; holds nothing open while nobody looks."""

    gate: Gate = field(default_factory=Gate)
    resolver: Resolver = field(default_factory=Resolver)
    pinger: Pinger = field(default_factory=Pinger)
    programs: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PROGRAMS_AT_ONCE))
