"""The local socket: commands from this machine, when no broker is there, under the very same rules.

A client writes one command a line, as it would be published: JSON or a bare word. It reads the steps of that
command, one JSON object a line, until the last one. A line that asks for a console instead turns the rest of
the conversation over to it. The sender is the user that the kernel names; the socket is for the members of its
group.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from boardherd_agent.control.commands import Request
from boardherd_agent.local_users import user_of
from boardherd_shared.command import CommandStep
from boardherd_shared.messages import MAX_PAYLOAD

GROUP = "boardherd"
_MODE = 0o660

Consoles = Callable[[bytes, str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Takes over a conversation that began with a request for a console, with its user; returns at its end."""

log = structlog.get_logger()


class LocalSocket:
    """Listens on a Unix socket and hands what comes to the commander."""

    def __init__(
        self, path: Path, submit: Callable[[Request], None], consoles: Consoles | None = None
    ) -> None:
        """Name the socket; :meth:`run` opens it. ``consoles`` gets those who ask for a console."""
        self._path = path
        self._submit = submit
        self._consoles = consoles
        self._talks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled. Where the socket cannot be made, that is logged and the rest goes on."""
        try:
            server = await self._listen()
        except OSError as error:
            log.warning("no commands are taken from this machine", socket=str(self._path), why=str(error))
            return
        async with server:
            try:
                await server.serve_forever()
            finally:
                with contextlib.suppress(OSError):
                    self._path.unlink()
                for talk in self._talks:
                    talk.cancel()
                await asyncio.gather(*self._talks, return_exceptions=True)

    async def _listen(self) -> asyncio.Server:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of an earlier run: there is only one agent, its spool is locked
        server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_PAYLOAD + 1)
        try:
            os.chown(self._path, -1, grp.getgrnam(GROUP).gr_gid)
        except (KeyError, PermissionError) as error:
            log.info("only this agent's own user and group may command here", group=GROUP, why=str(error))
        self._path.chmod(_MODE)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        operator = user_of(writer.get_extra_info("socket"))
        try:
            while line := await reader.readline():
                if self._consoles and _asks_for_a_console(line):
                    await self._hand_over(self._consoles(line, operator, reader, writer))
                    return
                await self._carry(line.strip(), operator, writer)
        except (ConnectionError, ValueError) as error:
            log.info("a local client was left", operator=operator, why=str(error))
        except asyncio.CancelledError:
            pass  # the agent stops; asyncio would tell a cancelled handler as a fault
        finally:
            writer.close()

    async def _hand_over(self, conversation: Awaitable[None]) -> None:
        """Let somebody look at a console; unlike a command, that does not outlast the socket."""
        task = asyncio.current_task()
        assert task
        self._talks.add(task)
        try:
            await conversation
        finally:
            self._talks.discard(task)

    async def _carry(self, payload: bytes, operator: str, writer: asyncio.StreamWriter) -> None:
        """Submit one command and write its steps until the last."""
        steps: asyncio.Queue[CommandStep] = asyncio.Queue()
        self._submit(Request(payload, operator, None, False, time.time(), steps.put_nowait))
        final = False
        while not final:
            step = await steps.get()
            final = step.final
            writer.write(step.model_dump_json(exclude_none=True).encode() + b"\n")
            await writer.drain()


def _asks_for_a_console(line: bytes) -> bool:
    if b'"console"' not in line:
        return False
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and "console" in said
