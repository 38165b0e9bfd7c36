"""What is particular about Modbus boards: what goes over the wire, and pymodbus's client at the simulator."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from boardherd.rack.devices.modbus import ModbusBoard
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_shared.inventory import Inventory, RelayConfig

QUICK: dict[str, Any] = {"reply_timeout": 0.3}


def driver(keys: dict[str, Any], **options: object) -> Any:
    config = RelayConfig.model_validate(QUICK | keys | options)
    module = drivers.load("modbus")
    return module.Driver(config, module.Options.model_validate(config.options))


def said(board: ModbusBoard) -> list[str]:
    """Return what the board was sent since the last look."""
    frames = [frame.hex(" ").upper() for frame in board.frames]
    board.frames.clear()
    return frames


async def test_tcp_numbers_its_transactions_and_sets_single_coils() -> None:
    async with ModbusBoard() as board:
        async with driver(board.stanza()) as device:
            assert str(device.identity) == "Modbus unit 1 with 8 coils"
            await device.set(3, True)
            await device.set(3, False)
        assert said(board) == [
            "00 01 00 00 00 06 01 01 00 00 00 08",
            "00 02 00 00 00 06 01 05 00 02 FF 00",
            "00 03 00 00 00 06 01 05 00 02 00 00",
        ]
        assert [change.port for change in board.transitions] == [3, 3]


async def test_rtu_frames_carry_a_checksum_over_tcp_too() -> None:
    async with ModbusBoard(over="rtu", waveshare=True) as board:
        async with driver(board.stanza()) as device:
            await device.set(1, True)
        assert said(board) == ["01 01 00 00 00 08 3D CC", "01 05 00 00 FF 00 8C 3A"]


async def test_registers_from_an_odd_address_with_values_of_their_own() -> None:
    board = ModbusBoard(outputs="registers", first=1, on=0x0100, off=0x0200, over="serial", relays=4)
    async with board:
        async with driver(board.stanza()) as device:
            await device.set(2, True)
            assert await device.read() == {1: False, 2: True, 3: False, 4: False}
            await device.set(2, False)
        assert said(board)[1:4:2] == ["01 06 00 02 01 00 29 9A", "01 06 00 02 02 00 29 6A"]


async def test_a_clone_whose_coils_count_from_one_and_want_other_values() -> None:
    async with ModbusBoard(over="rtu", unit=1, first=1, on=0x0100) as board:
        async with driver(board.stanza()) as device:
            await device.set(1, True)
            assert (await device.read())[1]
        assert said(board)[1] == "01 05 00 01 01 00 9D 9A"


@pytest.mark.parametrize(
    ("energised", "sent"), [(True, "01 05 02 00 00 07 8D B0"), (False, "01 05 04 00 00 07 8D 38")]
)
async def test_a_flash_is_one_command_and_ends_in_the_opposite_state(energised: bool, sent: str) -> None:
    gate = asyncio.Event()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await gate.wait()

    async with ModbusBoard(over="rtu", waveshare=True, sleep=sleep) as board:
        board.switch(1, not energised)
        async with driver(board.stanza()) as device:
            await device.pulse(1, energised, 0.7)
            assert (await device.read())[1] is energised
            gate.set()
            while board.outputs[1] is energised:  # noqa: ASYNC110 - a contact has no event
                await asyncio.sleep(0)
        assert waited == [0.7]
        assert sent in said(board)


async def test_without_flash_no_pulse_is_promised_or_tried() -> None:
    async with ModbusBoard() as board, driver(board.stanza()) as device:
        assert device.max_pulse_s == 0
        with pytest.raises(DeviceRefused, match="flash is not set"):
            await device.pulse(1, True, 1.0)
        assert not board.transitions


async def test_another_unit_is_silent_and_a_board_too_small_refuses() -> None:
    async with ModbusBoard() as board:
        with pytest.raises(DeviceOffline, match="does not answer"):
            async with driver(board.stanza(), unit=2):
                pass
        with pytest.raises(DeviceRefused, match="unit 1 refuses: it has no such address"):
            async with driver(board.stanza(), port_count=16):
                pass
        await asyncio.sleep(0.01)
        assert board.connections == 0


async def test_a_gateway_without_its_unit_is_offline_not_refusing() -> None:
    """A server by others, as a gateway whose line is dead answers."""

    async def absent(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    coils = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
    registers = [SimData(0, values=0, datatype=DataType.REGISTERS)]
    memory = (coils, coils, registers, registers)
    server = ModbusTcpServer(SimDevice(1, simdata=memory, action=absent), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        with pytest.raises(DeviceOffline, match="behind the gateway does not answer"):
            async with driver({"kind": "modbus", "address": "127.0.0.1", "tcp_port": port}):
                pass
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_the_driver_at_a_server_with_a_memory_of_its_own() -> None:
    """pymodbus keeps the coils itself here; nothing of the simulator takes part."""
    coils = [SimData(0, values=False, count=16, datatype=DataType.BITS)]
    registers = [SimData(0, values=0, count=16, datatype=DataType.REGISTERS)]
    server = ModbusTcpServer(
        SimDevice(1, simdata=(coils, coils, registers, registers)), address=("127.0.0.1", 0)
    )
    await server.serve_forever(background=True)
    try:
        port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        where = {"kind": "modbus", "address": "127.0.0.1", "tcp_port": port, "port_count": 16}
        for outputs in ("coils", "registers"):
            async with driver(where, outputs=outputs) as device:
                await device.set(16, True)
                assert {relay for relay, on in (await device.read()).items() if on} == {16}
        assert await server.async_getValues(1, 1, 15) == [True]
        assert await server.async_getValues(1, 3, 15) == [1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_a_client_by_others_switches_the_simulator() -> None:
    async with ModbusBoard(waveshare=True) as board:
        client = AsyncModbusTcpClient(board.host, port=board.port, timeout=1, retries=0)
        assert await client.connect()
        try:
            assert not (await client.write_coil(2, True, device_id=1)).isError()
            assert board.outputs[3]
            assert (await client.read_coils(0, count=8, device_id=1)).bits[:8] == list(board.outputs.values())
            assert (await client.read_coils(2, count=1, device_id=1)).exception_code == 2, "as reported"
            assert (await client.write_coil(8, True, device_id=1)).exception_code == 2
            await client.write_coils(0, [True] * 8, device_id=1)
            assert all(board.outputs.values())
            await client.write_coil(0xFF, False, device_id=1)
            assert not any(board.outputs.values())
            assert (await client.read_holding_registers(0, count=1, device_id=1)).exception_code == 1
        finally:
            client.close()


async def test_a_client_by_others_switches_the_simulator_over_a_serial_port() -> None:
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    async with ModbusBoard(over="serial") as board:
        client = AsyncModbusSerialClient(
            str(board.path), framer=FramerType.RTU, baudrate=9600, timeout=1, retries=0
        )
        assert await client.connect()
        try:
            assert not (await client.write_coil(0, True, device_id=1)).isError()
            assert board.outputs[1]
        finally:
            client.close()


def test_a_module_called_eth_016_may_be_bound_to_modbus() -> None:
    module = drivers.load("modbus")
    config = Inventory.parse('site = "lab"\n' + module.ABOUT.example).lab.relay["eth-16"]
    assert (config.model_type, config.driver, config.port_count) == ("ETH_016", "modbus", 16)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, 'either "address" or "serial_port"'),
        ({"address": "10.0.0.1", "serial_port": "usb-x"}, 'either "address" or "serial_port"'),
        ({"serial_port": "usb-x", "unit": 0}, "none of them answers"),
        ({"address": "10.0.0.1", "flash": True, "first": 1}, "coils from address 0 only"),
        ({"address": "10.0.0.1", "flash": True, "outputs": "registers"}, "coils from address 0 only"),
        ({"address": "10.0.0.1", "on": 0}, "are both 0"),
    ],
)
def test_keys_that_do_not_fit_are_refused_in_words(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        driver({"kind": "modbus"} | keys)


def test_an_address_of_version_6_is_no_trouble() -> None:
    assert driver({"kind": "modbus", "address": "fd00::7"}).max_pulse_s == 0
