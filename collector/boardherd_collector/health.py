"""What of the collector works at the moment, for ``/readyz``, the banner of the page and the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

STORE = "store"
BROKER = "broker"
UPKEEP = "upkeep"
NEEDED = (STORE, BROKER)
"""What must work before the collector can serve; the rest is told and does no harm for a while."""

log = structlog.get_logger()


class Component(NamedTuple):
    """How one part stands."""

    ok: bool
    text: str
    """What a person should know: the trouble, or what it is connected to."""


class Health:
    """The state of each component; a change is logged once, by :meth:`set`."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Start with everything that is needed marked as not there yet; ``now`` gives Unix seconds."""
        self._now = now
        self.components: dict[str, Component] = {
            STORE: Component(ok=False, text="not open yet"),
            BROKER: Component(ok=False, text="not connected yet"),
        }
        self.since: dict[str, float] = dict.fromkeys(self.components, now())
        """When each component came into its present state, Unix seconds."""

    def set(self, name: str, *, ok: bool, text: str) -> None:
        """Say how ``name`` stands now."""
        before = self.components.get(name)
        self.components[name] = Component(ok, text)
        if before is not None and before.ok == ok:
            return
        self.since[name] = self._now()
        (log.info if ok else log.warning)("component changed", component=name, ok=ok, text=text)

    def ok(self, name: str) -> bool:
        """Tell whether ``name`` works."""
        component = self.components.get(name)
        return component is not None and component.ok

    @property
    def ready(self) -> bool:
        """True when every component that is needed works."""
        return all(self.ok(name) for name in NEEDED)

    def banner(self) -> str | None:
        """Return what everybody who reads the page should know, or None when all is well."""
        said = []
        if not self.ok(STORE):
            said.append(f"history not stored since {self._clock(STORE)}: {self.components[STORE].text}")
        if not self.ok(BROKER):
            said.append(f"no broker since {self._clock(BROKER)}: {self.components[BROKER].text}")
        return "; ".join(said) or None

    def _clock(self, name: str) -> str:
        return time.strftime("%H:%M", time.localtime(self.since[name]))
