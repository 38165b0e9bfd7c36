"""Consoles shared over the agent's Unix socket and over TCP: real sockets, real pseudo-terminals, real users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import re
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boardherd_agent.local_users import user_of_tcp
from support.console_office import HOST, ID, ME, OTHERS_ID, Office, lock
from support.consoles import Board, until


@pytest.fixture
def board() -> Iterator[Board]:
    line = Board()
    tty.setraw(line.slave)
    yield line
    line.vanish()


async def test_everybody_reads_the_holder_writes(board: Board, tmp_path: Path) -> None:
    office = Office(tmp_path, board.path)
    async with office.open(), office.asks() as reader, office.asks(write=True) as writer:
        assert writer.answer == {
            "granted": True, "known": True, "mode": "tap", "write": False,
            "open": f"socket://127.0.0.1:{office.tcp}", "text": "nobody has locked evm-07; lock it to write",
        }  # fmt: skip
        writer.writer.write(b"too early\r")
        await writer.sees(b"[boardherd: not written: nobody has locked evm-07; lock it to write]")
        office.lock = lock()
        writer.writer.write(b"printenv\r")
        await until(lambda: board.received() == b"printenv\r")
        board.says(b"bootcmd=run x\r\n=> ")
        for client in (reader, writer):
            await client.sees(b"bootcmd=run x\r\n=> ")
        reader.writer.write(b"not mine")
        await reader.sees(b"[boardherd: not written: opened for reading only]")
        assert board.received() == b""


async def test_a_lock_that_ends_takes_writing_away_at_once(board: Board, tmp_path: Path) -> None:
    """CMD-4: of a long paste nothing more is written once its lock has ended, or another holder has come."""
    office = Office(tmp_path, board.path)
    office.lock = lock()
    async with office.open(), office.asks(write=True, lock=ID) as client:
        client.writer.write(b"p" * 100_000)
        got = b""

        async def collect() -> None:
            nonlocal got
            async with asyncio.timeout(0.3):
                while True:
                    got += board.received()
                    await asyncio.sleep(0.001)

        async with asyncio.timeout(10):
            while len(got) < 20_000:
                got += board.received()
                await asyncio.sleep(0)
        office.lock = lock("ops2", OTHERS_ID)
        with contextlib.suppress(TimeoutError):
            await collect()
        assert len(got) < 40_000, "what the pseudo-terminal had taken before, and no more"
        await client.sees(b"not written: the lock that was named has ended; evm-07 is locked by ops2")


@pytest.mark.parametrize("fenced", [False, True])
async def test_over_tcp_the_kernel_says_who_it_is(board: Board, tmp_path: Path, fenced: bool) -> None:
    office = Office(tmp_path, board.path)
    office.lock = lock(fenced=fenced)
    async with office.open(), office.connects() as client:
        client.writer.write(b"help\r")
        if fenced:
            await client.sees(b"not written: evm-07 is locked by")
        else:
            await until(lambda: board.received() == b"help\r")
        board.says(b"said\r\n")
        await client.sees(b"said\r\n")


async def test_over_tcp_a_first_line_names_the_lock(board: Board, tmp_path: Path) -> None:
    """For programs of another login than the lock's owner: pytest under jenkins, the lock under ci-1."""
    office = Office(tmp_path, board.path)
    office.user, office.lock = "jenkins", lock("ci-1", fenced=True)
    async with office.open(), office.connects() as client:
        client.writer.write(f"lock {ID[:5]}".encode())
        await asyncio.sleep(0.05)
        client.writer.write(f"{ID[5:]}\nprintenv\r".encode())
        await until(lambda: board.received() == b"printenv\r")
    async with office.open(), office.connects() as client:
        client.writer.write(f"lock {OTHERS_ID}\r\nreset\r".encode())
        await client.sees(b"not written: the lock that was named has ended")
    async with office.open(), office.connects() as client:
        client.writer.write(b"lockdown\r")
        await client.sees(b"not written: evm-07 is locked by ci-1")
        assert board.received() == b""


async def test_who_shows_the_locks_id_may_write_with_what_he_opens(board: Board, tmp_path: Path) -> None:
    """`boardherd acquire` does that for its program; it lasts as long as that lock."""
    office = Office(tmp_path, board.path)
    office.user = ME
    async with office.open():
        office.lock = lock("ci-1", fenced=True)
        async with office.asks(want="admit", lock=OTHERS_ID) as client:
            assert not client.answer["granted"]
            assert "has ended" in client.answer["text"]
        async with office.asks(want="admit", lock=ID) as client:
            assert client.answer["granted"]
            assert await client.to_the_end() == b""
        async with office.connects() as client:
            client.writer.write(b"mine\r")
            await until(lambda: board.received() == b"mine\r")
            office.lock = lock("ci-2", OTHERS_ID, fenced=True)
            client.writer.write(b"late\r")
            await client.sees(b"not written: ")
            assert board.received() == b""


async def test_the_past_comes_first_if_it_is_wanted(board: Board, tmp_path: Path) -> None:
    office = Office(tmp_path, board.path)
    async with office.open():
        board.says(b"U-Boot SPL 2024.04\r\nTrying to boot\r\nevm login: ")
        await until(lambda: office.console.scrollback.end > 40)
        async with office.asks(scrollback=2) as client:
            await client.sees(b"login: ")
            assert client.read == b"Trying to boot\r\nevm login: "
        async with office.asks(scrollback=9, lines=True) as client:
            await client.sees(b"Trying")
            board.says(b"root\r\n")
            await client.sees(b"root")
            lines = [json.loads(line) for line in client.read.splitlines()]
            assert [line["text"] for line in lines] == [
                "U-Boot SPL 2024.04", "Trying to boot", "evm login: root",
            ]  # fmt: skip
            assert all(line["at"] > 0 for line in lines)


