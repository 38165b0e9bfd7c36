"""`boardherd console`: a real process at a real terminal, and the console that an agent shares."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from support.console_office import Office, lock
from support.consoles import Board, until
from support.played_agent import Agent, Shell


@pytest.fixture
def board() -> Iterator[Board]:
    line = Board()
    tty.setraw(line.slave)
    yield line
    line.vanish()


@pytest.fixture
async def office(board: Board, tmp_path: Path) -> AsyncIterator[Office]:
    it = Office(tmp_path, board.path)
    async with it.open():
        yield it


class Person:
    """Somebody in front of a terminal in which the command runs."""

    def __init__(self, office: Office, *words: str) -> None:
        self._words = [sys.executable, "-m", "boardherd", "--socket", str(office.socket), "console", *words]
        self.screen = b""

    async def __aenter__(self) -> Self:
        self._master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = await asyncio.create_subprocess_exec(
            *self._words, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True
        )
        asyncio.get_running_loop().add_reader(self._master, self._look)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _look(self) -> None:
        self.screen += os.read(self._master, 65536)

    def types(self, keys: bytes) -> None:
        os.write(self._master, keys)

    async def sees(self, text: bytes) -> None:
        await until(lambda: text in self.screen)

    async def ends(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()

    @property
    def terminal_is_right(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before


async def test_the_holder_types_and_leaves_by_tilde_dot(board: Board, office: Office) -> None:
    office.lock = lock()
    async with Person(office, "evm-07") as person:
        await person.sees(b"~. at the beginning of a line leaves")
        await until(lambda: not person.terminal_is_right)
        person.types(b"printenv ~.\r")
        await until(lambda: board.received() == b"printenv ~.\r")
        person.types(b"\x03")
        await until(lambda: board.received() == b"\x03")
        board.says(b"\x1b[1mbootcmd\x1b[0m\r\n=> ")
        await person.sees(b"\x1b[1mbootcmd\x1b[0m\r\n=> ")
        person.types(b"~?")
        await person.sees(b"~.  leave the console")
        person.types(b"~.")
        assert await person.ends() == 0
        assert person.terminal_is_right
        assert board.received() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_the_terminal_is_put_right_whatever_ends_it(office: Office, number: signal.Signals) -> None:
    office.lock = lock()
    async with Person(office, "evm-07") as person:
        await until(lambda: not person.terminal_is_right)
        person.process.send_signal(number)
        await person.ends()
        assert person.terminal_is_right


async def test_the_terminal_is_put_right_when_the_agent_goes(board: Board, tmp_path: Path) -> None:
    office = Office(tmp_path, board.path)
    office.lock = lock()
    async with contextlib.AsyncExitStack() as stack:
        async with office.open():
            person = await stack.enter_async_context(Person(office, "evm-07"))
            await until(lambda: not person.terminal_is_right)
        assert await person.ends() == 4
        await person.sees(b"the agent has ended the console")
        assert person.terminal_is_right


async def test_who_has_no_lock_reads_and_is_told_why(board: Board, office: Office) -> None:
    office.lock = lock("ops2")
    async with Person(office, "evm-07") as person:
        await person.sees(b"reading only (evm-07 is locked by ops2")
        board.says(b"evm login: ")
        await person.sees(b"evm login: ")
        person.types(b"root\r")
        person.process.send_signal(signal.SIGINT)
        assert await person.ends() == 0
        assert board.received() == b""


async def _lines(office: Office, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "boardherd", "--socket", str(office.socket), "console", "evm-07", *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


async def test_in_a_pipe_it_gives_bytes_and_with_json_lines(board: Board, office: Office) -> None:
    board.says(b"U-Boot SPL 2024.04\r\n\x1b[0mhalf")
    await until(lambda: office.console.scrollback.end > 20)
    plain, lines = (
        await _lines(office, "--scrollback", "5"),
        await _lines(office, "--scrollback", "5", "--json"),
    )
    assert plain.stdout
    assert lines.stdout
    try:
        async with asyncio.timeout(10):
            assert await plain.stdout.readexactly(28) == b"U-Boot SPL 2024.04\r\n\x1b[0mhalf"
            first = json.loads(await lines.stdout.readline())
            board.says(b" a line\r\n")
            second = json.loads(await lines.stdout.readline())
            assert await plain.stdout.readexactly(9) == b" a line\r\n"
        assert (first["text"], second["text"]) == ("U-Boot SPL 2024.04", "half a line")
        assert first["at"] <= second["at"]
    finally:
        for process in (plain, lines):
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0


async def test_a_console_that_is_on_another_machine(agent: Agent, shell: Shell) -> None:
    result = await shell.run("console", "evm-07")
    assert result.code == 3
    assert "the console of evm-07 is on pc-01" in result.err
    assert "boardherd console evm-07" in result.err


async def test_a_board_that_the_agent_here_does_not_have(board: Board, office: Office) -> None:
    async with Person(office, "evm-99") as person:
        assert await person.ends() == 2
        await person.sees(b'no board "evm-99"')


async def test_a_console_that_is_somebody_elses(board: Board, tmp_path: Path) -> None:
    office = Office(tmp_path, board.path, tap=False)
    office.console.held = lambda: "left to ops1, who has locked the board"
    async with office.open("left to ops1, who has locked the board"), Person(office, "evm-07") as person:
        assert await person.ends() == 4
        await person.sees(b"left to ops1, who has locked the board")
