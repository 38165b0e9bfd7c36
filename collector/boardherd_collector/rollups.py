"""What outlives the raw rows: samples of PCs rolled up, and for how long each verdict on a board held. Pure.

Buckets are whole multiples of their length since 1970 UTC. Times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from boardherd_collector.stores.answers import Spread, Step, TrendRow
from boardherd_collector.times import SECOND
from boardherd_shared.records import Health, Verdict

GAUGES = (
    "cpu_percent", "memory_percent", "memory_used_gb", "swap_used_gb", "disk_percent", "disk_used_gb", "disk_free_gb",
    "load_1m", "process_count", "thread_count", "temperature_c",
)  # fmt: skip
"""Columns of pc_stats of which a rollup keeps average, lowest and highest: ``cpu_percent_avg``, ``_min``, ``_max``."""
TOPS = (
    "memory_total_gb", "disk_total_gb", "network_io_read_mb", "network_io_write_mb", "disk_read_mb", "disk_written_mb",
)  # fmt: skip
"""Columns of which it keeps the highest: sizes, and counters since boot."""
HEALTH_COLUMNS = {"healthy": Health.HEALTHY, "warning": Health.WARNING, "critical": Health.CRITICAL}
"""Column of a rollup: the status whose samples it counts."""
SPREAD_COLUMNS = tuple(f"{gauge}_{kind}" for gauge in GAUGES for kind in ("avg", "min", "max"))
TOP_COLUMNS = tuple(f"{top}_max" for top in TOPS)
ROLLUP_COLUMNS = ("samples", *HEALTH_COLUMNS, *SPREAD_COLUMNS, *TOP_COLUMNS)
"""Every value of a rollup, in the order of the tables."""

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
STEPS: dict[Step, int] = {"5m": 5 * MINUTE, "1h": HOUR, "1d": 24 * HOUR}
"""Length of a rollup."""
STALE_MINUTES = 3
"""A verdict counts in the minute in which it was confirmed and in those after it, so many together."""
FOLLOWING_HOURS = 2
"""So many hours after a change may rest on it: within each a keyframe says anew what holds."""

_ALL_MINUTES = (1 << 60) - 1

Values = Mapping[str, float | int | str | None]


def hour_of(at: int) -> int:
    """Return the beginning of the hour that ``at`` is in."""
    return at - at % HOUR


def hours_due(at: int, *, change: bool, now: int) -> tuple[int, ...]:
    """Return the hours whose rollup a record of the time ``at`` makes due; none that has not begun by ``now``."""
    first = hour_of(at)
    if not change:
        return (first,)
    later = (first + step * HOUR for step in range(1, FOLLOWING_HOURS + 1))
    return (first, *(hour for hour in later if hour <= now))


def minute_bit(at: int) -> int:
    """Return the bit of the minute of its hour that ``at`` is in; bit 0 is the first minute."""
    return 1 << (at % HOUR // MINUTE)


def verdict_seconds(
    hour: int, entries: Iterable[tuple[int, Verdict]], confirmed: int, before: int = 0
) -> dict[Verdict, float]:
    """Return for how many seconds of an hour each verdict held, as far as somebody confirmed it.

    Args:
        hour: when it begins.
        entries: the history of the hour, in order of time, with the newest entry from before it.
        confirmed: a bit for each minute of the hour in which the verdict was confirmed.
        before: the same for the hour before, whose last minutes count into this one.
    """
    covered = _covered(confirmed, before)
    found = list(entries)
    total: dict[Verdict, float] = {}
    for place, (begin, verdict) in enumerate(found):
        end = found[place + 1][0] if place + 1 < len(found) else hour + HOUR
        micros = sum(
            max(0, min(end, minute + MINUTE) - max(begin, minute)) for minute in _minutes(hour, covered)
        )
        if micros:
            total[verdict] = total.get(verdict, 0.0) + micros / SECOND
    return total


def _covered(confirmed: int, before: int) -> int:
    reach = STALE_MINUTES - 1
    bits = confirmed << reach | before >> (60 - reach)
    spread = 0
    for later in range(STALE_MINUTES):
        spread |= bits << later
    return spread >> reach & _ALL_MINUTES


def _minutes(hour: int, covered: int) -> list[int]:
    return [hour + minute * MINUTE for minute in range(60) if covered >> minute & 1]


def rolled_up(samples: Sequence[Values]) -> dict[str, float | int | None]:
    """Return the rollup of ``samples``, rows of pc_stats; at least one."""
    result: dict[str, float | int | None] = {"samples": len(samples)}
    for column, status in HEALTH_COLUMNS.items():
        result[column] = sum(sample["status"] == status for sample in samples)
    for gauge in GAUGES:
        values = _measured(samples, gauge)
        result[f"{gauge}_avg"] = sum(values) / len(values) if values else None
        result[f"{gauge}_min"] = min(values, default=None)
        result[f"{gauge}_max"] = max(values, default=None)
    for top in TOPS:
        result[f"{top}_max"] = max(_measured(samples, top), default=None)
    return result


def days(hours: Mapping[int, Mapping[str, float | int | None]]) -> dict[int, dict[str, float | int | None]]:
    """Return the rollups by day of rollups by hour; averages weigh by the samples of each hour."""
    by_day: dict[int, list[Mapping[str, float | int | None]]] = {}
    for hour, columns in hours.items():
        by_day.setdefault(hour - hour % STEPS["1d"], []).append(columns)
    return {day: _day(found) for day, found in by_day.items()}


def _day(hours: Sequence[Mapping[str, float | int | None]]) -> dict[str, float | int | None]:
    result: dict[str, float | int | None] = {}
    for column in ("samples", *HEALTH_COLUMNS):
        result[column] = int(sum(_measured(hours, column)))
    for gauge in GAUGES:
        known = [hour for hour in hours if hour[f"{gauge}_avg"] is not None]
        weight = sum(_measured(known, "samples"))
        parts = zip(_measured(known, f"{gauge}_avg"), _measured(known, "samples"), strict=True)
        result[f"{gauge}_avg"] = sum(value * count for value, count in parts) / weight if weight else None
        result[f"{gauge}_min"] = min(_measured(known, f"{gauge}_min"), default=None)
        result[f"{gauge}_max"] = max(_measured(known, f"{gauge}_max"), default=None)
    for column in TOP_COLUMNS:
        result[column] = max(_measured(hours, column), default=None)
    return result


def _measured(rows: Iterable[Values], column: str) -> list[float]:
    return [value for row in rows if isinstance(value := row[column], int | float)]


def trend_row(bucket: int, columns: Values) -> TrendRow:
    """Return the answer that a row of a rollup table stands for."""
    gauges = {}
    for gauge in GAUGES:
        kinds = {kind: columns[f"{gauge}_{kind}"] for kind in ("avg", "min", "max")}
        if kinds["avg"] is not None:
            gauges[gauge] = Spread.model_validate(kinds)
    counts = {name: columns[name] for name in ("samples", *HEALTH_COLUMNS)}
    tops = {top: value for top in TOPS if (value := columns[f"{top}_max"]) is not None}
    return TrendRow.model_validate({"timestamp": bucket / SECOND, "gauges": gauges, "tops": tops, **counts})
