"""Samplers: one file per subject, each fills some fields of a HostRecord and may fail alone.

The only place that imports psutil. A sampler is called in a worker thread, never on the event loop, and
returns what it measured; a value that could not be measured is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil

from boardherd_agent.watch.samplers.cpu import CpuSampler
from boardherd_agent.watch.samplers.disk import DiskSampler
from boardherd_agent.watch.samplers.memory import sample_memory
from boardherd_agent.watch.samplers.network import sample_network
from boardherd_agent.watch.samplers.own import OwnSampler
from boardherd_agent.watch.samplers.processes import ProcessSampler
from boardherd_agent.watch.samplers.system import sample_load, sample_temperature

Fields = dict[str, float | int]
"""Fields of a HostRecord by name."""

Sampler = Callable[[], Fields]

SAMPLER_FAULTS = (psutil.Error, OSError, NotImplementedError, ValueError)
"""What a sampler raises where the system forbids, lacks or garbles what it reads.

Functions that psutil has on some systems only are asked for by name, see :func:`.system.optional`, so that an
AttributeError is always a mistake of ours, and ends the process as such.
"""


def build_samplers(disk_mountpoint: str, process_patterns: Iterable[str]) -> dict[str, Sampler]:
    """Return all samplers by subject. Those that measure since the sample before start counting now."""
    return {
        "cpu": CpuSampler(),
        "memory": sample_memory,
        "disk": DiskSampler(disk_mountpoint),
        "network": sample_network,
        "processes": ProcessSampler(process_patterns),
        "load": sample_load,
        "temperature": sample_temperature,
        "own": OwnSampler(),
    }
