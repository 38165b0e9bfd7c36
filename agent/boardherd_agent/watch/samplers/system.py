"""Load and temperature of the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

_LOADAVG = Path("/proc/loadavg")
_PLAUSIBLE_C = (-40.0, 150.0)
"""Unconnected sensor inputs report figures such as -273 or 255 degrees."""


def optional(name: str) -> Callable[..., Any] | None:
    """Return the function of psutil that is called ``name``, None on systems for which psutil has none."""
    found: Callable[..., Any] | None = getattr(psutil, name, None)
    return found


LOAD = optional("getloadavg")
SENSORS = optional("sensors_temperatures")


def parse_loadavg(text: str) -> tuple[float, float, float, int]:
    """Return the loads over 1, 5 and 15 minutes and the number of threads (proc(5)).

    The text reads ``0.37 0.10 0.03 1/95 11615``: of 95 threads one runs. Raises ValueError for another form.
    """
    one, five, fifteen, threads, *_ = text.split()
    return float(one), float(five), float(fifteen), int(threads.partition("/")[2])


def sample_load() -> dict[str, float | int]:
    """Return the load averages; nothing on systems that know no load."""
    if sys.platform == "linux":
        one, five, fifteen, _ = parse_loadavg(_LOADAVG.read_text())
    elif LOAD is None:
        return {}
    else:
        one, five, fifteen = LOAD()
    return {"load_1m": one, "load_5m": five, "load_15m": fifteen}


def sample_temperature() -> dict[str, float | int]:
    """Return the hottest plausible sensor; nothing on machines without sensors."""
    if SENSORS is None:
        return {}
    low, high = _PLAUSIBLE_C
    degrees = [
        sensor.current for chip in SENSORS().values() for sensor in chip if low < sensor.current < high
    ]
    return {"temperature_c": round(max(degrees), 1)} if degrees else {}
