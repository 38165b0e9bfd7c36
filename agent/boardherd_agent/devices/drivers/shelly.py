"""Shelly plugs, relays and strips over HTTP, of both generations.

Which one it is, the device tells without a login; generation 1 then takes plain GET requests, the later ones
remote procedure calls. Switches are set absolutely and one by one. A device that restarts between two requests is
noticed by its uptime.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field

from boardherd_agent.devices.codecs import shelly as codec
from boardherd_agent.devices.codecs.json_replies import Readings
from boardherd_agent.devices.device import About, DeviceGarbled, Identity
from boardherd_agent.devices.drivers._http import HttpRelay
from boardherd_agent.devices.http import EXTRA, HttpOptions, HttpTransport
from boardherd_agent.devices.uptime import Uptime
from boardherd_shared.inventory import RelayConfig

T = TypeVar("T")

_USER = "admin"
"""The only user of generation 2, and the usual name in generation 1."""

ABOUT = About(
    title="Shelly plugs and relays",
    models="generation 1 (Plug, 1, 1PM, 2.5, 4Pro) and generations 2, 3 and 4 (Plus, Pro, Mini, Gen3, Gen4)",
    connection="HTTP or HTTPS, port 80 or 443",
    example="""
[relay.plug-1]
kind = "shelly"
address = "10.0.5.40"
port_count = 1
password = "an example"
""",
    tested="simulators of both generations, written from the maker's interface descriptions; no real device yet",
    pulse="up to an hour",
    metering="power of each switch, where the model measures it",
    after_power_loss="as set in the device for each switch: off, on, or as it was",
    extra=EXTRA,
    notes="The user name is admin unless a generation 1 device was given another. Timers that were set in the "
    "device (auto on, auto off) switch on their own; this shows as switched from outside. "
    "Whether a switch ends a pulse that is under way is not documented; it is taken to.",
)


class Options(HttpOptions):
    """Keys of a Shelly relay in lab.toml beside the common ones."""

    generation: Literal["auto", 1, 2] = Field(
        "auto", description="1, or 2 for all later ones; by default the device is asked"
    )


class Driver(HttpRelay):
    """One device; see the contract in :mod:`boardherd_agent.devices.device`."""

    max_pulse_s = 3600.0
    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the device; ValueError if its address is missing."""
        super().__init__("shelly", config, options, login="digest", user=_USER)
        self._config, self._options = config, options
        self._uptime = Uptime(self._http.place)
        self._first_generation = options.generation == 1

    async def read(self) -> Mapping[int, bool]:
        """Return for each switch whether it is energised; raises DeviceError."""
        return (await self._status()).outputs

    async def set(self, port: int, energised: bool) -> None:
        """Set one switch and wait for the acknowledgement; raises DeviceError."""
        await self._set(port, energised, 0.0)

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for up to an hour, then flip; raises DeviceError or ValueError."""
        if not 0 < seconds <= self.max_pulse_s:
            raise ValueError(f"pulses last up to {self.max_pulse_s:g} s, not {seconds:g} s")
        await self._set(port, energised, seconds)

    async def watts(self) -> Mapping[int, float]:
        """Return the power at each switch that is measured; raises DeviceError."""
        return (await self._status()).watts

    async def _identify(self) -> Identity:
        device = self._http.decode(codec.parse_device, await self._http.ask("GET", "/shelly"))
        if self._options.generation == "auto":
            self._first_generation = device.generation == 1
        if self._first_generation:  # which logs in another way
            await self._http.close()
            self._http = HttpTransport(self._config, self._options, login="basic", user=_USER)
            await self._http.open()
        self._ports = frozenset((await self._status()).outputs)
        return Identity(
            device.model, f"generation {device.generation}", device.firmware, device.mac, len(self._ports)
        )

    async def _status(self) -> Readings:
        if self._first_generation:
            readings = self._http.decode(codec.parse_first_status, await self._http.ask("GET", "/status"))
        else:
            readings = await self._call(codec.call("Shelly.GetStatus"), codec.parse_status)
        self._uptime.reported(readings.uptime_s)
        return readings

    async def _set(self, port: int, energised: bool, hold: float) -> None:
        self._check(port, "switch")
        if self._first_generation:
            query = codec.turn(energised=energised, hold=hold)
            body = await self._http.ask("GET", codec.relay_path(port), params=query)
            self._http.decode(codec.parse_relay, body)
        else:
            await self._call(codec.set_switch(port, energised=energised, hold=hold), codec.parse_set)

    async def _call(self, frame: dict[str, Any], parse: Callable[[bytes], T]) -> T:
        """Call a procedure; what it says about an error is better than any HTTP status."""
        reply = await self._http.request("POST", "/rpc", json=frame)
        if not reply.fine:
            with contextlib.suppress(DeviceGarbled):
                self._http.decode(codec.parse_result, reply.body)
            raise self._http.fault(reply)
        return self._http.decode(parse, reply.body)
