"""KMTronic USB and RS-232 relay boards with 1, 2, 4 or 8 relays.

Not for the RS-485 and radio boards that share a line: there the question for all relays would switch one.
"""

from __future__ import annotations

from collections.abc import Mapping

from boardherd_agent.devices.codecs import kmtronic as codec
from boardherd_agent.devices.device import About, Identity
from boardherd_agent.devices.drivers._serial import SerialOptions, SerialRelay
from boardherd_agent.devices.transports import of_length
from boardherd_shared.inventory import RelayConfig

_ASKED_ONE_BY_ONE = 2
"""Boards up to this size know only the question for one relay."""

ABOUT = About(
    title="KMTronic USB and RS-232 relay boards",
    models="boards with 1, 2, 4 and 8 relays on a port of their own",
    connection="serial port, 9600 baud, 8N1",
    example="""
[relay.usb-3]
kind = "kmtronic"
serial_port = "usb-FTDI_FT232R_USB_UART_A100KM3T-if00-port0"
port_count = 4
""",
    tested="a simulator on a pseudo-terminal; not with hardware",
    read_back="yes; a switch itself is not acknowledged",
    notes="Not for RS-485 and radio boards: on a shared line the question for the states of all relays "
    "switches relay 9 off.",
)


class Options(SerialOptions):
    """Keys of a KMTronic relay in lab.toml beside the common ones."""


class Driver(SerialRelay):
    """One board; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the board; ValueError if its port is missing or there is no board of its size."""
        super().__init__("kmtronic", options, config.port_count, codec.BAUD)
        if config.port_count not in codec.RELAY_COUNTS:
            raise ValueError(f"KMTronic boards have 1, 2, 4 or 8 relays, not {config.port_count}")
        self._relays = config.port_count

    async def _identify(self) -> Identity:
        await self._read()  # it has no name to ask for
        return Identity(f"KMTronic with {self._relays} relays")

    async def _read(self) -> Mapping[int, bool]:
        if self._relays <= _ASKED_ONE_BY_ONE:
            return {relay: await self._read_one(relay) for relay in range(1, self._relays + 1)}
        return await self._ask(
            codec.QUERY_ALL,
            of_length(self._relays),
            lambda reply: codec.parse_all(reply, self._relays),
            alphabet=codec.ALPHABET,
        )

    async def _read_one(self, relay: int) -> bool:
        return await self._ask(
            codec.query_relay(relay),
            of_length(codec.ONE_LENGTH),
            lambda reply: codec.parse_relay(reply, relay),
        )

    async def _switch(self, port: int, energised: bool) -> None:
        self._transport.send(codec.set_relay(port, energised=energised))
