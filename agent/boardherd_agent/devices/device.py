"""The driver contract: what a relay device must be able to do, and the three ways in which it can fail.

A driver module offers two names: ``Options`` (a pydantic model of its own keys in lab.toml, unknown ones
refused, each with a description) and ``Driver`` (made from a RelayConfig and Options, without any effect on
the world). Opening happens in ``__aenter__``, which finds out what the device is; closing never fails loudly.

The worker above guarantees one call at a time and knows everything about locking, deadlines, retry, polarity
and read-back. A driver holds no locks, never toggles and never retries a switch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, runtime_checkable


class DeviceError(Exception):
    """The device did not do what it was asked; the message is for the operator."""


class DeviceOffline(DeviceError):  # noqa: N818
    """It does not answer or cannot be reached; the worker closes and opens it again."""


class DeviceRefused(DeviceError):  # noqa: N818
    """It said no; asking again would not help."""


class DeviceGarbled(DeviceError):  # noqa: N818
    """It answered nonsense, which the message shows; the worker closes and opens it again."""


@dataclass(frozen=True)
class Identity:
    """What a device says of itself."""

    model: str
    """Its own name for what it is, such as ``ETH008``."""
    hardware: str = ""
    firmware: str = ""
    mac: str = ""
    port_count: int | None = None
    """How many ports it says it has, where it says so."""

    def __str__(self) -> str:
        """Say it in one line: ``ETH008 hardware 2 firmware 28``."""
        parts = [self.model]
        parts += [f"hardware {self.hardware}"] if self.hardware else []
        parts += [f"firmware {self.firmware}"] if self.firmware else []
        return " ".join(parts)


class Driver(Protocol):
    """A device that switches ports. Ports count from 1; True means energised, whatever the wiring."""

    identity: Identity
    """Known once the device is open."""

    async def __aenter__(self) -> Self:
        """Open the device; raises DeviceOffline or DeviceGarbled."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it, quietly."""
        ...

    async def read(self) -> Mapping[int, bool]:
        """Return for each port whether it is energised, as the device says now; raises DeviceError."""
        ...

    async def set(self, port: int, energised: bool) -> None:
        """Energise or release a port, and return when the device has acknowledged it; raises DeviceError."""
        ...


@runtime_checkable
class Pulser(Protocol):
    """A driver whose device can time a pulse by itself."""

    max_pulse_s: float

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for ``seconds``, then go to the opposite one; returns when acknowledged, not when done."""
        ...
