"""The Denkovi USB board with 16 relays."""

from __future__ import annotations

from collections.abc import Mapping

from boardherd_agent.devices.codecs import denkovi as codec
from boardherd_agent.devices.device import About, Identity
from boardherd_agent.devices.drivers._serial import SerialOptions, SerialRelay
from boardherd_agent.devices.transports import of_length
from boardherd_shared.inventory import RelayConfig

ABOUT = About(
    title="Denkovi USB board with 16 relays",
    models="USB Relay 16 channels (with an FTDI chip as a virtual serial port)",
    connection="serial port, 9600 baud, 8N1",
    example="""
[relay.usb-6]
kind = "denkovi"
serial_port = "usb-FTDI_FT232R_USB_UART_DAE004XC-if00-port0"
port_count = 16
""",
    tested="a simulator on a pseudo-terminal, made from one owner's program; not with hardware",
    notes="Denkovi's boards with four and eight relays speak other protocols and are not supported.",
)


class Options(SerialOptions):
    """Keys of a Denkovi relay in lab.toml beside the common ones."""


class Driver(SerialRelay):
    """One board; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the board; ValueError if its port is missing."""
        super().__init__("denkovi", options, codec.RELAYS, codec.BAUD)
        del config  # the board has 16 relays, whatever lab.toml says

    async def _identify(self) -> Identity:
        await self._read()  # it has no name to ask for
        return Identity("Denkovi with 16 relays", port_count=codec.RELAYS)

    async def _read(self) -> Mapping[int, bool]:
        return await self._ask(codec.ASK, of_length(codec.STATES_LENGTH), codec.parse_states)

    async def _switch(self, port: int, energised: bool) -> None:
        command = codec.set_relay(port, energised=energised)
        await self._ask(command, of_length(len(command)), lambda reply: codec.check_echo(reply, command))
