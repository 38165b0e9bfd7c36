"""Simulated devices: one module per kind, named as the driver that speaks to it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol, cast

from boardherd.rack.devices.device import SimulatedDevice

_COMMON = {"contacts", "device", "http_device", "http_login", "plugged_device", "serial_device", "tcp_device"}


class SimulatorModule(Protocol):
    """What a module of this package offers."""

    def simulate(self, **options: Any) -> SimulatedDevice:
        """Return a device, not yet alive."""
        ...


def kinds() -> tuple[str, ...]:
    """Return the kinds of devices that can be simulated, in alphabetical order."""
    names = (name for _, name, _ in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name not in _COMMON and not name.startswith("_")))


def load(kind: str) -> SimulatorModule:
    """Return the simulator of ``kind``; raises ValueError in words for an unknown one."""
    if kind not in kinds():
        raise ValueError(f'no "{kind}" can be simulated; known kinds are {", ".join(kinds())}')
    return cast("SimulatorModule", importlib.import_module(f"{__name__}.{kind}"))
