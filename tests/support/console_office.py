"""The shared consoles of an agent without the agent, and those who ask for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from boardherd_agent.control.consoles import writing_refused
from boardherd_agent.control.local import LocalSocket
from boardherd_agent.local_users import user_of_tcp
from boardherd_agent.watch.consoles.sharing import Place, Sharing
from boardherd_shared.locks import Lock
from support.consoles import Ears, until
from support.ports import free_port

HOST = "127.0.0.1"
ME = pwd.getpwuid(os.getuid()).pw_name
ID = "0123456789abcdef" * 2
OTHERS_ID = "f" * 32


def lock(owner: str = ME, id_: str = ID, **more: Any) -> Lock:
    return Lock(id=id_, owner=owner, use="busy", since=0, until=4 * 10**15, **more)


class Office:
    """An agent's shared consoles: evm-07 is there, evm-08 has none, and the lock is whatever the test says."""

    def __init__(self, tmp_path: Path, port: str, *, tap: bool = True) -> None:
        self.lock: Lock | None = None
        self.ears = Ears(port, tmp_path, tap=tap)
        self.console = self.ears.console
        self.socket = tmp_path / "agent.sock"
        self.tcp = free_port()
        self.user: str | None = None
        """Who has connected over TCP, where not the kernel is asked."""
        places = {"evm-07": Place("tap", self.tcp if tap else None), "evm-08": Place("off")}
        self.sharing = Sharing(places, {"evm-07": self.console}, self._may_write, self._user_of)

    def _may_write(self, board: str, user: str, lock_id: str | None) -> str:
        return writing_refused(board, self.lock, user, lock_id)

    def _user_of(self, client: tuple[str, int], server: tuple[str, int]) -> str | None:
        return self.user or user_of_tcp(client, server)

    @contextlib.asynccontextmanager
    async def open(self, state: str = "") -> AsyncIterator[None]:
        local = LocalSocket(self.socket, lambda _: None, self.sharing.converse)
        async with self.ears.listening(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(it.run(), name="door") for it in (self.sharing, local)]
            await until(lambda: self.ears.state == state and self.socket.exists())
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def asks(self, **request: Any) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        client = Client(reader, writer)
        try:
            writer.write(json.dumps({"console": "evm-07", **request}).encode() + b"\n")
            client.answer = json.loads(await reader.readline())
            yield client
        finally:
            writer.close()

    @contextlib.asynccontextmanager
    async def connects(self) -> AsyncIterator[Client]:
        await until(lambda: _open(self.tcp))
        before = self.sharing._readers["evm-07"]
        reader, writer = await asyncio.open_connection(HOST, self.tcp)
        try:
            await until(lambda: self.sharing._readers["evm-07"] > before)
            yield Client(reader, writer)
        finally:
            writer.close()


def _open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


class Client:
    """Somebody who reads and writes a shared console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.answer: dict[str, Any] = {}
        self.read = b""

    async def sees(self, text: bytes) -> None:
        async with asyncio.timeout(10):
            while text not in self.read:
                more = await self._reader.read(65536)
                assert more, f"ended before {text!r}, after {self.read!r}"
                self.read += more

    async def to_the_end(self) -> bytes:
        async with asyncio.timeout(10):
            self.read += await self._reader.read()
        return self.read
