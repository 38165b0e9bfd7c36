"""Devantech USB-RLY modules on a virtual serial port.

The USB ids are shared by unrelated products of the vendor, so the module is asked what it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from boardherd_agent.devices.codecs import usb_rly as codec
from boardherd_agent.devices.device import About, Identity
from boardherd_agent.devices.drivers._serial import SerialOptions, SerialRelay
from boardherd_agent.devices.transports import of_length
from boardherd_shared.inventory import RelayConfig

_BAUD = 9600
"""Any will do: the module ignores it."""

ABOUT = About(
    title="Devantech USB-RLY modules",
    models="USB-RLY02, USB-RLY08, USB-RLY16, USB-RLY16L",
    connection="USB, as a virtual serial port",
    example="""
[relay.usb-4]
kind = "usb_rly"
serial_port = "usb-Devantech_Ltd._USB-RLY16_00014278-if00"
port_count = 8
""",
    tested="a simulator on a pseudo-terminal, which PDUDaemon drives too; not with hardware",
    read_back="yes; a switch itself is not acknowledged",
    after_power_loss="the latching USB-RLY16L keeps its outputs",
    notes="A module with an id that is not known is taken to have the relays that lab.toml says, at most 8.",
)


class Options(SerialOptions):
    """Keys of a USB-RLY relay in lab.toml beside the common ones."""


class Driver(SerialRelay):
    """One module; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the module; ValueError if its port is missing."""
        super().__init__("usb_rly", options, config.port_count, _BAUD)
        self._port_count = config.port_count
        self._model = codec.model_of(0, config.port_count)

    async def _identify(self) -> Identity:
        module_id, version = await self._ask(
            codec.IDENTIFY, of_length(codec.IDENTITY_LENGTH), codec.parse_identity
        )
        self._model = codec.model_of(module_id, self._port_count)
        self._ports = range(1, self._model.relays + 1)
        return Identity(self._model.name, firmware=str(version), port_count=self._model.relays)

    async def _read(self) -> Mapping[int, bool]:
        return await self._ask(
            codec.STATES,
            of_length(codec.STATES_LENGTH),
            lambda reply: codec.parse_states(reply, self._model),
        )

    async def _switch(self, port: int, energised: bool) -> None:
        self._transport.send(codec.set_relay(port, energised=energised))
