"""What the web side reads from: the rest of the collector, seen from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from boardherd_collector.counters import Counters
from boardherd_collector.health import Health
from boardherd_collector.stores.base import Store
from boardherd_shared.definitions import Definitions
from boardherd_shared.views import FleetView


class FleetSource(Protocol):
    """The current state, as :class:`boardherd_collector.fleet.Fleet` gives it."""

    @property
    def version(self) -> int:
        """Return a number that changes with every change."""
        ...

    def view(self, now: float) -> FleetView:
        """Return the state at ``now``, Unix seconds; safe in any thread."""
        ...


@dataclass(frozen=True)
class Sources:
    """Everything that is shown."""

    fleet: FleetSource
    health: Health
    counters: Counters
    store: Store
    version: str = field(default_factory=lambda: version("boardherd-collector"))
    definitions: Definitions | None = None
    """What the inventory says."""
    now: Callable[[], float] = time.time
    """Unix seconds."""

    def view(self) -> FleetView:
        """Return the current state."""
        return self.fleet.view(self.now())
