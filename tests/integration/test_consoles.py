"""Consoles of real pseudo-terminals and terminal servers: heard, left, and never a byte taken from anybody."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from boardherd_agent.watch.booting.boot_patterns import Stage
from boardherd_agent.watch.consoles.openers import holders
from boardherd_agent.watch.consoles.remote_port import connect
from boardherd_agent.watch.consoles.serial_port import SerialUnavailable, lock_holder
from support.consoles import Board, Ears, until
from support.ports import free_port

HOST = "127.0.0.1"
TIOCGEXCL = 0x80045440
"""Tells whether a terminal refuses further openers (Linux, asm-generic/ioctls.h)."""


@pytest.fixture
def board() -> Iterator[Board]:
    line = Board()
    yield line
    line.vanish()


@contextlib.asynccontextmanager
async def serving(says: bytes) -> AsyncIterator[int]:
    """A terminal server whose port says something to everyone; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        assert await reader.read() == b"", "a console that only listens has written something"
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.sleep(0.01)


async def test_a_console_is_heard_and_never_written_to(board: Board, tmp_path: Path) -> None:
    attributes = termios.tcgetattr(board.slave)
    attributes[2] |= termios.HUPCL
    termios.tcsetattr(board.slave, termios.TCSANOW, attributes)
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await until(lambda: ears.state == "")
        board.says(b"\r\nU-Boot SPL 2024.04\r\nU-Boot 20")
        board.says(b"24.04\r\nHit any key to stop autoboot:  2 ")
        await until(lambda: ears.stages == [Stage.SPL, Stage.UBOOT])
        assert board.received() == b""
        assert not board.lockable
    times = [heard.up for heard in ears.heard if heard.stage]
    assert times == sorted(set(times)), "signs of one chunk keep their order"
    assert board.lockable, "closed behind us"
    assert not termios.tcgetattr(board.slave)[2] & termios.HUPCL, "closing must not drop DTR"


async def test_a_console_that_vanishes_is_opened_again(tmp_path: Path) -> None:
    first, second = Board(), Board()
    link = tmp_path / "usb-console"
    link.symlink_to(first.path)
    ears = Ears(str(link), tmp_path)
    try:
        async with ears.listening():
            await until(lambda: ears.state == "")
            first.vanish()
            link.unlink()
            await until(lambda: "lost" in (ears.state or "") or "not there" in (ears.state or ""))
            await until(lambda: "not there" in (ears.state or ""))
            link.symlink_to(second.path)
            await until(lambda: ears.state == "")
            second.says(b"evm login: ")
            await until(lambda: ears.stages == [Stage.LOGIN])
    finally:
        first.vanish()
        second.vanish()


async def test_a_console_that_another_program_holds_is_busy(board: Board, tmp_path: Path) -> None:
    ears = Ears(board.path, tmp_path)
    fcntl.flock(board.slave, fcntl.LOCK_EX)
    async with ears.listening():
        await until(lambda: ears.state is not None)
        assert "busy: another program has locked" in (ears.state or "")
        fcntl.flock(board.slave, fcntl.LOCK_UN)
        await until(lambda: ears.state == "")


async def test_a_lock_file_is_respected_and_the_port_left_when_one_appears(
    board: Board, tmp_path: Path
) -> None:
    lock = tmp_path / f"LCK..{Path(board.path).name}"
    lock.write_text(f"{os.getppid():>10}\n")
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await until(lambda: f"process {os.getppid()}" in (ears.state or ""))
        lock.unlink()
        await until(lambda: ears.state == "")
        lock.write_text(f"{os.getppid():>10}\n")
        await until(lambda: "left to process" in (ears.state or ""))
        await until(lambda: board.lockable)


@pytest.mark.parametrize("content", ["", "nonsense", "999999999", "-1", "our own"])
def test_a_stale_lock_file_counts_for_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "LCK..ttyUSB0").write_text(content.replace("our own", str(os.getpid())))
    assert lock_holder("/dev/ttyUSB0", tmp_path) is None


async def test_a_terminal_server_is_heard(tmp_path: Path) -> None:
    async with serving(b"Linux version 6.6\r\nevm login: ") as port:
        ears = Ears(f"socket://{HOST}:{port}", tmp_path)
        async with ears.listening():
            await until(lambda: ears.stages == [Stage.KERNEL, Stage.LOGIN])


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("/dev/no-such-port", "/dev/no-such-port is not there"),
        ("/etc/passwd", "/etc/passwd"),
        ("telnet://127.0.0.1:1", "write socket://host:port or rfc2217://host:port"),
        ("rfc2217://127.0.0.1:closed", "refused"),
        ("socket://127.0.0.1", "write socket://host:port"),
        ("socket://127.0.0.1:x", "write socket://host:port"),
        ("socket://127.0.0.1:closed", "refused"),
        ("socket://a..b:4000", "a..b:4000: this is no host name"),
    ],
)
async def test_a_port_that_cannot_be_opened_is_named_in_words(port: str, says: str, tmp_path: Path) -> None:
    """OPS-1."""
    ears = Ears(port.replace("closed", str(free_port())), tmp_path)
    async with ears.listening():
        await until(lambda: ears.state is not None)
    assert says.lower() in (ears.state or "").lower()


