"""What a switch brought, and how patient the owner of a device is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from boardherd_shared.backoff import delays
from boardherd_shared.records import Power


@dataclass(frozen=True)
class Switched:
    """The outcome of a switch: measured before, and measured after."""

    before: Power
    observed: Power
    confirmed: bool = True
    """False when the device acknowledged and nobody could measure what it did: it cannot be read back (both
    states are then unknown), or a pulse was over before it could be looked at."""


def _short_delays() -> Iterator[float]:
    return delays(first=0.5, cap=10.0)


@dataclass(frozen=True)
class Timing:
    """How patient a worker is; seconds."""

    operation: float = 10.0
    """The longest that one operation may hold the device."""
    read_back: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
    """Pauses before each look whether the port has followed a switch."""
    backoff: Callable[[], Iterator[float]] = _short_delays
    """Pauses between attempts to reach a device that does not answer."""
