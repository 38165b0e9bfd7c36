"""What the drivers of USB and serial relays say on the wire, and what is particular about each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from boardherd.rack.devices import load
from boardherd.rack.devices.denkovi import DenkoviBoard
from boardherd.rack.devices.device import SimulatedDevice
from boardherd.rack.devices.hid_relay import HidRelayBoard
from boardherd.rack.devices.kmtronic import KmtronicBoard
from boardherd.rack.devices.lcus import LcusBoard
from boardherd.rack.devices.numato import NumatoModule
from boardherd.rack.devices.serial_device import SerialDevice
from boardherd.rack.devices.usb_rly import UsbRlyModule
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_shared.inventory import RelayConfig
from support.terminal import Terminal, until

SERIAL = ["denkovi", "kmtronic", "lcus", "numato", "usb_rly"]
QUICK: dict[str, Any] = {"reply_timeout": 0.3}


def driver(device: SimulatedDevice, port_count: int = 8, **options: object) -> Any:
    config = RelayConfig.model_validate({"port_count": port_count} | device.stanza() | QUICK | options)
    module = drivers.load(str(config.kind))
    return module.Driver(config, module.Options.model_validate(config.options))


def said(device: SerialDevice | HidRelayBoard) -> list[bytes]:
    """Return what the device was asked since the last look."""
    commands = list(device.commands)
    device.commands.clear()
    return commands


def in_hex(commands: Iterable[bytes]) -> list[str]:
    return [command.hex(" ").upper() for command in commands]


async def test_kmtronic_sets_single_relays_and_asks_for_all() -> None:
    async with KmtronicBoard() as board:
        async with driver(board) as device:
            await device.set(3, True)
            await device.set(3, False)
        assert in_hex(said(board)) == ["FF 09 00", "FF 03 01", "FF 09 00", "FF 03 00", "FF 09 00"]
        assert [change.port for change in board.transitions] == [3, 3]


async def test_a_small_kmtronic_is_asked_relay_by_relay() -> None:
    async with KmtronicBoard(relays=2) as board:
        async with driver(board, 2) as device:
            await device.set(2, True)
            assert await device.read() == {1: False, 2: True}
        assert in_hex(said(board))[:3] == ["FF 01 03", "FF 02 03", "FF 02 01"]


async def test_the_question_that_switches_relay_nine_is_never_put_to_a_small_kmtronic() -> None:
    async with KmtronicBoard(relays=1) as board:
        async with driver(board, 1) as device:
            assert await device.read() == {1: False}
        assert b"\xff\x09\x00" not in said(board)


async def test_usb_rly_is_asked_what_it_is_and_whether_it_followed() -> None:
    async with UsbRlyModule() as module:
        async with driver(module) as device:
            assert str(device.identity) == "USB-RLY16 firmware 2"
            await device.set(3, True)
            await device.set(3, False)
        assert in_hex(said(module)) == ["5A", "67", "5B", "71", "5B"]


@pytest.mark.parametrize(("module_id", "model", "relays"), [(10, "USB-RLY02", 2), (15, "USB-RLY16L", 8)])
async def test_usb_rly_knows_its_models(module_id: int, model: str, relays: int) -> None:
    async with UsbRlyModule(module_id=module_id) as module, driver(module) as device:
        assert (device.identity.model, device.identity.port_count) == (model, relays)
        assert len(await device.read()) == relays
        with pytest.raises(DeviceRefused, match=f"{model} has no relay {relays + 1}"):
            await device.set(relays + 1, True)


async def test_a_latching_usb_rly_keeps_its_outputs_without_power() -> None:
    async with UsbRlyModule(module_id=15) as module:
        async with driver(module) as device:
            await device.set(1, True)
        await module.reboot(seconds=0)
        async with driver(module) as device:
            assert (await device.read())[1]


async def test_numato_is_brought_to_its_prompt_first() -> None:
    async with NumatoModule(relays=16) as module:
        async with driver(module, 16) as device:
            assert str(device.identity) == "Numato with 16 relays firmware A0.05"
            await device.set(11, True)
            assert (await device.read())[11]
        assert said(module) == [b"", b"ver", b"relay on A", b"relay read A", b"relay readall"]


@pytest.mark.parametrize("relays", [1, 2, 4])
async def test_a_small_numato_is_asked_relay_by_relay(relays: int) -> None:
    async with NumatoModule(relays=relays) as module:
        async with driver(module, relays) as device:
            await device.set(relays, True)
            assert await device.read() == module.outputs
        assert b"relay readall" not in said(module)


@pytest.mark.parametrize("relays", [8, 16, 32, 64])
async def test_every_relay_of_every_numato_switches_and_reads_back(relays: int) -> None:
    async with NumatoModule(relays=relays, process_delay=0) as module, driver(module, relays) as device:
        for relay in range(1, relays + 1):
            await device.set(relay, True)
        assert await device.read() == module.outputs
        assert all(module.outputs.values())


async def test_what_somebody_typed_before_does_not_spoil_a_numato_command() -> None:
    async with NumatoModule() as module:
        with Terminal(module.path) as terminal:
            terminal.type("relay on")
            await until(lambda: module.unfinished == b"relay on")
        async with driver(module) as device:
            await device.set(1, True)
        assert module.outputs[1]
        assert said(module)[0] == b"relay on"


async def test_a_numato_that_objects_is_quoted() -> None:
    async with NumatoModule() as module, driver(module) as device:
        module.objection = "relay fault"
        with pytest.raises(DeviceRefused, match='answers "relay fault" to "relay on 0"'):
            await device.set(1, True)


async def test_denkovi_echoes_and_numbers_from_the_highest_bit() -> None:
    async with DenkoviBoard() as board:
        async with driver(board) as device:
            assert device.identity.port_count == 16
            await device.set(1, True)
            await device.set(16, True)
            assert {relay for relay, on in (await device.read()).items() if on} == {1, 16}
            await device.set(1, False)
        commands = [command for command in said(board) if command != b"ask//"]
        assert commands == [b"01+//", b"16+//", b"01-//"]


@pytest.mark.parametrize("answers", ["lines", "together", "raw"])
async def test_lcus_is_understood_in_all_the_ways_it_answers(answers: Any) -> None:
    async with LcusBoard(channels=4, answers=answers) as board:
        async with driver(board, 4, pause=0.01) as device:
            assert str(device.identity) == "LCUS-4"
            assert device.reads_back
            await device.set(4, True)
            assert await device.read() == board.outputs
        assert in_hex(said(board)) == ["FF", "A0 04 01 A5", "FF", "FF"]


async def test_a_silent_lcus_is_taken_for_one_without_read_back() -> None:
    async with LcusBoard(answers="nothing") as board:
        async with driver(board, pause=0.01) as device:
            assert str(device.identity) == "LCUS without read-back"
            assert device.reads_back is False
            assert await device.read() == {}
            await device.set(2, True)
            await until(lambda: board.outputs[2])
        assert in_hex(said(board)) == ["FF", "A0 02 01 A3"]


async def test_an_lcus_known_to_be_mute_is_not_asked() -> None:
    async with LcusBoard(answers="nothing") as board:
        async with driver(board, read_back=False) as device:
            assert device.reads_back is False
            await device.set(1, True)
            await until(lambda: board.outputs[1])
        assert in_hex(said(board)) == ["A0 01 01 A2"]


async def test_a_mute_lcus_is_missed_when_it_is_unplugged() -> None:
    async with LcusBoard(answers="nothing") as board, driver(board, read_back=False) as device:
        assert await device.read() == {}
        await board.dead()
        await asyncio.sleep(0.02)
        with pytest.raises(DeviceOffline, match="is gone"):
            await device.read()
        with pytest.raises(DeviceOffline, match="is gone"):
            await device.set(1, True)


async def test_an_lcus_known_to_answer_is_offline_when_it_is_silent() -> None:
    async with LcusBoard(answers="nothing") as board:
        with pytest.raises(DeviceOffline, match="does not answer"):
            async with driver(board, read_back=True):
                pass


async def test_an_lcus_of_another_size_is_noticed() -> None:
    async with LcusBoard(channels=2) as board, driver(board, 8, pause=0.01) as device:
        assert (device.identity.model, device.identity.port_count) == ("LCUS-2", 2)
        with pytest.raises(DeviceRefused, match="LCUS-2 has no relay 3"):
            await device.set(3, True)


async def test_lcus_gets_a_rest_between_two_commands() -> None:
    loop = asyncio.get_running_loop()
    async with LcusBoard(answers="nothing") as board, driver(board, read_back=False, pause=0.05) as device:
        began = loop.time()
        for relay in (1, 2, 3):
            await device.set(relay, True)
        assert loop.time() - began >= 0.1
        await until(lambda: all(board.outputs[relay] for relay in (1, 2, 3)))


@pytest.mark.parametrize("id_first", [True, False])
async def test_hid_reports_are_nine_bytes_and_read_with_or_without_their_id(id_first: bool) -> None:
    async with HidRelayBoard(relays=2, id_first=id_first) as board:
        async with driver(board) as device:
            assert (str(device.identity), device.identity.port_count) == ("USBRelay2 HURTM", 2)
            await device.set(2, True)
            assert await device.read() == {1: False, 2: True}
            await device.set(2, False)
            with pytest.raises(DeviceRefused, match="has no relay 3"):
                await device.set(3, True)
        assert in_hex(said(board)) == ["00 FF 02 00 00 00 00 00 00", "00 FD 02 00 00 00 00 00 00"]


async def test_a_hid_board_with_another_serial_number_is_left_alone() -> None:
    async with HidRelayBoard(serial="OTHER") as board:
        with pytest.raises(DeviceOffline, match="is not plugged in; there is OTHER"):
            async with driver(board, serial="HURTM"):
                pass
        await until(lambda: board.connections == 0)


async def test_without_a_simulator_the_usb_is_searched() -> None:
    """The real library is asked; no test machine is expected to have this very board."""
    module = drivers.load("hid_relay")
    with pytest.raises(DeviceOffline, match="the USB relay Zz~0! is not plugged in"):
        async with module.Driver(RelayConfig(), module.Options(serial="Zz~0!")):
            pass


@pytest.mark.parametrize("kind", [*SERIAL, "hid_relay"])
async def test_a_board_that_ignores_a_switch_is_not_believed(kind: str) -> None:
    device = load(kind).simulate()
    async with device, driver(device, len(device.outputs)) as relay:
        device.answer_fail = True
        with pytest.raises(DeviceRefused, match="did not switch relay 2"):
            await relay.set(2, True)
        assert not device.transitions


@pytest.mark.parametrize("kind", SERIAL)
def test_a_serial_relay_without_a_port_is_refused_in_words(kind: str) -> None:
    module = drivers.load(kind)
    with pytest.raises(ValueError, match=f'a relay of kind {kind} needs "serial_port"'):
        module.Driver(RelayConfig(), module.Options())


@pytest.mark.parametrize(
    ("kind", "port_count", "words"),
    [
        ("kmtronic", 3, "1, 2, 4 or 8 relays, not 3"),
        ("numato", 12, "16, 32 or 64 relays, not 12"),
        ("lcus", 16, "1 to 8 channels, not 16"),
    ],
)
def test_a_size_that_there_is_not_is_refused_in_words(kind: str, port_count: int, words: str) -> None:
    module = drivers.load(kind)
    options = module.Options.model_validate({"serial_port": "usb-relay"})
    with pytest.raises(ValueError, match=words):
        module.Driver(RelayConfig(port_count=port_count), options)
