"""What settings must be in which order, so that no record is lost between them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from boardherd_collector.settings import DAY_S, RetentionSettings, RollupSettings
from boardherd_collector.times import MAX_AGE, SECOND
from boardherd_shared.settings import Key

MARGIN_S = DAY_S
"""So much longer than the window of the rollups raw rows are kept at least: databases delete them by the day."""


def faults(retention: RetentionSettings, rollup: RollupSettings) -> Iterator[tuple[Key, str]]:
    """Yield the key of each setting that contradicts another, and why in words.

    Records may come as late as an agent keeps them. As long as their hour is made anew then, and all the raw
    rows of that hour are still there, rollups are right; so it must be spool < window < raw < five minutes.
    What people did is kept at least as long as what came of it: raw <= audit.
    """
    if rollup.spool_age > MAX_AGE / SECOND:
        yield (
            ("rollup", "spool_age"),
            f"{_days(rollup.spool_age)} is too long: nothing older than {_days(MAX_AGE / SECOND)} is stored",
        )
    if rollup.window <= rollup.spool_age:
        yield (
            ("rollup", "window"),
            (
                f"{_days(rollup.window)} must be longer than rollup.spool_age ({_days(rollup.spool_age)}),"
                " or late records would be missing in rollups"
            ),
        )
    if retention.raw < rollup.window + MARGIN_S:
        yield (
            ("retention", "raw"),
            (
                f"{_days(retention.raw)} must be at least a day longer than rollup.window ({_days(rollup.window)}),"
                " or rollups would be made anew from what is left of deleted rows"
            ),
        )
    if retention.audit < retention.raw:
        yield (
            ("retention", "audit"),
            (
                f"{_days(retention.audit)} must not be shorter than retention.raw ({_days(retention.raw)}),"
                " or a sample would outlive the word of who caused it"
            ),
        )
    if retention.five_minutes < retention.raw:
        yield (
            ("retention", "five_minutes"),
            f"{_days(retention.five_minutes)} must not be shorter than retention.raw ({_days(retention.raw)})",
        )


def _days(seconds: float) -> str:
    if seconds < DAY_S:
        return f"{seconds / 3600:g} h"
    return f"{round(seconds / DAY_S, 1):g} d"