async def test_a_listener_that_gives_up_while_the_port_opens_leaves_it_free(
    board: Board, tmp_path: Path
) -> None:
    for pause in (0, 0, 0.0005, 0.001, 0.002, 0.005, 0.1):
        async with Ears(board.path, tmp_path).listening():
            await asyncio.sleep(pause)
        assert board.lockable


async def test_a_second_opener_is_noticed_at_once_and_the_port_is_his(board: Board, tmp_path: Path) -> None:
    """Whoever opens the port without asking is left alone with it until he closes it; the board is in use."""
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await until(lambda: ears.state == "")
        handle = os.open(board.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            await until(lambda: board.lockable, 2)
            await until(lambda: (ears.state or "").startswith("busy: "))
            board.says(b"every byte of this is his")
            await asyncio.sleep(0.05)
            assert os.read(handle, 100) == b"every byte of this is his"
            assert ears.heard == []
        finally:
            os.close(handle)
        await until(lambda: ears.state == "")
        board.says(b"evm login: ")
        await until(lambda: ears.stages == [Stage.LOGIN])


async def test_a_second_opener_is_named_where_that_can_be_known(board: Board, tmp_path: Path) -> None:
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await until(lambda: ears.state == "")
        reader = await asyncio.create_subprocess_exec("cat", board.path, stdout=asyncio.subprocess.DEVNULL)
        try:
            left = f"busy: left to process {reader.pid}, which has opened it"
            await until(lambda: ears.state == left)
        finally:
            reader.kill()
            await reader.wait()


async def test_who_opened_the_port_under_his_lock_keeps_it_when_the_lock_ends(
    board: Board, tmp_path: Path
) -> None:
    """Not even where processes of others cannot be looked into: this process does not find itself in /proc."""
    ears, holder = Ears(board.path, tmp_path), "left to ops1, who has locked the board"
    ears.console.held = lambda: holder
    async with ears.listening():
        await until(lambda: ears.state == holder)
        await asyncio.sleep(0.05)
        handle = os.open(board.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            holder = ""
            ears.console.look_again()
            await until(lambda: ears.state == f"busy: another program has {board.path} open")
            assert board.lockable
        finally:
            os.close(handle)
        await until(lambda: ears.state == "")


async def test_a_port_that_somebody_had_before_us_is_not_shared_with_him(
    board: Board, tmp_path: Path
) -> None:
    """A program that has no lock and came first is found in /proc, and left alone until it has ended."""
    reader = await asyncio.create_subprocess_exec("cat", board.path, stdout=asyncio.subprocess.DEVNULL)
    try:
        ears = Ears(board.path, tmp_path)
        await until(lambda: reader.pid in holders(board.path))
        async with ears.listening():
            await until(lambda: ears.state == f"busy: process {reader.pid} has {board.path} open")
            reader.terminate()
            await reader.wait()
            await until(lambda: ears.state == "", 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            reader.kill()
        await reader.wait()


async def test_a_console_is_closed_when_its_board_is_taken_and_stays_so(board: Board, tmp_path: Path) -> None:
    ears, holder = Ears(board.path, tmp_path), ""
    ears.console.held = lambda: holder
    async with ears.listening():
        await until(lambda: ears.state == "")
        await ears.console.vacate()
        assert board.lockable, "closed when vacate returns, and not later"
        holder = "left to ops1, who has locked the board"
        ears.console.free()
        await until(lambda: ears.state == holder)
        assert board.lockable
        board.says(b"for ops1 alone")
        holder = ""
        ears.console.look_again()
        await until(lambda: ears.state == "")
        assert not board.lockable


async def test_a_console_of_a_locked_board_is_not_opened_at_the_start(board: Board, tmp_path: Path) -> None:
    ears = Ears(board.path, tmp_path)
    ears.console.held = lambda: "left to ops1, who has locked the board"
    async with ears.listening():
        await until(lambda: ears.state is not None)
        assert (ears.state, board.lockable) == ("left to ops1, who has locked the board", True)


async def test_a_lock_that_nobody_announced_ends_the_listening(board: Board, tmp_path: Path) -> None:
    """A lock that was taken up from the broker's mirror is heeded too."""
    ears, holder = Ears(board.path, tmp_path), ""
    ears.console.held = lambda: holder
    async with ears.listening():
        await until(lambda: ears.state == "")
        holder = "left to ops1, who has locked the board"
        await until(lambda: board.lockable, 5)


@pytest.mark.parametrize("pause", [0, 0.0005, 0.001, 0.002, 0.005])
async def test_a_console_that_is_just_being_opened_can_be_vacated(
    pause: float, board: Board, tmp_path: Path
) -> None:
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await asyncio.sleep(pause)
        await ears.console.vacate()
        assert board.lockable
        await asyncio.sleep(0.02)
        assert board.lockable
        ears.console.free()
        await until(lambda: not board.lockable)


async def test_two_who_want_the_board_at_once_do_not_open_it_for_each_other(
    board: Board, tmp_path: Path
) -> None:
    ears = Ears(board.path, tmp_path)
    async with ears.listening():
        await until(lambda: ears.state == "")
        await asyncio.gather(ears.console.vacate(), ears.console.vacate())
        ears.console.free()  # the one was refused
        await asyncio.sleep(0.05)
        assert board.lockable, "the other is not done yet"
        ears.console.free()
        await until(lambda: not board.lockable)


async def test_a_tapped_console_stays_open_and_is_written_to(board: Board, tmp_path: Path) -> None:
    ears = Ears(board.path, tmp_path, tap=True)
    ears.console.held = lambda: "left to ops1, who has locked the board"
    async with ears.listening():
        with pytest.raises(SerialUnavailable, match="not opened yet"):
            await ears.console.write(b"x")
        await until(lambda: ears.state == "")
        await ears.console.vacate()
        assert not board.lockable
        tty.setraw(board.slave)
        await ears.console.write(b"printenv\r")
        await until(lambda: board.received() == b"printenv\r")
        assert fcntl.ioctl(board.slave, TIOCGEXCL, b"\0\0\0\0") != b"\0\0\0\0", "TIOCEXCL"
        ears.console.free()
    assert fcntl.ioctl(board.slave, TIOCGEXCL, b"\0\0\0\0") == b"\0\0\0\0"


async def test_a_port_that_takes_nothing_stalls_nobody_but_the_writer(board: Board, tmp_path: Path) -> None:
    """A board that stopped the line (RTS/CTS, or a full pseudo-terminal) must not stop the agent."""
    tty.setraw(board.slave)
    ears = Ears(board.path, tmp_path, tap=True)
    async with ears.listening():
        await until(lambda: ears.state == "")
        writing = asyncio.create_task(ears.console.write(b"x" * 100_000), name="paste")
        await asyncio.sleep(0.05)
        board.says(b"evm login: ")
        await until(lambda: ears.stages == [Stage.LOGIN])
        assert not writing.done()
        written = 0
        async with asyncio.timeout(10):
            while written < 100_000:
                written += len(board.received())
                await asyncio.sleep(0)
        await writing


class PseudoSerial(serial.Serial):
    """A pseudo-terminal as a serial port: it has no modem lines, and the server's side asks for them."""

    cts = dsr = ri = cd = False


class Rfc2217Server:
    """A terminal server whose telnet side was written by others: pyserial's, on a real pseudo-terminal."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.port = 0
        self.baud = 0
        self._busy: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, HOST, port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield
            for writer in self._busy:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy.add(writer)
        loop = asyncio.get_running_loop()
        with PseudoSerial(self.device, 9600, timeout=0) as line:
            manager = serial.rfc2217.PortManager(line, writer)

            def said() -> None:
                writer.write(b"".join(manager.escape(line.read(4096))))

            loop.add_reader(line.fd, said)
            try:
                while data := await reader.read(4096):
                    line.write(b"".join(manager.filter(data)))
                    self.baud = line.baudrate
            except ConnectionError:
                pass
            finally:
                loop.remove_reader(line.fd)
                self._busy.discard(writer)
                writer.close()


async def test_a_console_behind_an_rfc2217_server(board: Board, tmp_path: Path) -> None:
    """Every byte value passes both ways, the port gets its speed, and a server that comes back is found again."""
    tty.setraw(board.slave)
    server, everything = Rfc2217Server(board.path), bytes(range(256))
    async with server.serving():
        port = server.port
        ears = Ears(f"rfc2217://{HOST}:{port}", tmp_path, tap=True)
        async with ears.listening():
            await until(lambda: server.baud == 115200)
            board.says(everything)
            await until(lambda: ears.console.scrollback.end >= 256)
            assert ears.console.scrollback.after(0, 1000)[0] == everything
            await ears.console.write(everything)
            got = b""
            async with asyncio.timeout(5):
                while len(got) < 256:
                    got += board.received()
                    await asyncio.sleep(0.01)
            assert got == everything
            for writer in set(server._busy):
                writer.transport.abort()
            await until(lambda: (ears.state or "").startswith("lost: "))
            server.baud = 0
            await until(lambda: ears.state == "" and server.baud == 115200)


async def test_connections_to_terminal_servers_are_kept_alive(tmp_path: Path) -> None:
    async with serving(b"") as port:
        transport = await connect(f"socket://{HOST}:{port}", 115200, asyncio.Protocol())
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        transport.abort()
