"""A simulated board on real sockets and a real pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boardherd.rack.board import Fault, NoPower, SimulatedBoard, Stage
from support.terminal import Terminal, until

BOOT_S = 0.25
UNHURRIED_BOOT_S = 1.5
"""A boot whose countdown leaves time to press a key, on a busy machine too."""
NOBODY_S = 0.2
"""How long a connection attempt may stay without reply before nobody is there."""


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[SimulatedBoard]:
    async with SimulatedBoard("evm-01", tmp_path, boot_seconds=BOOT_S) as board:
        yield board


@pytest.fixture
def terminal(board: SimulatedBoard) -> Terminal:
    return Terminal(board.console_path)


async def banner(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        return await reader.readline()


async def is_there(port: int) -> bool:
    try:
        async with asyncio.timeout(NOBODY_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except TimeoutError:
        return False
    writer.close()
    return True


async def assert_reset(reader: asyncio.StreamReader) -> None:
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(5):
            await reader.read()


async def test_it_boots_in_the_order_of_a_real_board(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        assert not await is_there(board.ssh_port)
        board.power(on=True)
        for text in (
            "\nU-Boot SPL 2025",
            "\nU-Boot 2025",
            "Hit any key to stop autoboot:  3 ",
            "\nStarting kernel ...",
            "] Linux version 6.",
            "eth0: Link is Up",
            "Started OpenSSH",
            "j721e-evm login: ",
        ):
            await terminal.sees(text)
            terminal.text = terminal.text[terminal.text.index(text) + len(text) :]
        assert board.up
        assert board.boots == 1
        assert await banner(board.ssh_port) == b"SSH-2.0-OpenSSH_9.6\r\n"
        assert await is_there(board.tcp_port)


async def test_ports_open_only_when_the_board_says_so(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("Starting kernel")
        assert board.stage is Stage.LINUX
        waiting = asyncio.create_task(banner(board.ssh_port), name="client that tries all the while")
        await until(lambda: board.up)
        assert (await waiting).startswith(b"SSH-2.0-")


async def test_platforms_differ_in_what_they_print(tmp_path: Path) -> None:
    async with SimulatedBoard("evm-09", tmp_path, platform="am62x", boot_seconds=BOOT_S) as board:
        with Terminal(tmp_path / "evm-09-console") as terminal:
            board.power(on=True)
            await terminal.sees("am62xx-evm login: ")
            assert "SoC:   AM62X" in terminal.text


async def test_a_power_cut_ends_everything_at_once(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("login: ")
        reader, writer = await asyncio.open_connection("127.0.0.1", board.ssh_port)
        assert await reader.readline()
        board.power(on=False)
        assert board.stage is Stage.DARK
        await assert_reset(reader)
        writer.close()
        assert not await is_there(board.ssh_port)
        assert not await is_there(board.tcp_port)
        before = terminal.text
        terminal.type("root\n")
        await asyncio.sleep(NOBODY_S)
        assert terminal.text == before


async def test_a_connection_that_the_board_has_not_taken_yet_is_reset_too(board: SimulatedBoard) -> None:
    board.power(on=True)
    await until(lambda: board.up)
    with socket.create_connection(("127.0.0.1", board.ssh_port), 5) as client:
        board.power(on=False)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_a_power_cut_in_mid_boot_ends_the_boot(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("U-Boot SPL")
        board.power(on=False)
        await asyncio.sleep(BOOT_S)
        assert "Starting kernel" not in terminal.text
        board.power(on=True)
        await terminal.sees("login: ")
        assert terminal.text.count("U-Boot SPL") == 2
        assert board.boots == 1


async def test_a_newline_in_the_countdown_stops_the_boot(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.boot_seconds = UNHURRIED_BOOT_S
        board.power(on=True)
        await terminal.sees("autoboot:  3 ")
        terminal.type("\n")
        await terminal.sees("\n=> ")
        await asyncio.sleep(UNHURRIED_BOOT_S / 2)
        assert board.stage is Stage.PROMPT
        assert "Starting kernel" not in terminal.text
        terminal.type("print {x}\r")
        await terminal.sees("Unknown command 'print {x}'")
        terminal.type("boot\r\n")
        await terminal.sees("login: ")


async def test_keys_before_the_countdown_do_not_stop_the_boot(
    board: SimulatedBoard, terminal: Terminal
) -> None:
    with terminal:
        board.boot_seconds = UNHURRIED_BOOT_S
        board.power(on=True)
        await terminal.sees("U-Boot SPL")
        terminal.type("\n\n")
        await terminal.sees("login: ")


async def test_reset_at_the_prompt_boots_again(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.boot_seconds = UNHURRIED_BOOT_S
        board.power(on=True)
        await terminal.sees("autoboot:  3 ")
        terminal.type(" ")
        await terminal.sees("\n=> ")
        terminal.type("resex\bt\n")
        await terminal.sees("login: ")
        assert terminal.text.count("U-Boot SPL") == 2


async def test_the_login_prompt_echoes_and_lets_nobody_in(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("login: ")
        terminal.type("root\n")
        await terminal.sees("login: root\n\nLogin incorrect\n\nj721e-evm login: ")
        assert board.up


async def test_a_hung_board_keeps_power_and_answers_nothing(
    board: SimulatedBoard, terminal: Terminal
) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("login: ")
        reader, writer = await asyncio.open_connection("127.0.0.1", board.ssh_port)
        assert await reader.readline()
        board.fail(Fault.HANG)
        assert (board.powered, board.up, board.stage) == (True, False, Stage.HUNG)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(NOBODY_S):
                await reader.read()
        assert not await is_there(board.ssh_port)
        before = terminal.text
        terminal.type("\n")
        await asyncio.sleep(0.05)
        assert terminal.text == before
        board.power(on=False)
        await assert_reset(reader)
        writer.close()
        board.power(on=True)
        await until(lambda: board.up)
        assert not board.faults
        assert await is_there(board.ssh_port)


async def test_a_panic_is_said_on_the_console(board: SimulatedBoard, terminal: Terminal) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("login: ")
        board.fail(Fault.PANIC)
        await terminal.sees("Kernel panic - not syncing: VFS: Unable to mount root fs")
        assert board.stage is Stage.PANICKED
        assert not await is_there(board.tcp_port)
        board.heal()
        await until(lambda: board.up)
        assert await is_there(board.tcp_port)


async def test_a_board_that_finds_nothing_to_boot_stays_in_spl(
    board: SimulatedBoard, terminal: Terminal
) -> None:
    with terminal:
        board.fail(Fault.NO_BOOT)
        for life in (1, 2):
            board.power(on=True)
            await terminal.sees("### ERROR ### Please RESET")
            await until(lambda: board.stage is Stage.STUCK)
            assert terminal.text.count("U-Boot SPL") == life
            board.power(on=False)
            terminal.text = terminal.text.replace("ERROR", "seen")
        board.power(on=True)
        await terminal.sees("### ERROR ###")
        board.heal()
        await terminal.sees("login: ")


async def test_a_slow_board_is_still_booting_when_others_are_up(
    board: SimulatedBoard, tmp_path: Path
) -> None:
    async with SimulatedBoard("evm-02", tmp_path, boot_seconds=BOOT_S) as slow:
        slow.fail(Fault.SLOW)
        slow.power(on=True)
        board.power(on=True)
        await until(lambda: board.up)
        assert not slow.up
        await until(lambda: slow.up)


async def test_a_pulled_network_cable_is_said_on_the_console_and_lasts_over_boots(
    board: SimulatedBoard, terminal: Terminal
) -> None:
    with terminal:
        board.power(on=True)
        await terminal.sees("login: ")
        board.fail(Fault.NO_NETWORK)
        await terminal.sees("eth0: Link is Down")
        assert board.up
        assert not await is_there(board.ssh_port)
        board.power(on=False)
        board.power(on=True)
        await until(lambda: board.boots == 2)
        assert not await is_there(board.ssh_port)
        assert not await is_there(board.tcp_port)
        terminal.text = ""
        board.heal()
        await terminal.sees("eth0: Link is Up")
        assert await banner(board.ssh_port) == b"SSH-2.0-OpenSSH_9.6\r\n"
        assert board.boots == 2


async def test_a_pulled_adapter_hangs_up_and_comes_back_under_its_name(board: SimulatedBoard) -> None:
    board.power(on=True)
    await until(lambda: board.up)
    console = os.open(board.console_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    board.fail(Fault.NO_CONSOLE)
    assert not board.console_path.exists()
    with pytest.raises(OSError, match="Input/output error"):
        os.write(console, b"x")
    os.close(console)
    assert await is_there(board.ssh_port)
    board.heal()
    with Terminal(board.console_path) as terminal:
        terminal.type("\n")
        await terminal.sees("login: ")


async def test_a_dark_board_cannot_hang(board: SimulatedBoard) -> None:
    with pytest.raises(NoPower, match="evm-01 has no power, so it cannot hang"):
        board.fail(Fault.HANG)
    board.heal()
    assert board.stage is Stage.DARK


async def test_consoles_may_be_opened_again_and_again(board: SimulatedBoard) -> None:
    board.power(on=True)
    await until(lambda: board.up)
    for life in (1, 2, 3):
        with Terminal(board.console_path) as terminal:
            terminal.type(f"opener {life}\n")
            await terminal.sees(f"opener {life}\n\nLogin incorrect")
        await asyncio.sleep(0.01)
    with Terminal(board.console_path) as terminal:
        board.power(on=False)
        board.power(on=True)
        await terminal.sees("U-Boot SPL")


async def test_what_is_typed_by_somebody_who_goes_at_once_still_arrives(board: SimulatedBoard) -> None:
    board.boot_seconds = UNHURRIED_BOOT_S
    board.power(on=True)
    await until(lambda: board.stage is Stage.COUNTDOWN)
    with Terminal(board.console_path) as terminal:
        terminal.type("\n")
    await until(lambda: board.stage is Stage.PROMPT)


async def test_what_nobody_listens_to_is_lost(board: SimulatedBoard) -> None:
    board.power(on=True)
    await until(lambda: board.up)
    with Terminal(board.console_path) as terminal:
        await asyncio.sleep(0.05)
        assert not terminal.text
        terminal.type("\n")
        await terminal.sees("login: ")
        assert "U-Boot" not in terminal.text


async def test_a_reader_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    async with SimulatedBoard("evm-01", tmp_path, boot_seconds=0.02) as board:
        lazy = os.open(board.console_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        for _ in range(40):
            board.power(on=True)
            await until(lambda: board.up)
            board.power(on=False)
        board.power(on=True)
        await until(lambda: board.up)
        got = b""
        async with asyncio.timeout(10):
            while not got.endswith(b"login: ") or len(got) < 20_000:
                with contextlib.suppress(BlockingIOError):
                    got += os.read(lazy, 4096)
                await asyncio.sleep(0)
        os.close(lazy)


async def test_console_and_ports_stay_where_they_are_over_lives(tmp_path: Path) -> None:
    async with SimulatedBoard("evm-01", tmp_path, boot_seconds=0.02) as board:
        ssh, tcp = board.ssh_port, board.tcp_port
        assert board.console_path == tmp_path / "evm-01-console"
        assert board.console_path.is_char_device()
    assert not board.console_path.is_symlink()
    async with SimulatedBoard("evm-01", tmp_path, ssh_port=ssh, tcp_port=tcp, boot_seconds=0.02) as board:
        board.power(on=True)
        await until(lambda: board.up)
        assert await is_there(ssh)


async def test_a_port_that_is_taken_is_said_so_and_nothing_is_left_behind(
    board: SimulatedBoard, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="in use"):
        async with SimulatedBoard("evm-02", tmp_path, ssh_port=board.ssh_port):
            pass
    assert not (tmp_path / "evm-02-console").is_symlink()


async def test_a_fault_of_the_caller_comes_out_as_it_is(tmp_path: Path) -> None:
    async def stumble() -> None:
        async with SimulatedBoard("evm-01", tmp_path) as board:
            board.power(on=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()
