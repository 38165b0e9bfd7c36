"""Numato Lab USB relay modules on a virtual serial port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from boardherd_agent.devices.codecs import numato as codec
from boardherd_agent.devices.device import About, DeviceRefused, Identity
from boardherd_agent.devices.drivers._serial import SerialOptions, SerialRelay
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.values import one_line

_BAUD = 19200
"""Any will do: the module ignores it."""

T = TypeVar("T")

ABOUT = About(
    title="Numato Lab USB relay modules",
    models="modules with 1, 2, 4, 8, 16, 32 and 64 relays",
    connection="USB, as a virtual serial port",
    example="""
[relay.usb-5]
kind = "numato"
serial_port = "usb-Numato_Systems_Pvt._Ltd._Numato_Lab_16_Channel_USB_Relay_Module-if00"
port_count = 16
""",
    tested="a simulator on a pseudo-terminal, which PDUDaemon drives too; not with hardware",
    notes="The module counts its relays from 0, boardherd from 1: port 1 is the module's relay 0. "
    "port_count must be right, for it decides how relays are named on the wire. "
    "ModemManager may talk to a module for some seconds after it was plugged in; exclude it there.",
)


class Options(SerialOptions):
    """Keys of a Numato relay in lab.toml beside the common ones."""


class Driver(SerialRelay):
    """One module; see the contract in :mod:`boardherd_agent.devices.device`."""

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the module; ValueError if its port is missing or there is no module of its size."""
        super().__init__("numato", options, config.port_count, _BAUD)
        if config.port_count not in codec.RELAY_COUNTS:
            counts = ", ".join(str(count) for count in codec.RELAY_COUNTS[:-1])
            raise ValueError(
                f"Numato modules have {counts} or {codec.RELAY_COUNTS[-1]} relays, not {config.port_count}"
            )
        self._relays = config.port_count

    async def _identify(self) -> Identity:
        await self._run("", lambda _: None)  # ends a line that somebody else has begun
        version = await self._command(codec.VERSION, str)
        return Identity(f"Numato with {self._relays} relays", firmware=one_line(version, 40))

    async def _read(self) -> Mapping[int, bool]:
        if codec.reads_all(self._relays):
            return await self._command(codec.READ_ALL, lambda text: codec.parse_states(text, self._relays))
        return {relay: await self._follows(relay) for relay in range(1, self._relays + 1)}

    async def _follows(self, port: int) -> bool:
        return await self._command(codec.read_relay(port, self._relays), codec.parse_state)

    async def _switch(self, port: int, energised: bool) -> None:
        command = codec.set_relay(port, self._relays, energised=energised)
        if answer := await self._command(command, str):
            raise DeviceRefused(f'the module answers "{one_line(answer, 80)}" to "{command}"')

    async def _command(self, command: str, parse: Callable[[str], T]) -> T:
        """Run a command and return what its answer means; raises DeviceOffline or DeviceGarbled."""
        return await self._run(command, lambda reply: parse(codec.body(reply, command)))

    async def _run(self, command: str, parse: Callable[[bytes], T]) -> T:
        return await self._ask(
            codec.encode(command),
            lambda reply: codec.is_complete(reply, command),
            parse,
            alphabet=codec.ALPHABET,
        )
