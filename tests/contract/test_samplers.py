"""Every sampler keeps the contract: its own fields of the record, plausible figures of this very machine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from boardherd_agent.watch.samplers import SAMPLER_FAULTS, build_samplers, system
from boardherd_agent.watch.samplers.disk import DiskSampler
from boardherd_agent.watch.samplers.processes import ProcessSampler
from boardherd_agent.watch.sampling import HostSampler, Thresholds
from boardherd_shared.clock import SystemClock
from boardherd_shared.records import Health, HostRecord

SUBJECTS = sorted(build_samplers("/", ()))


def busy_wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_sampler_fills_fields_that_the_record_has(subject: str) -> None:
    fields = build_samplers("/", ())[subject]()
    assert set(fields) <= set(HostRecord.model_fields)
    HostRecord.model_validate(fields | {"at": 0, "up": 0, "status": "UNKNOWN"})


def test_no_two_samplers_fill_the_same_field() -> None:
    samplers = build_samplers("/", ())
    busy_wait(0.1)
    names = [name for sampler in samplers.values() for name in sampler()]
    assert len(names) == len(set(names))


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
def test_the_first_sample_is_complete_and_agrees_with_proc() -> None:
    sampler = HostSampler(SystemClock(), 10, "/", (), Thresholds())
    busy_wait(0.2)
    record = sampler.sample()
    assert not sampler.troubles
    absent = {name for name, value in record.model_dump().items() if value is None}
    of_delivery = {name for name in absent if name.startswith(("spool_", "envelopes_", "records_"))}
    assert absent - of_delivery <= {"temperature_c", "disk_read", "disk_written"}
    assert record.cpu_percent is not None
    assert record.cpu_percent > 0
    assert record.agent_cpu_percent is not None
    assert record.agent_cpu_percent > 10
    assert record.status is not Health.UNKNOWN
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert record.memory_total == total
    assert record.memory_used is not None
    assert record.memory_free is not None
    assert record.memory_used + record.memory_free == total
    assert record.uptime_s == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=5)
    assert record.thread_count is not None
    assert record.process_count is not None
    assert record.process_count >= 1
    assert abs(record.at / 1e6 - time.time()) < 60


@pytest.mark.skipif(sys.platform != "linux", reason="other systems lack some of them")
def test_psutil_has_what_is_asked_for_by_name() -> None:
    """A name that is spelt wrong would be taken for a system without it."""
    assert system.LOAD is not None
    assert system.SENSORS is not None
    assert system.optional("spelt_wrong") is None


def test_patterns_count_matching_processes_but_never_the_agent_itself() -> None:
    code = "import sys; sys.stdin.read()  # boardherd-needle"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        needles = ProcessSampler(["boardherd-need[l]e"])
        everything = ProcessSampler(["^"])()
        assert needles() == {"process_count": 1, "thread_count": 1}
        assert everything["process_count"] < len(psutil_free_pids())
        assert child.stdin is not None
        child.stdin.close()
    assert needles() == {"process_count": 0, "thread_count": 0}


def psutil_free_pids() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def test_a_disk_that_is_gone_is_a_fault_that_sampling_survives(tmp_path: Path) -> None:
    """OPS-1."""
    with pytest.raises(SAMPLER_FAULTS):
        DiskSampler(str(tmp_path / "gone"))()
    sampler = HostSampler(SystemClock(), 10, str(tmp_path / "gone"))
    record = sampler.sample()
    assert set(sampler.troubles) == {"disk"}
    assert record.disk_percent is None
    assert record.memory_total
    (tmp_path / "gone").mkdir()
    assert sampler.sample().disk_total
    assert not sampler.troubles
