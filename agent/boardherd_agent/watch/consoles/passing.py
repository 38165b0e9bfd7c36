"""Passes bytes between one console and one client, both ways, until the client goes or the port is left."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from boardherd_agent.watch.consoles.console import Console
from boardherd_agent.watch.consoles.serial_port import SerialUnavailable
from boardherd_agent.watch.consoles.telling import Telling

_CHUNK = 64 * 1024
_TYPED = 256
"""Bytes written between two looks whether the lock still holds: 22 ms of a console at 115200 baud."""

_CLAIM_S = 1.0
_CLAIM = re.compile(rb"lock ([0-9A-Za-z]{1,64})\r?\n")
"""A first line by which a TCP client names the lock that it holds."""

MayWrite = Callable[[str, str, str | None], str]
"""Returns why a user, naming a lock or none, may not write on a board's console; empty if he may."""


@dataclass
class Pen:
    """Somebody's right to write on one console."""

    board: str
    user: str
    lock: str | None
    may_write: MayWrite

    def refusal(self) -> str:
        """Return why he may not write now; empty if he may."""
        return self.may_write(self.board, self.user, self.lock)


@dataclass(frozen=True)
class Reader:
    """Somebody who reads one console."""

    console: Console
    start: int
    """Offset in the scrollback from which on he reads."""
    writer: asyncio.StreamWriter
    telling: Telling

    def tell(self, words: str) -> None:
        """Say something about the console to him."""
        self.writer.write(self.telling.notice(words))


async def share(reader: Reader, typed: AsyncGenerator[bytes], pen: Pen | None) -> None:
    """Pass bytes both ways until the client goes, or the port is left to somebody.

    Args:
        reader: who reads.
        typed: what he types; its end is taken for his going.
        pen: his right to write; None if nothing of it is written.
    """
    board = reader.console.board
    tasks = [
        asyncio.create_task(_show(reader), name=f"showing {board}"),
        asyncio.create_task(_type(reader, typed, pen), name=f"typing on {board}"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(ConnectionError):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    """Yield what a client writes, until he goes."""
    while data := await reader.read(4096):
        yield data


async def claiming(reader: asyncio.StreamReader, pen: Pen) -> AsyncGenerator[bytes]:
    """Yield what a client writes; a first line that names a lock is kept, if without it he may not write."""
    first = b""
    if pen.refusal():
        first = await _first_line(reader)
        if claim := _CLAIM.match(first):
            pen.lock = claim[1].decode()
            first = first[claim.end() :]
    if first:
        yield first
    while data := await reader.read(4096):
        yield data


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    """Return what comes first; if it begins like a claim, the rest of its line too."""
    first = await reader.read(4096)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLAIM_S):
            while first and _begins_a_claim(first) and (more := await reader.read(4096)):
                first += more
    return first


def _begins_a_claim(first: bytes) -> bool:
    return first.startswith(b"lock "[: len(first)]) and b"\n" not in first and len(first) < 80


async def _show(reader: Reader) -> None:
    """Send what the console says, until the port is left to somebody."""
    console, writer, offset = reader.console, reader.writer, reader.start
    while True:
        if left_to := console.left_to:
            reader.tell(f"{console.board}: the port is {left_to}")
            await writer.drain()
            return
        data, missed = console.scrollback.after(offset, _CHUNK)
        if missed:
            reader.tell(f"{missed} bytes are missing here, they came faster than you read")
        if not data:
            await console.changed()
            continue
        offset += missed
        writer.write(reader.telling.said(data, offset))
        offset += len(data)
        await writer.drain()


async def _type(reader: Reader, typed: AsyncGenerator[bytes], pen: Pen | None) -> None:
    """Write what comes in while he may who writes it; what is dropped is told once until he may again."""
    told = ""
    async with contextlib.aclosing(typed) as pieces:
        async for piece in pieces:
            for place in range(0, len(piece), _TYPED):
                refusal = pen.refusal() if pen else "opened for reading only"
                refusal = refusal or await _written(reader.console, piece[place : place + _TYPED])
                if refusal and refusal != told:
                    reader.tell(f"not written: {refusal}")
                told = refusal


async def _written(console: Console, data: bytes) -> str:
    """Write ``data``; return why that was not possible, empty if it was."""
    try:
        await console.write(data)
    except SerialUnavailable as error:
        return str(error)
    return ""
