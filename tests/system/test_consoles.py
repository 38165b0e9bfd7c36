"""Consoles shared with test frameworks: a real agent, a real broker, a board that boots a hundred times."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import serial

from boardherd.rack.board import SimulatedBoard
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.consoles import until
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

BOOTS = int(os.environ.get("BOARDHERD_BOOTS", "100"))
"""How many boots a framework reads to the last byte."""

BOOT_S = 0.12
PER_LOCK = 10
"""Boots under one lock; between two of them the agent has the console again."""

LAB = """
site = "{site}"
pc.pc-01 = {{}}
[board.evm-07]
pc = "pc-01"
serial_port = "{port}"
console = "{mode}"
{more}
probes = ["console"]
"""


class LoggedBoard(SimulatedBoard):
    """A simulated board that keeps a log of what it said."""

    said = b""

    def _send(self, text: str) -> None:
        self.said += text.replace("\n", "\r\n").encode()
        super()._send(text)

    async def boot(self) -> None:
        """Boot, up to the login prompt."""
        before = self.boots
        self.power(on=True)
        await until(lambda: self.boots > before)


class Framework:
    """A test framework that has opened a console, by pyserial as most do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.read = b""

    async def __aenter__(self) -> Self:
        self._port = serial.serial_for_url(self.url, 115200, timeout=0)
        # pyserial's socket:// has no way to be waited for but its socket.
        self._handle = self._port._socket if "://" in self.url else self._port.fd
        asyncio.get_running_loop().add_reader(self._handle, self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        self._port.close()

    def _take(self) -> None:
        if "://" in self.url:
            self.read += self._handle.recv(65536)
        else:
            self.read += self._port.read(65536)

    def write(self, data: bytes) -> None:
        self._port.write(data)


class Local:
    """Somebody at the agent's local socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def command(self, **command: Any) -> dict[str, Any]:
        """Send a command and return its last step."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            # With an id of its own: the same command within ten seconds would count as sent twice.
            writer.write(json.dumps({"id": str(uuid.uuid4()), **command}).encode() + b"\n")
            while line := await reader.readline():
                step: dict[str, Any] = json.loads(line)
                if step["state"] in {"succeeded", "failed", "refused", "interrupted", "expired"}:
                    return step
        finally:
            writer.close()
        raise AssertionError("the agent said nothing more")

    async def lock(self) -> str:
        step = await self.command(action="lock", board="evm-07", **{"for": "2m"})
        assert step["state"] == "succeeded", step["text"]
        return str(step["lock"])

    async def unlock(self) -> None:
        step = await self.command(action="unlock", board="evm-07")
        assert step["state"] == "succeeded", step["text"]

    @contextlib.asynccontextmanager
    async def console(self, **request: Any) -> AsyncIterator[Conversation]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(json.dumps({"console": "evm-07", **request}).encode() + b"\n")
            yield Conversation(json.loads(await reader.readline()), reader, writer)
        finally:
            writer.close()


class Conversation:
    """A console that was asked for: the answer, and what follows."""

    def __init__(
        self, answer: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.answer, self.writer, self._reader = answer, writer, reader
        self.read = b""

    async def has(self, length: int) -> None:
        async with asyncio.timeout(10):
            while len(self.read) < length:
                more = await self._reader.read(65536)
                assert more, "ended too early"
                self.read += more


def site_of(tmp_path: Path) -> str:
    return f"console-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"


@contextlib.asynccontextmanager
async def lab(
    tmp_path: Path, broker: str, mode: str, more: str = ""
) -> AsyncIterator[tuple[LoggedBoard, Local, AgentProcess]]:
    """A board on a serial line and an agent that has its console in ``mode``."""
    async with LoggedBoard("evm-07", tmp_path, boot_seconds=BOOT_S) as board:
        text = LAB.format(site=site_of(tmp_path), port=board.console_path, mode=mode, more=more)
        (tmp_path / "lab.toml").write_text(text)
        with AgentProcess(tmp_path, broker) as agent:
            local = Local(tmp_path / "agent.sock")
            await until(local.socket.exists, 30)
            yield board, local, agent


def log_of(agent: AgentProcess) -> str:
    return agent.log.read_text()


async def the_agent_listens(agent: AgentProcess, times: int) -> None:
    await until(lambda: log_of(agent).count("the console is read") >= times, 20)


async def test_a_framework_that_takes_the_lock_gets_every_byte(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A framework locks, opens the device and reads; the agent, who listens whenever nobody does, takes nothing."""
    expected, got = hashlib.sha256(), hashlib.sha256()
    async with lab(tmp_path, mosquitto.url, "when-idle") as (board, local, agent):
        for number in range(max(1, BOOTS // PER_LOCK)):
            await the_agent_listens(agent, number + 1)
            await local.lock()
            async with Framework(str(board.console_path)) as framework:
                board.said = b""
                for _ in range(PER_LOCK):
                    await board.boot()
                    await until(lambda: len(framework.read) >= len(board.said))
                    board.power(on=False)
                assert framework.read == board.said
                expected.update(board.said)
                got.update(framework.read)
            await local.unlock()
        assert "busy" not in log_of(agent), "the agent had let go before the framework came"
    assert got.hexdigest() == expected.hexdigest()


async def test_a_framework_at_a_tapped_console_gets_every_byte_and_may_write(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The same over TCP while the agent keeps the port: it reads all, and stops U-Boot with a key."""
    port = free_port()
    async with (
        lab(tmp_path, mosquitto.url, "tap", f"console_tcp = {port}") as (board, local, agent),
    ):
        await the_agent_listens(agent, 1)
        await local.lock()
        async with Framework(f"socket://127.0.0.1:{port}") as framework, local.console() as other:
            board.said = b""
            for _ in range(BOOTS):
                await board.boot()
                await until(lambda: len(framework.read) >= len(board.said))
                board.power(on=False)
            assert hashlib.sha256(framework.read).digest() == hashlib.sha256(board.said).digest()
            await other.has(len(board.said))
            assert other.read == board.said, "who reads alongside gets the same"
            board.power(on=True)
            await until(lambda: b"Hit any key" in framework.read[-200:])
            framework.write(b" ")
            await until(lambda: framework.read.endswith(b"=> "))


_PROGRAM = r"""
import os, serial
with serial.serial_for_url(os.environ["BOARD_CONSOLE"], 115200, timeout=20) as port:
    port.write(b"\r")
    assert port.read_until(b"login: ").endswith(b"login: ")
print(os.environ["BOARD_CONSOLE"])
"""


@pytest.mark.parametrize("mode", ["tap", "when-idle"])
async def test_acquire_gives_its_program_a_console_to_write_on(
    mosquitto: Mosquitto, tmp_path: Path, mode: str
) -> None:
    """The lock is that of a broker account, fenced; the program runs under a login of another name."""
    port = free_port()
    more = f"console_tcp = {port}" if mode == "tap" else ""
    async with lab(tmp_path, mosquitto.url, mode, more) as (board, _, agent):
        await the_agent_listens(agent, 1)
        await board.boot()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "boardherd", "--broker", mosquitto.url, "--as", "ci-1"),
            *("--api", f"http://127.0.0.1:{free_port()}", "--site", site_of(tmp_path)),
            *("acquire", "--board", "evm-07", "--wait", "20s"),
            *("--", sys.executable, "-c", _PROGRAM),
            env={**os.environ, "HOME": str(tmp_path), "BOARDHERD_SOCKET": str(tmp_path / "agent.sock")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert process.returncode == 0, err
    assert out.decode().strip() == (
        f"socket://127.0.0.1:{port}" if mode == "tap" else str(board.console_path)
    )
