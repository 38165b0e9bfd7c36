"""What the simulated USB and serial relays say to a plain terminal program, oddities included."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import serial

from boardherd.rack.devices import load
from boardherd.rack.devices.denkovi import DenkoviBoard
from boardherd.rack.devices.hid_relay import HidRelayBoard
from boardherd.rack.devices.kmtronic import KmtronicBoard
from boardherd.rack.devices.lcus import LcusBoard
from boardherd.rack.devices.numato import NumatoModule
from boardherd.rack.devices.serial_device import SerialDevice
from boardherd.rack.devices.usb_rly import UsbRlyModule

SERIAL = ["denkovi", "kmtronic", "lcus", "numato", "usb_rly"]
QUIET_S = 0.15


async def ask(device: SerialDevice, request: bytes, length: int = 200) -> bytes:
    """Write to the port as any program would, and return what comes until it is quiet."""

    def talk() -> bytes:
        with serial.Serial(str(device.path), timeout=QUIET_S) as port:
            port.write(request)
            return port.read(length)

    return await asyncio.to_thread(talk)


def energised(device: SerialDevice | HidRelayBoard) -> set[int]:
    return {port for port, on in device.outputs.items() if on}


async def test_lcus_ignores_wrong_sums_channels_and_noise() -> None:
    async with LcusBoard(channels=2) as board:
        noise = bytes.fromhex("00 13 A0 01 01 A3 A0 03 01 A4 A0 02 01 A3")
        assert await ask(board, noise + b"\xff") == b"CH1: OFF\r\nCH2: ON\r\n"


async def test_kmtronic_answers_the_questions_of_its_size() -> None:
    async with KmtronicBoard(relays=4) as board:
        assert await ask(board, bytes.fromhex("FF 02 01 FF 02 03 FF 09 00"), 4) == bytes([0, 1, 0, 0])
    async with KmtronicBoard(relays=2) as board:
        assert await ask(board, bytes.fromhex("FF 02 01 FF 09 00 FF 02 03"), 3) == b"\xff\x02\x01"


async def test_usb_rly_follows_the_worked_session_of_its_manual() -> None:
    async with UsbRlyModule() as module:
        assert await ask(module, bytes.fromhex("5A 5B 67 5B 71 5B"), 5) == bytes.fromhex("09 02 00 04 00")
        assert await ask(module, bytes.fromhex("64 5B 6E 5B 5C 81 5B 5D"), 4) == bytes.fromhex("FF 00 81 32")


async def test_numato_echoes_prompts_and_ends_lines_the_wrong_way_round() -> None:
    async with NumatoModule(relays=16) as module:
        assert await ask(module, b"relay on 2\r", 13) == b"relay on 2\n\r>"
        assert await ask(module, b"relay readall\r", 22) == b"relay readall\n\r0004\n\r>"
        assert await ask(module, b"relay read 2\r", 19) == b"relay read 2\n\ron\n\r>"
        assert await ask(module, b"relay on f\rrelay on F\r\r", 29) == b"relay on f\n\r>relay on F\n\r>\n\r>"
        assert energised(module) == {3, 16}
        assert await ask(module, b"relay on G\rrelay dance 1\rreset\r", 40)
        assert energised(module) == set()


async def test_denkovi_echoes_and_swallows_noise() -> None:
    async with DenkoviBoard() as board:
        assert await ask(board, b"05+//", 5) == b"05+//"
        assert await ask(board, b"noise//17+//ask//", 7) == b"17+//\x08\x00"
        assert await ask(board, b"x\x80\x01//", 5) == b"x\x80\x01//"
        assert energised(board) == {1, 16}
        assert await ask(board, b"off//on//", 9) == b"off//on//"
        assert len(energised(board)) == 16


@pytest.mark.parametrize("kind", SERIAL)
async def test_a_board_comes_back_under_its_path_without_its_outputs(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "by-id" / "usb-relay"
    device = load(kind).simulate(path=path)
    async with device:
        assert device.stanza() == {"kind": kind, "serial_port": str(path)}
        device.switch(1, True)
        await device.dead()
        assert not path.exists()
        assert device.outputs[1]
        await device.heal()
        await device.reboot(seconds=0)
        assert path.exists()
        assert not device.outputs[1]
        assert [change.cause for change in device.transitions] == ["outside", "reboot"]
    assert not path.is_symlink()


@pytest.mark.parametrize("kind", SERIAL)
async def test_a_board_leaves_nothing_behind(kind: str) -> None:
    async with load(kind).simulate() as device:
        directory = Path(device.stanza()["serial_port"]).parent
        assert directory.exists()
    assert not directory.exists()


async def test_a_hung_board_forgets_what_it_was_told() -> None:
    async with KmtronicBoard() as board:
        await board.hang()
        assert await ask(board, bytes.fromhex("FF 01 01 FF 09 00"), 8) == b""
        await board.heal()
        assert await ask(board, bytes.fromhex("FF 09 00"), 8) == bytes(8)
        assert not board.transitions


async def test_the_hid_board_takes_all_at_once_too_and_no_other_command() -> None:
    async with HidRelayBoard(relays=2) as board:
        reader, writer = await asyncio.open_connection(board.host, board.port)
        for report, on in [("FE", {1, 2}), ("FA 41", {1, 2}), ("FC", set()), ("FF 02", {2}), ("FF 03", {2})]:
            writer.write(b"S\0" + bytes.fromhex(report).ljust(8, b"\0"))
            assert await reader.readexactly(1) == b"\0"
            assert energised(board) == on
        writer.write(b"IG")
        assert await reader.readexactly(10) == b"\x09USBRelay2"
        assert await reader.readexactly(10) == b"\x09\0HURTM\0\0\x02"
        writer.close()
        await writer.wait_closed()
