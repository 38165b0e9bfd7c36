"""A simulated Modbus relay board: pymodbus's own server, and contacts behind its coils or registers.

It is reached over Modbus TCP, with RTU frames over TCP as through a plain gateway, or on a serial port. With
Waveshare's ways it knows the flash commands and refuses to tell of some of its coils only, as those boards are
reported to. Requests for another unit are not answered.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    WriteMultipleCoilsRequest,
    WriteMultipleCoilsResponse,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    WriteSingleRegisterRequest,
)
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from boardherd.rack.devices.contacts import Contacts
from boardherd.rack.devices.plugged_device import PluggedDevice
from boardherd.rack.serial_line import SerialLine

Over = Literal["tcp", "rtu", "serial"]

_READS, _COILS = {1, 3}, {1, 5, 15}
_COIL_ON, _TOGGLE = 0xFF00, 0x5500
_FLASH = {0x02: True, 0x04: False}
"""The high byte of an address, and which state a flash begins with."""
_ALL = 0x00FF
"""The address of Waveshare's pseudo-coil for all relays."""


class ModbusBoard(PluggedDevice):
    """One board, alive inside ``async with``."""

    def __init__(
        self,
        *,
        relays: int = 8,
        over: Over = "tcp",
        unit: int = 1,
        outputs: Literal["coils", "registers"] = "coils",
        first: int = 0,
        on: int | None = None,
        off: int = 0,
        waveshare: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | Path | None = None,
        process_delay: float = 0.002,
        on_change: Callable[[int, bool, float], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Describe a board.

        Args:
            relays: how many relays it has.
            over: "tcp" for Modbus TCP, "rtu" for RTU frames over TCP, "serial" for RTU on a serial port.
            unit: its number on the line.
            outputs: what a relay is: "coils" or "registers".
            first: address of the first relay.
            on: what energises a relay; 0xFF00 for coils and 1 for registers unless given.
            off: what releases a relay.
            waveshare: whether it has Waveshare's flash commands, and answers questions for all coils only.
            host: address to listen on.
            port: TCP port, 0 for a free one; the attribute ``port`` tells which, and it stays the same.
            path: where its serial port is to be found; in a directory of its own unless given.
            process_delay: seconds between the arrival of a request and acting on it.
            on_change: called with port, energised and monotonic time at each change of a relay.
            sleep: how the board waits for the end of a flash.
        """
        contacts = Contacts(range(1, relays + 1), on_change=on_change, sleep=sleep)
        super().__init__(contacts, process_delay=process_delay)
        self.over, self.unit, self.outputs_are, self.first = over, unit, outputs, first
        self.on = on if on is not None else _COIL_ON if outputs == "coils" else 1
        self.off, self.waveshare = off, waveshare
        self.host, self.port = host, port
        self.path = Path(path or "modbus")
        """Where its serial port is, as soon as it is alive."""
        self.frames: deque[bytes] = deque(maxlen=1000)
        """What arrived last, byte for byte."""
        self._needs_directory = path is None and over == "serial"
        self._server: ModbusTcpServer | None = None
        self._line: _Cable | None = None
        self._connected = 0
        self._processor = asyncio.Lock()
        self._at_work: set[asyncio.Task[Any]] = set()

    def prepare(self) -> None:
        """Make a place for the serial port."""
        if self._needs_directory:
            self.path = self.own_directory("modbus") / "modbus"

    @property
    def connections(self) -> int:
        """How many TCP connections are open now."""
        return self._connected

    def stanza(self) -> dict[str, Any]:
        """Return the keys of lab.toml with which a relay reaches this board."""
        where: dict[str, Any] = {"address": self.host, "tcp_port": self.port, "framing": self.over}
        if self.over == "serial":
            where = {"serial_port": str(self.path)}
        what = {"outputs": self.outputs_are, "first": self.first, "on": self.on, "off": self.off}
        size = {"unit": self.unit, "port_count": len(self.outputs)}
        return {"kind": "modbus"} | where | size | what | {"flash": self.waveshare}

    async def answer(self, request: ModbusPDU) -> ModbusPDU:
        """Act on a request and return the answer; called by the server, which sends it."""
        await self._turn()
        coils = request.function_code in _COILS
        if coils is not (self.outputs_are == "coils"):
            return _error(request, ExcCodes.ILLEGAL_FUNCTION)
        if request.function_code in _READS:
            return self._tell(request)
        if self.answer_fail:
            return _error(request, ExcCodes.DEVICE_FAILURE)
        if isinstance(request, WriteMultipleCoilsRequest):
            values = [self.on if bit else self.off for bit in request.bits]
            wrong = self._set(dict(enumerate(values, request.address)))
            return (
                _error(request, wrong) if wrong else WriteMultipleCoilsResponse(request.address, len(values))
            )
        value = request.value if isinstance(request, _WriteCoil) else request.registers[0]
        wrong = self._set({request.address: value})
        return _error(request, wrong) if wrong else request

    def _tell(self, request: ModbusPDU) -> ModbusPDU:
        first = request.address - self.first + 1
        asked = range(first, first + request.count)
        some = set(asked) != set(self.outputs)
        if not set(asked) <= set(self.outputs) or (self.waveshare and some):
            return _error(request, ExcCodes.ILLEGAL_ADDRESS)
        states = [self.outputs[port] for port in asked]
        if self.outputs_are == "coils":
            return ReadCoilsResponse(bits=states)
        return ReadHoldingRegistersResponse(registers=[int(state) for state in states])

    def _set(self, wanted: Mapping[int, int]) -> ExcCodes | None:
        """Write values to addresses, and return what is wrong with that; then nothing has happened."""
        moves = [self._move(address, value) for address, value in wanted.items()]
        for move in moves:
            if isinstance(move, ExcCodes):
                return move
        for move in moves:
            if not isinstance(move, ExcCodes):
                move()
        return None

    def _move(self, address: int, value: int) -> Callable[[], None] | ExcCodes:
        """Return what a value at an address does, or why it does nothing."""
        if self.waveshare and address == _ALL and value in {self.on, self.off}:
            return lambda: self._move_all(value == self.on)
        if self.waveshare and (begins := _FLASH.get(address >> 8)) is not None:
            port, hold = (address & 0xFF) + 1, value / 10
            known = port in self.contacts and hold
            return partial(self.contacts.set, port, begins, hold=hold) if known else ExcCodes.ILLEGAL_ADDRESS
        port = address - self.first + 1
        if port not in self.contacts:
            return ExcCodes.ILLEGAL_ADDRESS
        if self.waveshare and value == _TOGGLE:
            return lambda: self.contacts.set(port, not self.outputs[port])
        if value not in {self.on, self.off}:
            return ExcCodes.ILLEGAL_VALUE
        return partial(self.contacts.set, port, value == self.on)

    def _move_all(self, energised: bool) -> None:
        for port in self.outputs:
            self.contacts.set(port, energised)

    async def plug_in(self) -> None:
        """Start the server."""
        unused = SimData(0, values=0, datatype=DataType.REGISTERS)  # what there is, the contacts know
        self._server = ModbusTcpServer(
            SimDevice(self.unit, simdata=[unused]),
            framer=FramerType.SOCKET if self.over == "tcp" else FramerType.RTU,
            address=(self.host, self.port),
            ignore_missing_devices=True,
            trace_packet=self._packet,
            trace_pdu=self._pdu,
            trace_connect=self._connect,
            custom_pdu=_requests(self),
        )
        if self.over == "serial":
            self._line = _Cable(self.path, self._server)
            return
        await self._server.serve_forever(background=True)
        listening = self._server.transport
        assert isinstance(listening, asyncio.Server)
        self.port = listening.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Take the serial port away, stop the server, and lose what is being worked on."""
        if self._line is not None:
            self._line.unplug()
            self._line = None
        if self._server is not None:
            server, self._server = self._server, None
            await server.shutdown()  # type: ignore[no-untyped-call]
        at_work = list(self._at_work)
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """Look at each packet, and spoil an answer if so ordered; called by the server."""
        if not sending:
            self.frames.append(data)
        return data if self.garble is None or not sending else self.garble

    def _pdu(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """Drop what is for another unit, or comes during a hang; called by the server."""
        lost = not sending and (self._hung or pdu.dev_id != self.unit)
        return None if lost else pdu  # type: ignore[return-value]  # the server takes None for nothing

    def _connect(self, connected: bool) -> None:
        if self.over != "serial":
            self._connected += 1 if connected else -1
            self.connections_max = max(self.connections_max, self._connected)

    async def _turn(self) -> None:
        """Wait until the board's one processor has got round to a request; a request may be lost meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        server = self._server
        async with self._processor:
            await asyncio.sleep(self.process_delay + self.delay)
        if self._hung or server is not self._server:
            raise NoSuchIdException


class _WriteCoil(WriteSingleCoilRequest):
    """A write to one coil that keeps a value which the protocol does not know; answered by itself."""

    value = 0

    def encode(self) -> bytes:
        """Return address and value."""
        return struct.pack(">HH", self.address, self.value)

    def decode(self, data: bytes) -> None:
        """Take in address and value."""
        self.address, self.value = struct.unpack(">HH", data[:4])


class _Cable(asyncio.Transport):
    """A serial port in place of the server's network: to the server it is one connection that never ends."""

    def __init__(self, path: Path, server: ModbusTcpServer) -> None:
        super().__init__()
        handler = server.handle_new_connection()
        self._line = SerialLine(path, handler.data_received).__enter__()
        handler.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` to whoever has the port open."""
        self._line.write(bytes(data))

    def close(self) -> None:
        """Do nothing: the server gives up connections, a serial port stays."""

    def unplug(self) -> None:
        """Take the port away."""
        self._line.__exit__(None, None, None)


def _requests(board: ModbusBoard) -> list[type[ModbusPDU]]:
    """Return the requests that the board knows, each of which asks it for the answer."""
    return [_asking(board, base) for base in _KNOWN]


def _asking(board: ModbusBoard, base: type[ModbusPDU]) -> type[ModbusPDU]:
    async def datastore_update(request: ModbusPDU, context: object, device_id: int) -> ModbusPDU:
        del context, device_id
        return await board.answer(request)

    return type(base.__name__, (base,), {"datastore_update": datastore_update})


def _error(request: ModbusPDU, code: ExcCodes) -> ModbusPDU:
    return ExceptionResponse(request.function_code, code)


_KNOWN: tuple[type[ModbusPDU], ...] = (
    ReadCoilsRequest,
    ReadHoldingRegistersRequest,
    _WriteCoil,
    WriteMultipleCoilsRequest,
    WriteSingleRegisterRequest,
)

simulate = ModbusBoard
