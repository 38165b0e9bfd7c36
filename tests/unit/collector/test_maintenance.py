"""Upkeep of a store, and the order that its settings must have."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardherd_collector.__main__ import main
from boardherd_collector.health import BROKER, STORE, UPKEEP, Health
from boardherd_collector.invariants import faults
from boardherd_collector.maintenance import SHRINK_EVERY_S, Maintenance, SliceSize
from boardherd_collector.settings import DAY_S, RetentionSettings, RollupSettings
from boardherd_collector.stores.base import RollUp, StoreError
from boardherd_collector.stores.memory import MemoryStore
from support.telemetry import LAB, NOW, SECOND, event, host, lab, received

DAY = 86400 * SECOND


class Worn(MemoryStore):
    """A store that fails on request and keeps a list of what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.trouble = ""

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        self.asked.append("roll_up")
        if self.trouble:
            raise StoreError(self.trouble)
        return await super().roll_up(window_from, 0.0)

    async def prune(self, before: int, limit: int) -> int:
        self.asked.append("prune")
        return await super().prune(before, limit)

    async def prune_audit(self, before: int, limit: int) -> int:
        self.asked.append("prune_audit")
        return await super().prune_audit(before, limit)


def healthy() -> Health:
    health = Health()
    health.set(STORE, ok=True, text="memory")
    health.set(BROKER, ok=True, text="mqtt")
    return health


def upkeep(store: MemoryStore, health: Health, now: list[float]) -> Maintenance:
    return Maintenance(store, health, RetentionSettings(), RollupSettings(), now=lambda: now[0], pause_s=0)


async def test_rollups_come_before_retention_and_outlive_what_they_are_made_of() -> None:
    """A raw row that is not rolled up yet never goes; its rollup stays when it does."""
    store, health, now = Worn(), healthy(), [NOW / SECOND]
    await store.sync_inventory(lab(), NOW)
    records = [host(NOW - 29 * DAY), host(NOW), event(NOW - 29 * DAY)]
    await store.commit([received(1, *records)])
    work = upkeep(store, health, now)
    await work.once()
    assert store.asked == ["roll_up", "roll_up", "prune", "prune_audit"]
    now[0] += 2 * DAY_S
    await work.once()
    counts = (await store.counts()).rows
    assert (counts["pc_stats"], counts["events"]) == (1, 1)
    assert [row.samples for row in await store.host_trend("pc-01", 0, "1h")] == [1, 1]
    assert health.components[UPKEEP].ok
    assert "rolled up at" in health.components[UPKEEP].text
    assert "kept: raw 30 d, audit 400 d, five minutes 400 d" in health.components[UPKEEP].text
    now[0] += 370 * DAY_S
    await work.once()
    assert (await store.counts()).rows["events"] == 0


async def test_five_minute_rollups_go_with_age_and_hourly_ones_stay() -> None:
    store, health, now = Worn(), healthy(), [NOW / SECOND]
    await store.sync_inventory(lab(), NOW)
    await store.commit([received(1, host(NOW))])
    work = upkeep(store, health, now)
    await work.once()
    now[0] += 401 * DAY_S
    await work.once()
    assert await store.host_trend("pc-01", 0, "5m") == []
    assert len(await store.host_trend("pc-01", 0, "1h")) == 1


async def test_retention_is_looked_after_less_often_than_rollups() -> None:
    store, now = Worn(), [NOW / SECOND]
    work = upkeep(store, healthy(), now)
    for _ in range(3):
        now[0] += SHRINK_EVERY_S / 2 + 1
        await work.once()
    assert store.asked.count("prune") == 2


async def test_trouble_is_said_and_clears_and_takes_nobody_out_of_service() -> None:
    """OPS-1."""
    store, health, now = Worn(), healthy(), [NOW / SECOND]
    work = upkeep(store, health, now)
    store.trouble = "the disk is full"
    await work.once()
    assert not health.ok(UPKEEP)
    assert "behind: the disk is full" in health.components[UPKEEP].text
    assert health.ready
    store.trouble = ""
    await work.once()
    assert health.ok(UPKEEP)


async def test_nothing_is_asked_of_a_store_that_is_away() -> None:
    store, health = Worn(), healthy()
    health.set(STORE, ok=False, text="gone")
    await upkeep(store, health, [NOW / SECOND]).once()
    assert store.asked == []


def test_a_slice_takes_as_many_rows_as_fit_into_its_time() -> None:
    size = SliceSize()
    for _ in range(20):
        size.learn(0.001)
    assert size.rows == SliceSize.HIGHEST
    for _ in range(20):
        size.learn(0.5)
    assert size.rows == SliceSize.LOWEST
    size.learn(0.015)
    assert size.rows == SliceSize.LOWEST


def test_what_ships_keeps_the_order() -> None:
    assert list(faults(RetentionSettings(), RollupSettings())) == []


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            'rollup.window = "7d"',
            "collector.toml:2 rollup.window: 7 d must be longer than rollup.spool_age (7 d)",
        ),
        (
            'retention.raw = "10d"',
            "collector.toml:2 retention.raw: 10 d must be at least a day longer than rollup.window",
        ),
        (
            'retention.five_minutes = "20d"',
            "collector.toml:2 retention.five_minutes: 20 d must not be shorter than retention.raw (30 d)",
        ),
        (
            'retention.audit = "29d"',
            "collector.toml:2 retention.audit: 29 d must not be shorter than retention.raw (30 d)",
        ),
        ("retention.audit = true", "collector.toml:2 retention.audit:"),
        (
            'retention.audit = "10m"',
            "collector.toml:2 retention.audit: should be greater than or equal to 3600",
        ),
        (
            'rollup.spool_age = "40d"\nrollup.window = "50d"\nretention.raw = "60d"',
            "collector.toml:2 rollup.spool_age: 40 d is too long: nothing older than 30 d is stored",
        ),
        (
            'rollup.spool_age = "12h"\nrollup.window = "6h"',
            "collector.toml:3 rollup.window: 6 h must be longer than rollup.spool_age (12 h)",
        ),
        (
            'retention.raw = "soon"',
            'collector.toml:2 retention.raw: "soon" is no duration',
        ),
    ],
)
def test_settings_that_would_lose_records_are_refused(
    tmp_path: Path, lines: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """OPS-4: with file, line and key, before anything runs."""
    (tmp_path / "lab.toml").write_text(LAB)
    config = tmp_path / "collector.toml"
    config.write_text(f'inventory = "{tmp_path}/lab.toml"\n{lines}\n')
    assert main(["--config", str(config)]) == 78
    assert sentence in capsys.readouterr().err
