"""The whole rack: modules on real sockets, boards behind them, and the wires between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boardherd.rack.rack import Rack, RackError
from boardherd_shared.inventory import Inventory
from support.terminal import until

ENERGISE, RELEASE = 0x20, 0x21


@pytest.fixture
async def rack(tmp_path: Path) -> AsyncIterator[Rack]:
    async with Rack(tmp_path, boards=3, modules=2, boot_seconds=0.1) as rack:
        yield rack


async def command(rack: Rack, relay: str, *request: int) -> bytes:
    """Send a module one command as a client would, and return the first byte of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rack.modules[relay].port)
    with contextlib.closing(writer):
        writer.write(bytes(request))
        async with asyncio.timeout(5):
            return await reader.read(1)


def powered(rack: Rack) -> set[str]:
    return {id_ for id_, board in rack.truth().boards.items() if board.powered}


async def test_a_command_on_the_wire_boots_the_board_behind_the_port(rack: Rack) -> None:
    assert powered(rack) == set()
    assert await command(rack, "eth-1", ENERGISE, 1, 0) == b"\x00"
    assert powered(rack) == {"evm-01"}
    await until(lambda: rack.truth().boards["evm-01"].up)
    assert await command(rack, "eth-1", RELEASE, 1, 0) == b"\x00"
    assert powered(rack) == set()
    (on, off) = rack.truth().transitions
    assert [(t.port, t.energised, t.cause) for t in (on, off)] == [
        ("eth-1:1", True, "command"),
        ("eth-1:1", False, "command"),
    ]
    assert on.at < off.at


async def test_a_pulse_of_the_module_cycles_the_board(rack: Rack) -> None:
    rack.power_all()
    await until(lambda: rack.truth().boards["evm-01"].up)
    await command(rack, "eth-1", RELEASE, 1, 1)
    assert "evm-01" not in powered(rack)
    await until(lambda: rack.truth().boards["evm-01"].boots == 2)
    assert rack.truth().transitions[-1].cause == "pulse"


async def test_a_board_with_two_feeds_needs_both(rack: Rack) -> None:
    first, second = rack.truth().boards["evm-03"].feeds
    assert {first, second} == {"eth-1:2", "eth-2:2"}
    await command(rack, "eth-1", ENERGISE, 2, 0)
    assert powered(rack) == set()
    await command(rack, "eth-2", ENERGISE, 2, 0)
    assert powered(rack) == {"evm-03"}
    await command(rack, "eth-1", RELEASE, 2, 0)
    assert powered(rack) == set()


async def test_a_lab_at_work_is_all_on_but_for_what_is_left_off(rack: Rack) -> None:
    rack.power_all(leave_off=["evm-02"])
    assert powered(rack) == {"evm-01", "evm-03"}
    assert {t.cause for t in rack.truth().transitions} == {"outside"}
    with pytest.raises(RackError, match='no board "evm-9"; known are: evm-01, evm-02, evm-03'):
        rack.power_all(leave_off=["evm-9"])


async def test_swapped_wires_switch_the_wrong_board(rack: Rack) -> None:
    rack.power_all()
    assert rack.miswire("eth-1:1", "eth-2:1") == "eth-1:1 feeds evm-02, eth-2:1 feeds evm-01"
    await command(rack, "eth-1", RELEASE, 1, 0)
    assert powered(rack) == {"evm-01", "evm-03"}
    await rack.heal("wiring")
    assert powered(rack) == {"evm-02", "evm-03"}


async def test_a_welded_contact_keeps_its_board_on_and_the_module_does_not_notice(rack: Rack) -> None:
    rack.power_all()
    assert await rack.fault("eth-1:1", "weld") == "the contact of eth-1:1 is welded"
    await command(rack, "eth-1", RELEASE, 1, 0)
    assert powered(rack) == {"evm-01", "evm-02", "evm-03"}
    assert rack.modules["eth-1"].outputs[1] is False
    assert rack.truth().ports["eth-1:1"].energised
    await rack.heal("eth-1:1")
    assert powered(rack) == {"evm-02", "evm-03"}


