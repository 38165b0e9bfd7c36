"""How many streams an agent may use: each one is a row in the ledger for ever."""

from __future__ import annotations

from collections.abc import Collection

STREAMS_A_DAY = 100
"""An agent needs a new one after a damaged or cloned spool, or a start without a disk: far fewer than this."""
_DAY_S = 86400


class StreamQuota:
    """Counts the streams that each agent has used today."""

    def __init__(self, limit: int = STREAMS_A_DAY) -> None:
        """Begin with none used; ``limit`` is per agent and day."""
        self._limit = limit
        self._day = 0
        self._used: dict[str, set[str]] = {}

    def admit(self, agent: str, streams: Collection[str], now: float) -> bool:
        """Tell whether ``agent`` may use ``streams`` at ``now``, Unix seconds; if so they count as used."""
        day = int(now // _DAY_S)
        if day != self._day:
            self._day = day
            self._used.clear()
        used = self._used.setdefault(agent, set())
        if used.issuperset(streams):
            return True
        if len(used.union(streams)) > self._limit:
            return False
        used.update(streams)
        return True
