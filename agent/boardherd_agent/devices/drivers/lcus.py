"""LCUS relay boards with a CH340: the commonest USB relays, some of which cannot be asked anything.

Whether a board answers the query depends on its firmware, which nothing tells. ``read_back = "auto"`` asks
once when the port is opened and believes silence; a board that answers as a rule and hangs just then is taken
for one that cannot. Say true where a board is known to answer: silence is then a fault, and said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from boardherd_agent.devices.codecs import lcus as codec
from boardherd_agent.devices.device import About, DeviceOffline, Identity
from boardherd_agent.devices.drivers._serial import SerialOptions, SerialRelay
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

_QUIET_S = 0.05
"""A pause so long ends an answer of unknown length; a character takes 1 ms, an adapter hands on every 16 ms."""

ABOUT = About(
    title="LCUS relay boards (LC Technology)",
    models="LCUS-1, LCUS-2, LCUS-4, LCUS-8 with a CH340 (USB 1A86:7523)",
    connection="serial port, 9600 baud, 8N1",
    example="""
[relay.usb-1]
kind = "lcus"
serial_port = "usb-1a86_USB_Serial-if00-port0"
port_count = 4
read_back = "auto"

[relay.usb-2]                  # two of a kind have the same name by-id: tell them apart by-path
kind = "lcus"
serial_port = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:3:1.0-port0"
port_count = 1
read_back = false
""",
    tested="a simulator on a pseudo-terminal, in the variants that owners report; not with hardware",
    read_back="depends on the firmware; found out when the port is opened unless read_back says so",
    notes="Without read-back the board is trusted to have switched, and states are unknown. Boards have no "
    "serial number of their own. The HID variant (USB 5131:2007) is not supported.",
)


class Options(SerialOptions):
    """Keys of an LCUS relay in lab.toml beside the common ones."""

    read_back: Literal["auto"] | bool = Field(
        "auto", description="whether the board answers questions; auto asks it once when the port is opened"
    )
    pause: Duration = Field(0.1, description="rest between two commands, which the board needs")


class Driver(SerialRelay):
    """One board; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the board; ValueError if its port is missing or there is no board of its size."""
        super().__init__("lcus", options, config.port_count, codec.BAUD)
        if config.port_count > codec.MAX_CHANNELS:
            raise ValueError(f"LCUS boards have 1 to 8 channels, not {config.port_count}")
        self._read_back, self._pause = options.read_back, options.pause
        self.reads_back = options.read_back is not False
        self._channels: int | None = None
        self._rested_at = 0.0

    async def _identify(self) -> Identity:
        if self._read_back is False:
            return Identity("LCUS")
        try:
            self._channels = len(await self._read())
        except DeviceOffline:
            if self._read_back is True:
                raise
            return await self._without_read_back()
        self._ports = range(1, self._channels + 1)
        return Identity(f"LCUS-{self._channels}", port_count=self._channels)

    async def _without_read_back(self) -> Identity:
        """Go on with a board that stayed silent; raises DeviceOffline if the port itself is gone."""
        await self._transport.close()
        await self._transport.open(self._options.connect_timeout)
        self.reads_back = False
        return Identity("LCUS without read-back")

    async def _read(self) -> Mapping[int, bool]:
        if not self.reads_back:
            self._transport.check()
            return {}
        await self._rest()
        return await self._ask(
            codec.QUERY,
            lambda reply: self._channels is not None and codec.has_channels(reply, self._channels),
            codec.parse_states,
            alphabet=codec.ALPHABET,
            quiet=_QUIET_S if self._channels is None else None,
        )

    async def _switch(self, port: int, energised: bool) -> None:
        await self._rest()
        self._transport.send(codec.set_channel(port, energised=energised))

    async def _rest(self) -> None:
        """Leave the board the time it needs since the command before."""
        await asyncio.sleep(max(0.0, self._rested_at - time.monotonic()))
        self._rested_at = time.monotonic() + self._pause
