"""Upkeep of the database while it is used: rollups, and deleting what is older than is kept.

Everything is done in slices so small that no commit waits long for the writer, with a rest after each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from boardherd_collector.health import STORE, UPKEEP, Health
from boardherd_collector.settings import DAY_S, RetentionSettings, RollupSettings
from boardherd_collector.stores.base import Store, StoreError
from boardherd_collector.times import SECOND

SLICE_S = 0.02
"""How long one slice should hold the writer."""
PAUSE_S = 0.05
_MANY = 1000
"""So many hours that wait are worth saying."""
SHRINK_EVERY_S = 600.0
"""How often what is old is looked for."""

log = structlog.get_logger()


class SliceSize:
    """How many rows one slice takes: as many as fit into its time, by how long the ones before took."""

    LOWEST, HIGHEST = 50, 5000

    def __init__(self) -> None:
        """Begin small."""
        self.rows = 500

    def learn(self, took_s: float) -> None:
        """Take fewer after a slice that took too long, more after a quick one."""
        if took_s > SLICE_S:
            self.rows = max(self.LOWEST, self.rows // 2)
        elif took_s < SLICE_S / 2:
            self.rows = min(self.HIGHEST, self.rows * 2)


class Maintenance:
    """Keeps rollups up to date and old rows away, and says in ``health`` how it goes."""

    def __init__(
        self,
        store: Store,
        health: Health,
        retention: RetentionSettings,
        rollup: RollupSettings,
        *,
        now: Callable[[], float] = time.time,
        pause_s: float = PAUSE_S,
    ) -> None:
        """Make it; ``now`` gives Unix seconds, ``pause_s`` is the rest after each slice."""
        self._store = store
        self._health = health
        self._retention = retention
        self._rollup = rollup
        self._now = now
        self._pause_s = pause_s
        self._size = SliceSize()
        self._shrunk_at: float | None = None
        self._done = 0

    async def run(self) -> None:
        """Do what is due, again and again, until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(self._rollup.every)

    async def once(self) -> None:
        """Do everything that is due now; what fails is said, and tried again the next time."""
        if not self._health.ok(STORE):
            return
        try:
            await self._roll_up()
            # Only now: a raw row that is not rolled up yet must not go.
            if self._shrunk_at is None or self._now() - self._shrunk_at >= SHRINK_EVERY_S:
                await self._shrink()
                self._shrunk_at = self._now()
        except StoreError as error:
            self._health.set(UPKEEP, ok=False, text=f"rollups and retention are behind: {error}")
        else:
            self._health.set(UPKEEP, ok=True, text=self._text())

    async def _roll_up(self) -> None:
        while True:
            window_from = self._before(self._rollup.window)
            result = await self._store.roll_up(window_from, SLICE_S)
            self._done += result.hours
            if result.left == 0:
                return
            if result.left > _MANY:
                self._health.set(
                    UPKEEP, ok=True, text=f"{self._store.upkeep}; {result.left} hours to roll up"
                )
            await asyncio.sleep(self._pause_s)

    async def _shrink(self) -> None:
        kept = self._retention
        raw, audit, five = map(self._before, (kept.raw, kept.audit, kept.five_minutes))
        gone = await self._slices(lambda rows: self._store.prune(raw, rows))
        gone += await self._slices(lambda rows: self._store.prune_audit(audit, rows))
        gone += await self._slices(lambda rows: self._store.prune_rollups(five, rows))
        gone += await self._slices(lambda rows: self._store.prune_digests(raw, rows))
        gone += await self._slices(self._store.forget_deleted)
        if gone:
            log.info("deleted what is older than is kept", rows=gone)

    async def _slices(self, delete: Callable[[int], Awaitable[int]]) -> int:
        total = 0
        while True:
            began = time.monotonic()
            gone = await delete(self._size.rows)
            self._size.learn(time.monotonic() - began)
            if gone == 0:
                return total
            total += gone
            await asyncio.sleep(self._pause_s)

    def _before(self, age_s: float) -> int:
        return round((self._now() - age_s) * SECOND)

    def _text(self) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(self._now()))
        kept = self._retention
        raw, audit, five = (age / DAY_S for age in (kept.raw, kept.audit, kept.five_minutes))
        ages = f"raw {raw:g} d, audit {audit:g} d, five minutes {five:g} d"
        return f"{self._store.upkeep}; rolled up at {at}; kept: {ages}"
