"""What a board usually takes to boot, from its own past. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from boardherd_shared.records import BootTimes

STAGES = tuple(name for name in BootTimes.model_fields if name.endswith("_s"))
"""The stages of a boot, in the order in which they are usually reached."""


def usual(boots: Iterable[BootTimes]) -> BootTimes:
    """Return the median of each stage, over the boots that reached it; a stage that none reached has none."""
    known = list(boots)
    seen = {stage: [took for it in known if (took := getattr(it, stage)) is not None] for stage in STAGES}
    return BootTimes(**{stage: round(median(times), 3) for stage, times in seen.items() if times})
