"""The console of a board that hangs on this machine, through the agent that has it open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from boardherd.exit_codes import Exit, Failure
from boardherd.keys import HELP, Escapes, raw_keys
from boardherd.local import LocalAgent
from boardherd.targets import board_target
from boardherd_shared.console import ConsoleAnswer, ConsoleRequest
from boardherd_shared.messages import ProtocolError, decode, encode
from boardherd_shared.views import FleetView

_READ_SIZE = 65536
_ANSWER_S = 5.0


@dataclass(frozen=True)
class Talk:
    """A console that the agent was asked for: what it said, and what follows."""

    answer: ConsoleAnswer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Away(Failure):
    """No agent of this machine answered when it was asked for a console."""

    def __init__(self, message: str) -> None:
        super().__init__(Exit.UNREACHABLE, message)


@contextlib.asynccontextmanager
async def asked(agent: LocalAgent, request: ConsoleRequest) -> AsyncIterator[Talk]:
    """Ask the agent of this machine for a console; raises Away when it does not answer, Failure when it goes."""
    try:
        reader, writer = await agent.connect()
    except Failure as failure:
        raise Away(failure.message) from failure
    try:
        yield Talk(await _answer(request, reader, writer), reader, writer)
    except ConnectionError as error:
        raise Failure(Exit.UNREACHABLE, "the agent of this machine is gone") from error
    finally:
        writer.close()


async def _answer(
    request: ConsoleRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> ConsoleAnswer:
    writer.write(encode(request) + b"\n")
    try:
        async with asyncio.timeout(_ANSWER_S):
            return decode(ConsoleAnswer, await reader.readline())
    except TimeoutError as error:
        raise Away(f"the agent of this machine did not answer within {_ANSWER_S:g} s") from error
    except ConnectionError as error:
        raise Away("the agent of this machine hung up without an answer") from error
    except ProtocolError as error:
        raise Away("the agent of this machine knows no consoles; it is an older one") from error


async def whereabouts(agent: LocalAgent, board: str, lock: str | None = None) -> ConsoleAnswer | None:
    """Return how a program of this user opens the console of ``board``, and whether it may write there.

    With ``lock``, what this user opens over TCP may write from now on until that lock ends. None: the board does
    not hang on this machine, or its agent does not answer.
    """
    if sys.platform == "win32":
        return None
    request = ConsoleRequest(console=board, want="admit" if lock else "where", lock=lock)
    try:
        async with asked(agent, request) as talk:
            return talk.answer if talk.answer.known else None
    except Failure:
        return None


def elsewhere(fleet: FleetView, name: str, away: Failure | None) -> Failure:
    """Return where the console of the board that ``name`` means is, as what keeps it from being shown here."""
    target = board_target(fleet, name)
    pc = next((pc for pc in fleet.pcs if pc.id == target.pc), None)
    if away is not None and target.pc == socket.gethostname().split(".")[0].lower():
        return away
    host = (pc and (pc.hostname or pc.ip_address)) or target.pc
    return Failure(
        Exit.UNREACHABLE,
        f"the console of {target.board} is on {target.pc}, not on this machine; run: ssh -t {host} boardherd console"
        f" {target.board}",
    )


async def show(talk: Talk, *, typing: bool, stop: asyncio.Event) -> None:
    """Show a console until it ends, ``stop`` is set or ``~.`` is typed; raises Failure when the agent ends it.

    Args:
        talk: the console.
        typing: whether what is typed at the terminal goes to the board.
        stop: ends it.
    """
    with contextlib.ExitStack() as stack:
        keys = Escapes()
        if typing:
            stack.enter_context(raw_keys(sys.stdin.fileno()))
            stack.enter_context(_keys(lambda: _typed(keys, talk, stop)))
        stack.enter_context(_signals(stop))
        ended = asyncio.create_task(_copy(talk.reader), name="console")
        stopped = asyncio.create_task(stop.wait(), name="end of the console")
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
                raise Failure(Exit.REFUSED, "the agent has ended the console")
        finally:
            ended.cancel()
            stopped.cancel()
            await asyncio.gather(ended, stopped, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_READ_SIZE):
        _print(data)


def _typed(keys: Escapes, talk: Talk, stop: asyncio.Event) -> None:
    """Take what was typed."""
    try:
        typed = os.read(sys.stdin.fileno(), _READ_SIZE)
    except OSError:  # the terminal has gone
        typed = b""
    talk.writer.write(keys.feed(typed))
    if keys.help:
        keys.help = False
        _print(HELP.encode())
    if keys.leave or not typed:
        stop.set()


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _keys(typed: Callable[[], None]) -> Iterator[None]:
    """Call ``typed`` whenever the terminal has something. It stays blocking: standard output is the same one."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    loop.add_reader(descriptor, typed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Let whatever would end the process end the console, so that the terminal is put right."""
    loop = asyncio.get_running_loop()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
