"""Shares consoles with people and programs of this machine: everybody reads, the holder of the board writes.

Over the agent's Unix socket a client asks for a console by a line of JSON (:mod:`boardherd_shared.console`).
For programs that can only open a TCP port there is ``console_tcp`` of lab.toml, on the loopback interface.

Who may write is asked anew for every few bytes, so a lock that has ended writes no more, whatever was typed
ahead. Nobody who reads slowly holds up the port or another reader: each has his own place in the scrollback.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from boardherd_agent.watch.consoles.console import Console
from boardherd_agent.watch.consoles.passing import MayWrite, Pen, Reader, chunks, claiming, share
from boardherd_agent.watch.consoles.telling import Lines, Raw
from boardherd_shared.backoff import delays
from boardherd_shared.console import ConsoleAnswer, ConsoleRequest
from boardherd_shared.messages import ProtocolError, decode, encode
from boardherd_shared.values import one_line

LOOPBACK = "127.0.0.1"

_MOST = 64
"""Readers of one console at the same time."""

UserOf = Callable[[tuple[str, int], tuple[str, int]], str | None]
"""Returns whose end of a TCP connection on this machine the first is, given both ends; None if nobody knows."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """How lab.toml has a board's console."""

    mode: str
    tcp: int | None = None


class Sharing:
    """Serves the consoles of this agent's boards."""

    def __init__(
        self,
        places: Mapping[str, Place],
        consoles: Mapping[str, Console],
        may_write: MayWrite,
        user_of: UserOf,
    ) -> None:
        """Prepare; :meth:`run` opens the TCP ports.

        Args:
            places: every board of this agent.
            consoles: those of them that are watched.
            may_write: asked for every few bytes that somebody writes.
            user_of: who is at the other end of a TCP connection.
        """
        self._places, self._consoles = places, consoles
        self._may_write, self._user_of = may_write, user_of
        self._admitted: dict[tuple[str, str], str] = {}
        self._readers = dict.fromkeys(places, 0)

    async def run(self) -> None:
        """Listen on every TCP port of lab.toml, until cancelled."""
        async with asyncio.TaskGroup() as ports:
            for board, place in self._places.items():
                if place.tcp and board in self._consoles:
                    ports.create_task(self._listen(board, place.tcp), name=f"console port {place.tcp}")

    async def converse(
        self, payload: bytes, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one request at the Unix socket and, if it is granted, share the console until one side closes."""
        try:
            request = decode(ConsoleRequest, payload)
        except ProtocolError as error:
            writer.write(_line(ConsoleAnswer(granted=False, text=one_line(str(error)))))
            return
        answer = self._answer(request, user)
        writer.write(_line(answer))
        if request.want != "share" or not answer.granted:
            return
        console = self._consoles[request.console]
        pen = Pen(request.console, user, request.lock, self._may_write) if request.write else None
        reader_of = Reader(
            console,
            console.scrollback.offset_of_last(request.scrollback),
            writer,
            Lines(console.scrollback) if request.lines else Raw(),
        )
        with self._counted(request.console):
            await share(reader_of, chunks(reader), pen)

    @contextlib.contextmanager
    def _counted(self, board: str) -> Iterator[None]:
        self._readers[board] += 1
        try:
            yield
        finally:
            self._readers[board] -= 1

    def _answer(self, request: ConsoleRequest, user: str) -> ConsoleAnswer:
        board, place = request.console, self._places.get(request.console)
        if place is None:
            return ConsoleAnswer(granted=False, known=False, text=one_line(f"no board {board} here"))
        console = self._consoles.get(board)
        if console is None:
            text = f"{board} has no console here: lab.toml names none, or has it switched off"
            return ConsoleAnswer(granted=False, text=text, mode="off")
        refusal = self._may_write(board, user, request.lock)
        told = ConsoleAnswer(
            granted=True,
            text="",
            mode="tap" if console.tap else "when-idle",
            open=_opened_by_programs(console, place),
            write=console.tap and not refusal,
        )
        update: dict[str, object] = {"text": one_line(refusal)}
        match request.want:
            case "where":
                update["granted"] = True
            case "admit":
                update["granted"] = told.write
                if told.write and request.lock:
                    self._admitted[board, user] = request.lock
            case _:
                update |= self._sharing_answer(console, refusal)
        return told.model_copy(update=update)

    def _sharing_answer(self, console: Console, refusal: str) -> dict[str, object]:
        if console.left_to:
            how = f"its serial port is {console.left_to}"
            opened = f'open {console.device} if that is you, or set console = "tap" in lab.toml to share it'
            return {"granted": False, "text": one_line(f"{console.board}: {how}; {opened}")}
        if self._readers[console.board] >= _MOST:
            return {
                "granted": False,
                "text": f"{console.board}: {_MOST} readers have its console open already",
            }
        if not console.tap:
            return {
                "text": f"the agent only listens here; to write, lock {console.board} and open"
                f' {one_line(console.device)}, or set console = "tap"'
            }
        return {"text": one_line(refusal)}

    async def _listen(self, board: str, port: int) -> None:
        """Serve one TCP port; one that another program has is tried again."""
        talks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            task.set_name(f"console of {board} over TCP")
            talks.add(task)
            try:
                await self._serve_tcp(board, reader, writer)
            except asyncio.CancelledError:
                pass  # the agent stops; asyncio would tell a cancelled handler as a fault
            finally:
                talks.discard(task)
                writer.close()

        waits = delays()
        try:
            while True:
                try:
                    server = await asyncio.start_server(serve, LOOPBACK, port)
                except OSError as error:
                    log.warning("a console is not served over TCP", board=board, port=port, why=str(error))
                    await asyncio.sleep(next(waits))
                    continue
                async with server:
                    await server.serve_forever()
        finally:
            for task in talks:
                task.cancel()
            await asyncio.gather(*talks, return_exceptions=True)

    async def _serve_tcp(
        self, board: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        console = self._consoles[board]
        start = console.scrollback.end
        if self._readers[board] >= _MOST:
            return
        ends = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        user = await asyncio.to_thread(self._user_of, *ends) or ""

        def may_write(board: str, user: str, lock_id: str | None) -> str:
            refusal = self._may_write(board, user, lock_id)
            admitted = self._admitted.get((board, user))
            return refusal and (self._may_write(board, user, admitted) if admitted else refusal)

        pen = Pen(board, user, None, may_write)
        with self._counted(board):
            await share(Reader(console, start, writer, Raw()), claiming(reader, pen), pen)


def _opened_by_programs(console: Console, place: Place) -> str | None:
    if not console.tap:
        return one_line(console.device)
    return f"socket://{LOOPBACK}:{place.tcp}" if place.tcp else None


def _line(answer: ConsoleAnswer) -> bytes:
    return encode(answer) + b"\n"
