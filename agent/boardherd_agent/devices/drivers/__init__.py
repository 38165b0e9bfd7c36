"""Drivers: one module per kind of device; the file's name is the ``kind`` in lab.toml."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol, cast

from pydantic import BaseModel

from boardherd_agent.devices.device import About, Driver
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.near import did_you_mean


class _MakeDriver(Protocol):
    def __call__(self, config: RelayConfig, options: Any) -> Driver: ...


class DriverModule(Protocol):
    """What a driver module offers."""

    Options: type[BaseModel]
    """The driver's own keys in lab.toml."""
    Driver: _MakeDriver
    """Makes a driver from a relay's configuration and its Options; ValueError if a key is missing."""
    ABOUT: About
    """What a person wants to know of this kind of device."""


def kinds() -> tuple[str, ...]:
    """Return the kinds of devices that there are drivers for, in alphabetical order."""
    return tuple(sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if not name.startswith("_")))


def load(kind: str) -> DriverModule:
    """Return the driver module of ``kind``; raises ValueError in words for whoever wrote lab.toml.

    Only the names in :func:`kinds` are ever imported, so a pushed inventory cannot name other code.
    """
    if kind not in kinds():
        known = f"known kinds are {', '.join(kinds())}{did_you_mean(kind, kinds())}"
        raise ValueError(f'there is no driver "{kind}"; {known}')
    return cast("DriverModule", importlib.import_module(f"{__name__}.{kind}"))
