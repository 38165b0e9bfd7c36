"""The rollups of the store in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from boardherd_collector.rollups import (
    HOUR,
    STEPS,
    days,
    hour_of,
    hours_due,
    minute_bit,
    rolled_up,
    verdict_seconds,
)
from boardherd_collector.stores.answers import Step
from boardherd_collector.stores.base import RollUp
from boardherd_collector.stores.intake import Placed
from boardherd_shared.records import BoardRecord, Verdict

Columns = dict[str, float | int | None]
Sample = Mapping[str, float | int | str | None]


class MemoryRollups:
    """Rollups, and the hours that wait for theirs."""

    def __init__(self) -> None:
        """Begin empty."""
        self.verdicts: dict[tuple[str, int], dict[Verdict, float]] = {}
        """Seconds by verdict, of a board and an hour."""
        self._samples: dict[Step, dict[tuple[str, int], Columns]] = {"5m": {}, "1h": {}}
        self._minutes: dict[tuple[str, int], int] = {}
        self._due: set[tuple[int, str, str]] = set()

    def note_sample(self, pc: str, at: int) -> None:
        """Note that the hour of a sample is due."""
        self._due.add((hour_of(at), "pc", pc))

    def note_board(self, placed: Placed[BoardRecord]) -> None:
        """Note that a verdict was confirmed, and the hours that are due for that."""
        board, at = placed.record.board, placed.record.at
        key = board, hour_of(at)
        self._minutes[key] = self._minutes.get(key, 0) | minute_bit(at)
        hours = hours_due(at, change=placed.record.change, now=placed.envelope.received_at)
        self._due.update((hour, "board", board) for hour in hours)

    def roll_up(
        self,
        window_from: int,
        budget_s: float,
        samples: Callable[[str, int, int], list[tuple[int, Sample]]],
        entries: Callable[[str, int, int], list[tuple[int, Verdict]]],
    ) -> RollUp:
        """Work out due hours anew; ``samples`` and ``entries`` give the raw rows of a thing in a span of time."""
        enough, done = time.monotonic() + budget_s, 0
        while self._due and (done == 0 or time.monotonic() < enough):
            due = min(self._due)
            hour, kind, thing = due
            if kind == "pc":
                self._roll_up_samples(thing, samples(thing, hour, hour + HOUR), again=hour >= window_from)
            elif hour >= window_from or (thing, hour) not in self.verdicts:
                confirmed = self._minutes.get((thing, hour), 0), self._minutes.get((thing, hour - HOUR), 0)
                found = verdict_seconds(hour, entries(thing, hour, hour + HOUR), *confirmed)
                self.verdicts[thing, hour] = found
            self._due.remove(due)
            done += 1
        return RollUp(done, len(self._due))

    def _roll_up_samples(self, pc: str, samples: list[tuple[int, Sample]], *, again: bool) -> None:
        for step, table in self._samples.items():
            buckets: dict[int, list[Sample]] = {}
            for at, sample in samples:
                buckets.setdefault(at - at % STEPS[step], []).append(sample)
            for bucket, found in buckets.items():
                if again or (pc, bucket) not in table:
                    table[pc, bucket] = rolled_up(found)

    def trend(self, pc: str, since: int, step: Step) -> dict[int, Columns]:
        """Return the rollups of a PC that begin at or after ``since``, in order."""
        if step == "1d":
            return dict(sorted(days(self.trend(pc, since, "1h")).items()))
        table = self._samples[step]
        return {bucket: table[pc, bucket] for of, bucket in sorted(table) if of == pc and bucket >= since}

    def prune(self, before: int, limit: int) -> int:
        """Delete old five-minute rollups; return how many went."""
        table = self._samples["5m"]
        old = [key for key in sorted(table, key=lambda key: key[1]) if key[1] < before][:limit]
        for key in old:
            del table[key]
        return len(old)

    def forget_minutes(self, before: int) -> None:
        """Delete what was noted of hours before ``before``."""
        for key in [key for key in self._minutes if key[1] < before - HOUR]:
            del self._minutes[key]
