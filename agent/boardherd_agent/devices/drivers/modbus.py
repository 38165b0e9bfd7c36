"""Relay boards that speak Modbus: over TCP, on a serial line, or as RTU through a network gateway.

A relay is a coil, or with some boards a holding register. All outputs are asked for at once, from the first
one on, because some boards answer no other question; they are set one at a time. The protocol is spoken by
this agent itself and needs no library.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeVar

from pydantic import Field

from boardherd_agent.devices.codecs import modbus as codec
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import About, DeviceGarbled, DeviceOffline, DeviceRefused, Identity
from boardherd_agent.devices.drivers._connected import ConnectedRelay
from boardherd_agent.devices.drivers._serial import SerialOptions
from boardherd_agent.devices.transports import SerialTransport
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

TCP_PORT, RTU_PORT = 502, 4196
_SETTLE_S = {"tcp": 0.0, "rtu": 0.05, "serial": 0.15}
"""How long a fresh way to the board must be silent: what is late on a line may answer somebody else."""

T = TypeVar("T")

ABOUT = About(
    title="Modbus relay boards",
    models="boards with one coil for each relay: Waveshare Modbus RTU Relay and Modbus POE ETH Relay, KMTronic, and "
    "others of the kind; boards with one holding register for each relay; a module of model type ETH_016 that "
    "turns out to speak Modbus",
    connection="Modbus TCP, port 502; RTU over TCP, port 4196; RTU on a serial port, 8N1",
    example="""
[relay.eth-16]                 # Modbus TCP; 16 relays, coils from 0
kind = "modbus"
model_type = "ETH_016"
address = "10.0.5.31"
port_count = 16

[relay.wave-1]                 # an Ethernet model of Waveshare as delivered: RTU frames over TCP
kind = "modbus"
address = "10.0.5.32"
tcp_port = 4196
framing = "rtu"
flash = true

[relay.wave-2]                 # on a USB to RS-485 adapter
kind = "modbus"
serial_port = "usb-FTDI_FT232R_USB_UART_A100MB1-if00-port0"
unit = 1
flash = true