async def test_who_reads_slowly_stalls_nobody_and_learns_what_he_missed(tmp_path: Path) -> None:
    """OPS-3: what is kept for readers is bounded, however slow they are."""
    flood, go = b"".join(b"%07d\n" % number for number in range(500_000)), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        for place in range(0, len(flood), 8192):
            writer.write(flood[place : place + 8192])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        office = Office(tmp_path, f"socket://{HOST}:{server.sockets[0].getsockname()[1]}")
        async with office.open(), office.asks() as slow, office.asks() as quick:
            slow._reader._transport.pause_reading()
            go.set()
            await quick.sees(flood[-8:])
            assert len(office.console.scrollback._bytes) <= 1.25 * 1024 * 1024
            slow._reader._transport.resume_reading()
            await slow.sees(flood[-8:])
            notices = re.findall(rb"\r\n\[boardherd: (\d+) bytes are missing here[^\]]*\]\r\n", slow.read)
            missed = sum(map(int, notices))
            received = re.sub(rb"\r\n\[boardherd: [^\]]*\]\r\n", b"", slow.read)
            assert missed > 1_000_000
            assert len(received) + missed == len(flood)
            assert b"missing" not in quick.read or len(quick.read) <= len(flood) + 1000


async def test_a_console_that_is_only_listened_to_is_shown_until_its_board_is_taken(
    board: Board, tmp_path: Path
) -> None:
    office, holder = Office(tmp_path, board.path, tap=False), ""
    office.console.held = lambda: holder
    async with office.open():
        async with office.asks(write=True) as client:
            assert (client.answer["granted"], client.answer["write"]) == (True, False)
            assert f"lock evm-07 and open {board.path}" in client.answer["text"]
            board.says(b"evm login: ")
            await client.sees(b"evm login: ")
            holder = "left to ops1, who has locked the board"
            office.console.look_again()
            assert (await client.to_the_end()).endswith(
                b"[boardherd: evm-07: the port is left to ops1, who has locked the board]\r\n"
            )
        async with office.asks() as client:
            assert not client.answer["granted"]
            assert "left to ops1" in client.answer["text"]
            assert f"open {board.path}" in client.answer["text"]
        async with office.asks(want="where") as client:
            assert (client.answer["granted"], client.answer["open"]) == (True, board.path)


@pytest.mark.parametrize(
    ("request_", "known", "says"),
    [
        ({"console": "evm-99"}, False, "no board evm-99 here"),
        ({"console": "evm-08"}, True, "evm-08 has no console here"),
        ({"scrollback": -1}, True, "scrollback"),
        ({"want": "everything"}, True, "want"),
    ],
)
async def test_what_is_refused_is_refused_in_words(
    board: Board, tmp_path: Path, request_: dict[str, Any], known: bool, says: str
) -> None:
    office = Office(tmp_path, board.path)
    async with office.open(), office.asks(**request_) as client:
        assert (client.answer["granted"], client.answer["known"]) == (False, known)
        assert says in client.answer["text"]
        assert await client.to_the_end() == b""


async def test_no_more_than_so_many_readers(board: Board, tmp_path: Path) -> None:
    office = Office(tmp_path, board.path)
    async with office.open(), contextlib.AsyncExitStack() as stack:
        for _ in range(64):
            await stack.enter_async_context(office.asks())
        async with office.asks() as client:
            assert not client.answer["granted"]
            assert "64 readers" in client.answer["text"]


async def test_a_tcp_port_that_somebody_has_is_served_when_it_is_free(board: Board, tmp_path: Path) -> None:
    """OPS-1: the rest goes on meanwhile."""
    office = Office(tmp_path, board.path)
    with socket.socket() as taken:
        taken.bind((HOST, office.tcp))
        async with office.open():
            async with office.asks() as client:
                assert client.answer["granted"]
            taken.close()
            async with office.connects() as client:
                board.says(b"hello\r\n")
                await client.sees(b"hello\r\n")


async def test_the_agent_stops_though_somebody_reads(board: Board, tmp_path: Path) -> None:
    """OPS-2: no conversation outlives its agent."""
    office = Office(tmp_path, board.path)
    async with contextlib.AsyncExitStack() as clients:
        async with office.open():
            local = await clients.enter_async_context(office.asks())
            over_tcp = await clients.enter_async_context(office.connects())
        assert await local.to_the_end() == await over_tcp.to_the_end() == b""


_CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(int(sys.argv[1])) as client:
    client.connect((sys.argv[3], int(sys.argv[4])))
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, f"::ffff:{HOST}")], ids=["IPv4", "IPv6"]
)
def test_whose_connection_it_is(family: int, host: str) -> None:
    """The kernel's own table tells the user, also of a program that speaks IPv4 by an IPv6 socket."""
    uid = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else os.getuid()
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(10)
        words = [str(int(family)), str(uid), host, str(server.getsockname()[1])]
        with subprocess.Popen([sys.executable, "-c", _CONNECT, *words], stdin=subprocess.PIPE) as client:
            connection, peer = server.accept()
            with connection:
                assert user_of_tcp(peer[:2], connection.getsockname()) == pwd.getpwuid(uid).pw_name
                client.communicate()
                assert user_of_tcp(peer[:2], connection.getsockname()) is None, (
                    "its end is not told for root's"
                )
