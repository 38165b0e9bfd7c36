"""NETIO power sockets over their JSON interface, which has to be enabled in the device for reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boardherd_agent.devices.codecs import netio as codec
from boardherd_agent.devices.codecs.json_replies import Readings
from boardherd_agent.devices.device import About, Identity
from boardherd_agent.devices.drivers._http import HttpRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions
from boardherd_agent.devices.uptime import Uptime
from boardherd_shared.inventory import RelayConfig

_PATH = "/netio.json"

ABOUT = About(
    title="NETIO power sockets",
    models="PowerPDU, PowerBOX, PowerCable, PowerDIN, NETIO 4 and 4All, with the JSON interface",
    connection="HTTP or HTTPS, port 80 or 443 or as set in the device",
    example="""
[relay.netio-1]
kind = "netio"
address = "10.0.5.41"
port_count = 4
user = "netio"
password = "an example"
""",
    tested="a simulator, written from the maker's documents; no real device yet",
    pulse="0.1 s to an hour",
    metering="power of each output, where the model measures it",
    after_power_loss="as set in the device for each output",
    extra=EXTRA,
    notes="Enable the JSON interface for reading and writing in the device. Several models serve one such protocol "
    "at a time only, and NETIO 4 restarts for about a minute when its settings are saved. The limits of "
    "the short time, and whether a switch ends it, are not documented; it is taken to.",
)


class Options(HttpOptions):
    """Keys of a NETIO relay in lab.toml beside the common ones."""


class Driver(HttpRelay):
    """One device; see the contract in :mod:`boardherd_agent.devices.device`."""

    max_pulse_s = codec.MAX_PULSE_S
    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the device; ValueError if its address is missing."""
        super().__init__("netio", config, options)
        self._uptime = Uptime(self._http.place)

    async def read(self) -> Mapping[int, bool]:
        """Return for each output whether it is energised; raises DeviceError."""
        return (await self._readings()).outputs

    async def set(self, port: int, energised: bool) -> None:
        """Set one output and wait for the acknowledgement; raises DeviceError."""
        await self._write(port, codec.set_output(port, energised=energised))

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for 0.1 s to an hour, then take the opposite one; raises DeviceError or ValueError."""
        await self._write(port, codec.pulse_output(port, energised=energised, seconds=seconds))

    async def watts(self) -> Mapping[int, float]:
        """Return the power at each output that is measured; raises DeviceError."""
        return (await self._readings()).watts

    async def _identify(self) -> Identity:
        body = await self._http.ask("GET", _PATH)
        agent = self._http.decode(codec.parse_agent, body)
        self._ports = frozenset(self._http.decode(codec.parse_outputs, body).outputs)
        return Identity(agent.model or "NETIO", "", agent.firmware, agent.mac, len(self._ports))

    async def _readings(self) -> Readings:
        readings = self._http.decode(codec.parse_outputs, await self._http.ask("GET", _PATH))
        self._uptime.reported(readings.uptime_s)
        return readings

    async def _write(self, port: int, document: dict[str, Any]) -> None:
        self._check(port, "output")
        self._http.decode(codec.parse_outputs, await self._http.ask("POST", _PATH, json=document))
