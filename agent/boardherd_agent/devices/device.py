"""The driver contract: what a relay device must be able to do, and the three ways in which it can fail.

A driver module offers three names: ``Options`` (a pydantic model of its own keys in lab.toml, unknown ones
refused, each with a description), ``Driver`` (made from a RelayConfig and Options, without any effect on
the world) and ``ABOUT`` (an :class:`About`, from which the documentation is made). Opening happens in
``__aenter__``, which finds out what the device is; closing never fails loudly.

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
class About:
    """What a person who chooses or sets up a device wants to know of its kind; texts for the documentation."""

    title: str
    """For example "Devantech ETH and WIFI modules"."""
    models: str
    """What it is known to work with, or to be made for."""
    connection: str
    """For example "TCP, port 17494"."""
    example: str
    """A relay's stanza of lab.toml; the tests read it."""
    tested: str
    """Against what the driver was tried, and what was not tried."""
    read_back: str = "yes"
    """Whether the device can be asked what its outputs do, and on which condition."""
    pulse: str = ""
    """How long a pulse the device times itself, so that a cycle runs inside it; empty when it cannot."""
    metering: str = ""
    """What it measures and boardherd reads; empty for nothing."""
    after_power_loss: str = ""
    """What the outputs do when the device comes back, where that is known."""
    extra: str = ""
    """The extra of the agent's package that brings the library; empty when none is needed."""
    notes: str = ""
    """Oddities that matter to whoever sets it up, and what is uncertain."""


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

    reads_back: bool
    """False for a device that cannot be asked: :meth:`read` then answers {}, or raises when it cannot be reached."""

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


@runtime_checkable
class Meter(Protocol):
    """A driver whose device measures the power that its ports deliver."""

    async def watts(self) -> Mapping[int, float]:
        """Return the power at each port that is measured, in watts; raises DeviceError."""
        ...


@runtime_checkable
class Patient(Protocol):
    """A driver whose switches may take longer than a worker waits for others: people, slow daemons."""

    patience_s: float
    """How long one switch may take."""


@runtime_checkable
class AsksPeople(Protocol):
    """A driver that asks a person to switch, and takes the word of whoever says that it is done."""

    def say_done(self, port: int) -> bool:
        """Take it that the port that is asked about was switched; False if nothing is asked about it."""
        ...