async def test_a_wire_on_a_spare_port_leaves_its_board_dark(rack: Rack) -> None:
    rack.power_all()
    assert rack.miswire("eth-1:1", "eth-1:8") == "eth-1:1 feeds nothing, eth-1:8 feeds evm-01"
    assert "evm-01" not in powered(rack)
    await command(rack, "eth-1", ENERGISE, 8, 0)
    assert "evm-01" in powered(rack)


async def test_a_rebooted_module_darkens_its_boards(rack: Rack) -> None:
    rack.power_all()
    assert await rack.fault("eth-1", "reboot") == "eth-1 has rebooted"
    assert powered(rack) == {"evm-02"}
    assert await command(rack, "eth-1", 0x24) == b"\x00"
    assert rack.truth().transitions[-1].cause == "reboot"


async def test_an_unreachable_module_leaves_its_boards_alone(rack: Rack) -> None:
    rack.power_all()
    await rack.fault("eth-1", "dead")
    assert rack.truth().modules["eth-1"].fault == "dead"
    assert powered(rack) == {"evm-01", "evm-02", "evm-03"}
    with pytest.raises(ConnectionRefusedError):
        await command(rack, "eth-1", 0x24)
    await rack.heal("eth-1")
    assert rack.truth().modules["eth-1"].fault is None
    assert await command(rack, "eth-1", 0x24) == b"\x03"


async def test_a_hung_module_takes_connections_and_answers_nothing(rack: Rack) -> None:
    await rack.fault("eth-2", "hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await command(rack, "eth-2", 0x24)
    assert rack.truth().modules["eth-2"].connections_max == 1
    await rack.heal()
    assert await command(rack, "eth-2", 0x24) == b"\x00"


async def test_board_faults_go_to_the_board(rack: Rack) -> None:
    rack.power_all()
    await until(lambda: rack.truth().boards["evm-02"].up)
    assert await rack.fault("evm-02", "hang") == "evm-02 has the fault hang"
    truth = rack.truth().boards["evm-02"]
    assert (truth.powered, truth.up, truth.faults) == (True, False, ("hang",))
    assert await rack.heal() == "everything is healed"
    await until(lambda: rack.truth().boards["evm-02"].up)


@pytest.mark.parametrize(
    ("target", "fault", "sentence"),
    [
        ("evm-99", "hang", r'no board or module "evm-99"; known are: evm-01, evm-02, evm-03, eth-1, eth-2'),
        ("evm-01", "fire", r'no fault of a board "fire"; known are: hang, panic, slow, no_boot'),
        ("eth-1", "panic", r'no fault of a module "panic"; known are: hang, dead, reboot'),
        ("evm-01", "panic", r"evm-01 has no power, so it cannot panic"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(rack: Rack, target: str, fault: str, sentence: str) -> None:
    with pytest.raises(RackError, match=sentence):
        await rack.fault(target, fault)


async def test_unknown_ports_and_targets_are_refused_in_words(rack: Rack) -> None:
    with pytest.raises(RackError, match=r'no port "eth-1:9"; known are: eth-1:1, eth-1:2'):
        rack.miswire("eth-1:1", "eth-1:9")
    with pytest.raises(RackError, match=r"known are: evm-01, .*eth-2, wiring"):
        await rack.heal("evm-99")


async def test_the_lab_file_describes_this_very_rack(rack: Rack) -> None:
    inventory = Inventory.parse(rack.lab_toml("lab", "pc-01"))
    assert set(inventory.boards_of("pc-01")) == set(rack.boards)
    for id_, relay in inventory.lab.relay.items():
        assert (relay.address, relay.tcp_port) == ("127.0.0.1", rack.modules[id_].port)
        assert relay.mac == rack.modules[id_].mac
        assert relay.port_count == len(rack.modules[id_].outputs)
    for id_, config in inventory.lab.board.items():
        board = rack.boards[id_]
        assert config.probes == (f"ssh:{board.ssh_port}", f"tcp:{board.tcp_port}", "console")
        assert config.serial_port == str(board.console_path)
        assert config.platform == board.flavour.platform
        assert {feed.name for feed in config.power} == set(rack.truth().boards[id_].feeds)
