"""The agent of this machine, asked over its Unix socket: for when there is no broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from boardherd.client import Sighted, complete
from boardherd.exit_codes import Exit, Failure
from boardherd.following import follow, letter
from boardherd.targets import Target
from boardherd_shared.command import Command, CommandStep
from boardherd_shared.messages import MAX_PAYLOAD, ProtocolError, decode, encode


class LocalAgent:
    """The agent that listens on one socket. Who asks is whom the kernel names, whatever else is configured."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path, self._timeout = path, timeout

    async def send(
        self, command: Command, target: Target, sighted: Sighted | None = None
    ) -> AsyncGenerator[CommandStep]:
        """Hand over ``command`` and yield each step of its life; the last one is final.

        ``sighted`` is never told anything: the socket speaks of commands alone.
        Raises Silence when there is no answer, Failure when nobody listens or the agent stops meanwhile.
        """
        del sighted
        command = complete(command, target, self._timeout)
        sent = letter(command, encode(command), self._timeout)
        reader, writer = await self.connect()
        try:
            writer.write(sent.payload + b"\n")
            await writer.drain()
            arriving = self._steps(reader, sent.id)
            async with contextlib.aclosing(arriving), contextlib.aclosing(follow(arriving, sent)) as steps:
                async for step in steps:
                    yield step
        except ConnectionError as error:
            raise self._gone(sent.id) from error
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a conversation with the agent; raises Failure when nobody listens, or not to us."""
        try:
            return await asyncio.open_unix_connection(self._path, limit=MAX_PAYLOAD)
        except PermissionError as error:
            raise Failure(
                Exit.UNREACHABLE, f"you may not use {self._path}; members of the group boardherd may"
            ) from error
        except OSError as error:
            raise Failure(
                Exit.UNREACHABLE,
                f"no agent listens at {self._path} ({(error.strerror or str(error)).lower()})",
            ) from error

    async def _steps(self, reader: asyncio.StreamReader, command_id: str) -> AsyncGenerator[CommandStep]:
        while line := await reader.readline():
            try:
                yield decode(CommandStep, line)
            except ProtocolError as error:
                raise Failure(
                    Exit.UNREACHABLE, f"what answers at {self._path} is no agent of this version"
                ) from error
        raise self._gone(command_id)

    def _gone(self, command_id: str) -> Failure:
        return Failure(
            Exit.UNREACHABLE,
            f"the agent at {self._path} stopped; learn the outcome with the same command and --id {command_id}",
        )
