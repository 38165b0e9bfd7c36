"""What the contract suite must know of a kind of device to test its driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boardherd.rack.devices.device import SimulatedDevice

QUICK: Mapping[str, Any] = {"reply_timeout": 0.3, "connect_timeout": 1.0}
"""Replies that take 0.3 s count as silence; the suite says so to every driver."""


@dataclass(frozen=True)
class Rig:
    """How to test one driver."""

    simulator: Callable[[], SimulatedDevice]
    """Makes the device, eight ports unless ``port_count`` says otherwise."""
    keys: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    """Keys in lab.toml beside those of the simulator's own stanza."""
    port_count: int = 8
    max_connections: int = 1
    """How many connections one worker may need; 0 for devices without connections."""
    garbled: str = "55 aa"
    """How the message of DeviceGarbled shows the bytes 55 AA 55 AA 55."""
    patience: float = 0.3
    """The reply_timeout among ``keys``; a device that starts a program for each question needs a longer one."""
    reads_back: bool = True
    """Whether the device can be asked what its outputs do."""
    acknowledges: bool = True
    """Whether a device that cannot be read back answers a switch at least."""
    drops_outputs: bool = True
    """Whether the outputs are released when the device loses its supply."""

    absent: str = "refused"
    """What is said while the device is unplugged."""
    exclusive: bool = False
    """Whether one program alone can have the device open."""
    place: tuple[str, str] | None = None
    """The option that says where it is, and how an address and a port stand there."""

    def config(self, device: SimulatedDevice) -> dict[str, Any]:
        """Return what stands in lab.toml about a running device."""
        return {"port_count": self.port_count} | device.stanza() | dict(self.keys)