[relay.registers-1]            # one holding register for each relay, from address 1
kind = "modbus"
address = "10.0.5.33"
outputs = "registers"
first = 1
on = 0x0100
off = 0x0200
""",
    tested="pymodbus's own server, which is what the simulator is made of, over TCP, RTU over TCP and a "
    "pseudo-terminal; pymodbus's own client drives the simulator; not with hardware",
    pulse="0.1 to 3276.7 s with flash = true (Waveshare); else none",
    after_power_loss="released with most boards; not documented",
    notes="Say with port_count how many relays the board really has: some boards answer no question for fewer. "
    "LC Technology's boards are reported to be unit 255; some clones count coils from 1 (first = 1) and want "
    "on = 0x0100. Two boards on one RS-485 line need a gateway between, for a serial port has one owner. What a "
    "Waveshare board does with a switch during a flash is not documented. Modbus has neither passwords nor "
    "encryption.",
)


class Options(SerialOptions):
    """Keys of a Modbus relay in lab.toml beside the common ones."""

    framing: Literal["tcp", "rtu"] = Field(
        "tcp", description="what goes over the network: tcp, or rtu frames with their checksum"
    )
    baud: int = Field(9600, ge=300, le=4_000_000, description="speed of the serial port")
    outputs: Literal["coils", "registers"] = Field(
        "coils", description="what a relay is: a coil (functions 1 and 5) or a holding register (3 and 6)"
    )
    first: int = Field(0, ge=0, le=0xFF00, description="address of the first relay on the wire, from 0")
    on: int | None = Field(
        None,
        ge=0,
        le=0xFFFF,
        description="what is written to energise; 0xFF00 for coils, 1 for registers by default",
    )
    off: int | None = Field(
        None, ge=0, le=0xFFFF, description="what is written to release a relay; 0 by default"
    )
    flash: bool = Field(False, description="whether the board knows Waveshare's flash commands")
    pause: Duration = Field(0.01, description="rest between two RTU frames, which tells them apart")


class Driver(ConnectedRelay):
    """One board; see the contract in :mod:`boardherd_agent.devices.device`."""

    reads_back = True

    def __init__(self, config: RelayConfig, options: Options) -> None:
        """Describe the board; ValueError if it cannot be reached so, or the keys do not fit together."""
        super().__init__()
        self.max_pulse_s = codec.MAX_PULSE_S if options.flash else 0.0
        self._options = options
        self._ports = range(1, config.port_count + 1)
        self._transport, rtu = _transport(config, options)
        self._frame = codec.Frame("rtu" if rtu else "tcp", 1 if config.unit is None else config.unit)
        self._on, self._off = _values(options)
        if rtu and self._frame.unit == 0:
            raise ValueError("unit 0 means all units of a line, and none of them answers")
        if options.flash and (options.outputs != "coils" or options.first):
            raise ValueError("flash commands exist for coils from address 0 only")
        self._transaction = 0
        self._rested_at = 0.0

    async def read(self) -> Mapping[int, bool]:
        """Return for each relay whether it is energised; raises DeviceError."""
        first, count = self._options.first, len(self._ports)
        if self._options.outputs == "coils":
            parse = partial(codec.parse_coils, count=count)
            states = await self._ask(codec.read_coils(first, count), parse)
        else:
            values = await self._ask(codec.read_registers(first, count), codec.parse_registers)
            states = [self._energised(value) for value in values]
        return dict(zip(self._ports, states, strict=True))

    async def set(self, port: int, energised: bool) -> None:
        """Set one relay and wait for the acknowledgement; raises DeviceError."""
        write = codec.write_coil if self._options.outputs == "coils" else codec.write_register
        await self._write(
            write(self._options.first + self._number(port), self._on if energised else self._off)
        )

    async def pulse(self, port: int, energised: bool, seconds: float) -> None:
        """Hold a state for 0.1 to 3276.7 s, then go to the opposite one; raises DeviceError or ValueError.

        For boards with ``flash = true`` only. A time between two tenths of a second is rounded up.
        """
        if not self.max_pulse_s:
            raise DeviceRefused("flash is not set for this relay, so the board times no pulses")
        await self._write(codec.flash(self._number(port), energised=energised, seconds=seconds))

    async def _open(self) -> None:
        await self._transport.open(self._options.connect_timeout)

    async def _close(self) -> None:
        await self._transport.close()

    async def _identify(self) -> Identity:
        await self.read()  # nearly no board has a name to ask for
        return Identity(f"Modbus unit {self._frame.unit} with {len(self._ports)} {self._options.outputs}")

    def _number(self, port: int) -> int:
        """Return how many relays are before ``port``; raises DeviceRefused."""
        if port not in self._ports:
            raise DeviceRefused(f"{self.identity.model} has no relay {port}")
        return port - 1

    def _energised(self, value: int) -> bool:
        """Return what a register says; boards may answer 1 and 0 whatever is written to them."""
        return value == self._on or (value != self._off and bool(value))

    async def _write(self, request: codec.Request) -> None:
        await self._ask(request, partial(codec.check_echo, request=request))

    async def _ask(self, request: codec.Request, parse: Callable[[bytes], T]) -> T:
        frame = await self._next_frame()
        reply = await self._transport.exchange(
            frame.wrap(request), partial(frame.is_whole, request), self._options.reply_timeout
        )
        self._rested_at = time.monotonic() + self._options.pause
        try:
            return parse(frame.unwrap(request, reply))
        except BadReply as error:
            raise DeviceGarbled(f"unit {frame.unit}: {error}") from error
        except codec.ErrorReply as error:
            failure = DeviceOffline if error.passing else DeviceRefused
            raise failure(f"unit {frame.unit} refuses: {error}") from error

    async def _next_frame(self) -> codec.Frame:
        """Return the frame of the next exchange, when it may begin."""
        if self._frame.kind == "rtu":
            await asyncio.sleep(max(0.0, self._rested_at - time.monotonic()))
            return self._frame
        self._transaction = self._transaction % 0xFFFF + 1
        return codec.Frame("tcp", self._frame.unit, self._transaction)


def _transport(config: RelayConfig, options: Options) -> tuple[SerialTransport, bool]:
    """Return the way to the board, and whether RTU is spoken there; ValueError if there is not exactly one."""
    if (config.address is None) == (options.serial_port is None):
        raise ValueError('a modbus relay needs either "address" or "serial_port"')
    if options.serial_port is not None:
        return SerialTransport(options.serial_port, options.baud, settle=_SETTLE_S["serial"]), True
    rtu = options.framing == "rtu"
    port = config.tcp_port or (RTU_PORT if rtu else TCP_PORT)
    host = f"[{config.address}]" if ":" in str(config.address) else config.address
    return SerialTransport(f"socket://{host}:{port}", settle=_SETTLE_S[options.framing]), rtu


def _values(options: Options) -> tuple[int, int]:
    """Return what is written to energise and to release; ValueError if they are the same."""
    usual = codec.COIL_ON if options.outputs == "coils" else 1
    on = usual if options.on is None else options.on
    off = codec.COIL_OFF if options.off is None else options.off
    if on == off:
        raise ValueError(f'"on" and "off" are both {on}')
    return on, off
