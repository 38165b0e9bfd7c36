"""Rollups: the arithmetic that every store shares."""

from __future__ import annotations

import pytest

from boardherd_collector.rollups import (
    HOUR,
    MINUTE,
    ROLLUP_COLUMNS,
    STEPS,
    days,
    hour_of,
    hours_due,
    minute_bit,
    rolled_up,
    trend_row,
    verdict_seconds,
)
from boardherd_collector.stores.units import host_values
from boardherd_shared.records import Health, Verdict
from support.telemetry import NOW, SECOND, host

H = hour_of(NOW)
ALL = (1 << 60) - 1


def bits(*minutes: int) -> int:
    return sum(1 << minute for minute in minutes)


def test_a_record_makes_its_hour_due_and_a_change_those_that_rest_on_it() -> None:
    assert hours_due(H + 5, change=False, now=H + 9 * HOUR) == (H,)
    assert hours_due(H + 5, change=True, now=H + 9 * HOUR) == (H, H + HOUR, H + 2 * HOUR)
    assert hours_due(H + 5, change=True, now=H + HOUR + 1) == (H, H + HOUR)
    assert hours_due(H + 5, change=True, now=H + 6) == (H,)


def test_each_minute_has_a_bit() -> None:
    assert minute_bit(H) == 1
    assert minute_bit(H + 59 * MINUTE + 59 * SECOND) == 1 << 59
    assert sum(minute_bit(H + minute * MINUTE) for minute in range(60)) == ALL


@pytest.mark.parametrize(
    ("entries", "confirmed", "before", "expected"),
    [
        ([(-HOUR, Verdict.ALIVE)], ALL, 0, {Verdict.ALIVE: 3600}),
        ([(-HOUR, Verdict.ALIVE)], 0, 0, {}),
        ([], ALL, 0, {}),
        ([(-HOUR, Verdict.ALIVE)], bits(20), 0, {Verdict.ALIVE: 180}),
        ([(-HOUR, Verdict.ALIVE)], bits(58), 0, {Verdict.ALIVE: 120}),
        ([(-HOUR, Verdict.ALIVE)], 0, bits(59), {Verdict.ALIVE: 120}),
        ([(-HOUR, Verdict.ALIVE)], 0, bits(58), {Verdict.ALIVE: 60}),
        ([(-HOUR, Verdict.ALIVE)], 0, bits(57), {}),
        (
            [(-HOUR, Verdict.ALIVE), (30 * MINUTE + 30 * SECOND, Verdict.SILENT)],
            ALL,
            0,
            {Verdict.ALIVE: 1830, Verdict.SILENT: 1770},
        ),
        (
            [(0, Verdict.BOOTING), (MINUTE, Verdict.ALIVE), (2 * MINUTE, Verdict.BOOTING)],
            bits(0, 1, 2),
            0,
            {Verdict.BOOTING: 240, Verdict.ALIVE: 60},
        ),
        ([(10 * MINUTE, Verdict.ALIVE)], ALL, 0, {Verdict.ALIVE: 3000}),
    ],
    ids=[
        "all",
        "never",
        "no-history",
        "once",
        "at-the-end",
        "from-before",
        "nearly-over",
        "over",
        "two",
        "back",
        "first",
    ],
)
def test_a_verdict_counts_as_long_as_it_was_confirmed(
    entries: list[tuple[int, Verdict]], confirmed: int, before: int, expected: dict[Verdict, float]
) -> None:
    assert verdict_seconds(H, [(H + at, verdict) for at, verdict in entries], confirmed, before) == expected


def test_no_hour_has_more_than_3600_seconds() -> None:
    entries = [(H + second * 7 * SECOND, list(Verdict)[second % 6]) for second in range(500)]
    assert sum(verdict_seconds(H, entries, ALL, ALL).values()) == 3600


def test_a_rollup_has_average_lowest_highest_and_leaves_out_what_was_not_measured() -> None:
    samples = [
        host_values(host(cpu_percent=10, load_1m=None, network_received=5_000_000)),
        host_values(host(cpu_percent=40, load_1m=1.5, status=Health.WARNING, network_received=7_000_000)),
        host_values(host(cpu_percent=None, load_1m=None, status=Health.CRITICAL)),
    ]
    columns = rolled_up(samples)
    assert set(columns) == set(ROLLUP_COLUMNS)
    row = trend_row(H, columns)
    assert (row.timestamp, row.samples) == (H / SECOND, 3)
    assert (row.healthy, row.warning, row.critical) == (1, 1, 1)
    assert row.gauges["cpu_percent"].model_dump() == {"avg": 25, "min": 10, "max": 40}
    assert row.gauges["load_1m"].model_dump() == {"avg": 1.5, "min": 1.5, "max": 1.5}
    assert "temperature_c" not in row.gauges
    assert row.tops == {"memory_total_gb": 16.0, "network_io_read_mb": 7.0}


def test_a_day_weighs_its_hours_by_their_samples() -> None:
    day = H - H % STEPS["1d"]
    few = rolled_up([host_values(host(cpu_percent=10))])
    many = rolled_up([host_values(host(cpu_percent=40))] * 3)
    silent = rolled_up([host_values(host(cpu_percent=None))] * 9)
    found = days({day: few, day + HOUR: many, day + 2 * HOUR: silent, day + STEPS["1d"]: few})
    assert list(found) == [day, day + STEPS["1d"]]
    assert found[day]["samples"] == 13
    assert (found[day]["cpu_percent_avg"], found[day]["cpu_percent_max"]) == (32.5, 40)
