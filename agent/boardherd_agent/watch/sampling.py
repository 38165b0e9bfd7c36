"""Samples of the test PC: all samplers together, on a steady pace."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from boardherd_agent.watch.samplers import SAMPLER_FAULTS, Fields, Sampler, build_samplers
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.command import Duration
from boardherd_shared.records import Health, HostRecord
from boardherd_shared.values import Percent

_BASELINE_S = 1.0
"""How long the first sample waits, so that rates since the start mean something."""

log = structlog.get_logger()


class Thresholds(BaseModel):
    """From where on a test PC is called WARNING or CRITICAL, in percent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_warning: Percent = Field(90.0, description="busy share of all cores that is a warning")
    cpu_critical: Percent = Field(98.0, description="busy share of all cores that is critical")
    memory_warning: Percent = Field(85.0, description="used share of the memory that is a warning")
    memory_critical: Percent = Field(95.0, description="used share of the memory that is critical")
    disk_warning: Percent = Field(85.0, description="used share of the watched disk that is a warning")
    disk_critical: Percent = Field(95.0, description="used share of the watched disk that is critical")

    @model_validator(mode="after")
    def _in_order(self) -> Thresholds:
        for subject in ("cpu", "memory", "disk"):
            warning, critical = self.of(subject)
            if warning > critical:
                raise ValueError(
                    f"{subject}_warning ({warning:g}) is above {subject}_critical ({critical:g})"
                )
        return self

    def of(self, subject: str) -> tuple[float, float]:
        """Return the limits for warning and critical of ``cpu``, ``memory`` or ``disk``."""
        return getattr(self, f"{subject}_warning"), getattr(self, f"{subject}_critical")


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f'"{pattern}" is no regular expression: {error}') from error
    return pattern


class SamplingSettings(BaseModel):
    """How the PC is sampled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Duration = Field(10.0, ge=0.2, le=3600, description="time between samples of the PC")
    process_patterns: tuple[Annotated[str, AfterValidator(_regex)], ...] = Field(
        (),
        description="regular expressions that tell test processes by name or command line; without any, all "
        "processes are counted, which costs far less",
    )
    thresholds: Thresholds = Field(Thresholds(), description="when the PC is called WARNING or CRITICAL")


def health(fields: Mapping[str, float | int], thresholds: Thresholds) -> Health:
    """Return how the PC feels: the worst of what was measured, HEALTHY only if all of it was."""
    worst, measured = Health.HEALTHY, 0
    for subject in ("cpu", "memory", "disk"):
        percent = fields.get(f"{subject}_percent")
        if percent is None:
            continue
        measured += 1
        warning, critical = thresholds.of(subject)
        if percent >= critical:
            return Health.CRITICAL
        if percent >= warning:
            worst = Health.WARNING
    return worst if worst is Health.WARNING or measured == 3 else Health.UNKNOWN


class HostSampler:
    """Takes samples of this PC. A sampler that fails costs its own fields and is logged once per change."""

    def __init__(
        self,
        clock: Clock,
        interval_s: float,
        disk_mountpoint: str = "/",
        patterns: Iterable[str] = (),
        thresholds: Thresholds | None = None,
        extra: Callable[[], Fields] = dict,
        *,
        samplers: Mapping[str, Sampler] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare the samplers; those that measure rates count from here.

        Args:
            clock: tells the times of the records, the uptime and the pace.
            interval_s: seconds between samples.
            disk_mountpoint: the disk that the statistics are about.
            patterns: regular expressions that tell test processes.
            thresholds: limits of the health; the defaults if not given.
            extra: further fields of each record, such as the figures of the spool; called on the event loop
                by :meth:`run`, so it must not block.
            samplers: other samplers than the machine's own.
            sleep: how to wait.
        """
        self._clock = clock
        self._interval_s = interval_s
        self._thresholds = thresholds or Thresholds()
        self._extra = extra
        self._samplers = build_samplers(disk_mountpoint, patterns) if samplers is None else samplers
        self._sleep = sleep
        self.troubles: dict[str, str] = {}
        """What keeps samplers from measuring, by subject; empty when all is well."""

    async def run(self, put: Callable[[HostRecord], None]) -> None:
        """Take a sample every interval and hand it to ``put``, until cancelled.

        The pace does not drift; samples that a stall made impossible are left out, not made up for.
        """
        await self._sleep(min(_BASELINE_S, self._interval_s))
        start = self._clock.up()
        while True:
            fields = self._extra()
            put(await asyncio.to_thread(self._sample, fields))
            await self._sleep(until_next(start, self._interval_s, self._clock.up()))

    def sample(self) -> HostRecord:
        """Take one sample. Blocks for some milliseconds, longer if the watched disk is slow."""
        return self._sample(self._extra())

    def _sample(self, extra: Fields) -> HostRecord:
        fields: Fields = {"uptime_s": seconds(self._clock.up())}
        for subject, sampler in self._samplers.items():
            fields |= self._attempt(subject, sampler)
        fields |= extra
        return HostRecord.model_validate(
            fields
            | {"at": self._clock.wall(), "up": self._clock.up(), "status": health(fields, self._thresholds)}
        )

    def _attempt(self, subject: str, sampler: Sampler) -> Fields:
        try:
            fields = sampler()
        except SAMPLER_FAULTS as error:
            trouble = f"{type(error).__name__}: {error}"
            if self.troubles.get(subject) != trouble:
                log.warning("cannot be measured", subject=subject, why=trouble)
            self.troubles[subject] = trouble
            return {}
        if self.troubles.pop(subject, None):
            log.info("can be measured again", subject=subject)
        return fields


def until_next(start: int, interval_s: float, now: int) -> float:
    """Return the seconds from ``now`` to the next beat of a pace that began at ``start`` (microseconds).

    Beats that have passed are skipped, and one that is due this very moment counts as passed.
    """
    elapsed = seconds(now - start)
    beats = math.floor(elapsed / interval_s) + 1
    return max(0.0, beats * interval_s - elapsed)
