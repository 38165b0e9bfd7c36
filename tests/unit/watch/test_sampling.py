"""Samples: what each sampler makes of what it reads, how they fail, how they keep pace."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from boardherd_agent.watch.samplers.cpu import busy_and_total, share
from boardherd_agent.watch.samplers.disk import whole_disks
from boardherd_agent.watch.samplers.system import parse_loadavg
from boardherd_agent.watch.sampling import HostSampler, SamplingSettings, Thresholds, health, until_next
from boardherd_shared.records import Health, HostRecord
from support.clock import FakeClock

Times = namedtuple("Times", "user nice system idle iowait guest guest_nice")  # noqa: PYI024 - as psutil's


def test_cpu_counts_guests_once_and_waiting_for_a_disk_as_idle() -> None:
    assert busy_and_total(Times(50, 10, 20, 100, 20, 30, 10)) == (80, 200)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [((0, 0), (5, 10), 50.0), ((5, 10), (5, 10), None), ((5, 10), (4, 20), 0.0), ((0, 0), (11, 10), 100.0)],
)
def test_the_share_of_time_stays_a_percentage(
    before: tuple[float, float], now: tuple[float, float], expected: float | None
) -> None:
    assert share(before, now) == expected


def test_loadavg() -> None:
    assert parse_loadavg("0.37 0.10 0.03 1/95 11615\n") == (0.37, 0.10, 0.03, 95)
    with pytest.raises(ValueError, match="not enough values"):
        parse_loadavg("nonsense")


def test_disk_traffic_is_counted_once() -> None:
    names = ["sda", "sda1", "sda2", "nvme0n1", "nvme0n1p1", "dm-0", "loop0", "md0", "cciss/c0d0"]
    counters = {name: SimpleNamespace(name=name) for name in names}
    devices = {"sda", "nvme0n1", "dm-0", "loop0", "md0", "cciss!c0d0"}
    assert [disk.name for disk in whole_disks(counters, devices)] == ["sda", "nvme0n1", "cciss/c0d0"]
    assert [disk.name for disk in whole_disks({"PhysicalDrive0": SimpleNamespace(name="C")}, set())] == ["C"]


@pytest.mark.parametrize(
    ("cpu", "memory", "disk", "expected"),
    [
        (10, 20, 30, Health.HEALTHY),
        (90, 20, 30, Health.WARNING),
        (10, 95, 30, Health.CRITICAL),
        (90, 20, 99, Health.CRITICAL),
        (None, 20, 30, Health.UNKNOWN),
        (None, 86, 30, Health.WARNING),
        (None, None, None, Health.UNKNOWN),
    ],
)
def test_health(cpu: float | None, memory: float | None, disk: float | None, expected: Health) -> None:
    given = {"cpu_percent": cpu, "memory_percent": memory, "disk_percent": disk}
    fields = {name: value for name, value in given.items() if value is not None}
    assert health(fields, Thresholds()) is expected


def test_bad_sampling_settings_are_refused_in_words() -> None:
    """OPS-4."""
    with pytest.raises(ValidationError, match=r"cpu_warning \(99\) is above cpu_critical \(98\)"):
        Thresholds(cpu_warning=99)
    with pytest.raises(ValidationError, match="is no regular expression"):
        SamplingSettings.model_validate({"process_patterns": ["("]})
    assert SamplingSettings.model_validate({"interval": "5s"}).interval == 5


def _forbidden() -> dict[str, float | int]:
    raise PermissionError("no /proc for you")


def test_a_sampler_fails_alone_and_is_logged_once_per_change() -> None:
    """OPS-1."""
    samplers = {"cpu": _forbidden, "memory": lambda: {"memory_percent": 12.5}}
    sampler = HostSampler(FakeClock(), 10, samplers=samplers, extra=lambda: {"spool_pending": 3})
    with capture_logs() as logs:
        record = sampler.sample()
        sampler.sample()
        assert sampler.troubles == {"cpu": "PermissionError: no /proc for you"}
        samplers["cpu"] = lambda: {"cpu_percent": 1.0}
        healed = sampler.sample()
    assert (record.cpu_percent, record.memory_percent, record.spool_pending) == (None, 12.5, 3)
    assert record.uptime_s == 1000
    assert healed.cpu_percent == 1.0
    assert not sampler.troubles
    assert [entry["event"] for entry in logs] == ["cannot be measured", "can be measured again"]


def test_a_mistake_of_our_own_is_no_fault_of_the_system() -> None:
    """A name that is spelt wrong must end the process, and not look like a sensor that is not there."""

    def misspelt() -> dict[str, float | int]:
        return {"cpu_percent": SimpleNamespace(total=1).totl}

    with pytest.raises(AttributeError, match="totl"):
        HostSampler(FakeClock(), 10, samplers={"cpu": misspelt}).sample()


async def test_the_pace_is_steady_and_has_no_burst_after_a_stall() -> None:
    clock, slept, records = FakeClock(), list[float](), list[HostRecord]()
    costs = iter([0.5, 25.0, 0.5, 0.5])

    def busy() -> dict[str, float | int]:
        clock.advance(next(costs))
        return {}

    async def sleep(seconds: float) -> None:
        if len(records) == 4:
            raise asyncio.CancelledError
        slept.append(seconds)
        clock.advance(seconds)

    sampler = HostSampler(clock, 10, samplers={"busy": busy}, sleep=sleep)
    start = clock.up()
    with pytest.raises(asyncio.CancelledError):
        await sampler.run(records.append)
    assert slept == pytest.approx([1.0, 9.5, 5.0, 9.5])
    assert [(record.up - start) / 1e6 for record in records] == pytest.approx([1.5, 36.0, 41.5, 51.5])


@given(st.integers(0, 10**12), st.floats(0.2, 3600), st.integers(0, 10**12))
def test_the_next_beat_is_ahead_and_at_most_one_interval_away(
    start: int, interval_s: float, passed: int
) -> None:
    assert 0 <= until_next(start, interval_s, start + passed) <= interval_s + 1e-6
