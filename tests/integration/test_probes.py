"""Probes and consoles against real sockets, ports and pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import icmplib
import pytest

from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.boot_patterns import Stage
from boardherd_agent.watch.console import Console
from boardherd_agent.watch.evidence import ConsoleState, Heard
from boardherd_agent.watch.probes.icmp import NOT_PERMITTED, PingProbe
from boardherd_agent.watch.probes.ssh import SshProbe
from boardherd_agent.watch.probes.tcp import TcpProbe
from boardherd_agent.watch.probing import Pace
from boardherd_agent.watch.serial_port import lock_holder
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, Verdict
from support.clock import FakeClock
from support.ports import free_port

HOST = "127.0.0.1"


def lockable(board: Board) -> bool:
    """Tell whether nobody holds the board's console."""
    with Path(board.path).open("rb", buffering=0) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextlib.asynccontextmanager
async def server(
    *says: bytes, pause_s: float = 0.0, close: bool = False, port: int = 0
) -> AsyncIterator[int]:
    """A server that says its pieces to everyone; with ``close`` it then hangs up. Yields its port."""
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in says:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if not close:
                read.append(await reader.read())
        writer.close()

    listener = await asyncio.start_server(serve, HOST, port)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0.01)
        assert not any(read), "a probe that only reads has written something"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port on which nothing answers, not even a refusal: the accept queue is full, Linux drops each SYN."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_tcp_connected() -> None:
    async with server() as port:
        outcome = await TcpProbe(HOST, port).check(2)
    assert (outcome.answer, outcome.stack_up) == ("yes", True)
    assert outcome.duration_s is not None


async def test_tcp_refused_proves_the_ip_stack(closed_port: int) -> None:
    outcome = await TcpProbe(HOST, closed_port).check(2)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", True, "refused: the IP stack is up")


async def test_tcp_silence(deaf_port: int) -> None:
    outcome = await TcpProbe(HOST, deaf_port).check(0.2)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", False, "no answer within 0.2 s")


async def test_ssh_banner() -> None:
    async with server(b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        outcome = await SshProbe(HOST, port).check(2)
    assert (outcome.answer, outcome.text) == ("yes", "SSH-2.0-OpenSSH_9.6")


async def test_ssh_banner_in_pieces_after_other_lines() -> None:
    """RFC 4253 section 4.2 lets a server say other lines first."""
    async with server(
        b"Welcome to\r\nthe lab\r\nSSH-2", b".0-dropbear_2022.83\r", b"\n", pause_s=0.01
    ) as port:
        outcome = await SshProbe(HOST, port).check(2)
    assert (outcome.answer, outcome.text) == ("yes", "SSH-2.0-dropbear_2022.83")


async def test_ssh_reads_at_most_255_bytes_and_shows_no_control_characters() -> None:
    async with server(b"SSH-2.0-\x1b[31m" + b"x" * 5000) as port:
        outcome = await SshProbe(HOST, port).check(2)
    assert outcome.answer == "yes"
    assert outcome.text.isprintable()
    assert len(outcome.text) <= 255


async def test_ssh_port_that_speaks_something_else() -> None:
    async with server(b"220 ftp ready\r\n", close=True) as port:
        outcome = await SshProbe(HOST, port).check(2)
    assert (outcome.answer, outcome.stack_up) == ("no", True)
    assert "220 ftp ready" in outcome.text


async def test_ssh_server_that_stays_mute() -> None:
    async with server() as port:
        outcome = await SshProbe(HOST, port, banner_s=0.1).check(0.1)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", True, "connected, but it stays mute")


async def test_ssh_refused(closed_port: int) -> None:
    assert (await SshProbe(HOST, closed_port).check(2)).text == "refused: the IP stack is up"


async def test_ping_answers_or_says_honestly_that_it_may_not() -> None:
    outcome = await PingProbe(HOST).check(2)
    assert outcome.answer in {"yes", "unavailable"}
    assert (outcome.answer == "yes") == (outcome.text != NOT_PERMITTED)


async def test_a_forbidden_ping_is_no_evidence_against_the_board() -> None:
    def forbidden(family: int) -> icmplib.AsyncSocket:
        raise icmplib.SocketPermissionError(True)

    outcome = await PingProbe(HOST, opener=forbidden).check(2)
    assert (outcome.answer, outcome.text) == ("unavailable", NOT_PERMITTED)


# Consoles


class Board:
    """The far end of a serial line: a real pseudo-terminal."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        self.slave = slave
        os.set_blocking(self._master, False)

    def says(self, data: bytes) -> None:
        os.write(self._master, data)

    def received(self) -> bytes:
        try:
            return os.read(self._master, 4096)
        except BlockingIOError:
            return b""

    def vanish(self) -> None:
        for handle in (self._master, self.slave):
            with contextlib.suppress(OSError):
                os.close(handle)


@pytest.fixture
def board() -> Iterator[Board]:
    line = Board()
    yield line
    line.vanish()


class Ears:
    """A console that is listened to, and all it told."""

    def __init__(self, port: str, locks: Path) -> None:
        self.heard: list[Heard] = []
        self.states: list[ConsoleState] = []
        self.console = Console(
            "evm-07",
            port,
            115200,
            FakeClock(),
            locks=locks,
            on_heard=self.heard.append,
            on_state=self.states.append,
        )

    @property
    def state(self) -> str | None:
        return self.states[-1].trouble if self.states else None

    @property
    def stages(self) -> list[Stage]:
        return [heard.stage for heard in self.heard if heard.stage]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.console.run(), name="console under test")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the world tells nobody when it changes
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
        assert not lockable(board)
    times = [heard.up for heard in ears.heard if heard.stage]
    assert times == sorted(set(times)), "signs of one chunk keep their order"
    assert lockable(board), "closed behind us"
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
        await until(lambda: lockable(board))


@pytest.mark.parametrize("content", ["", "nonsense", "999999999", "-1", "our own"])
def test_a_stale_lock_file_counts_for_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "LCK..ttyUSB0").write_text(content.replace("our own", str(os.getpid())))
    assert lock_holder("/dev/ttyUSB0", tmp_path) is None


async def test_a_terminal_server_is_heard(tmp_path: Path) -> None:
    async with server(b"Linux version 6.6\r\nevm login: ") as port:
        ears = Ears(f"socket://{HOST}:{port}", tmp_path)
        async with ears.listening():
            await until(lambda: ears.stages == [Stage.KERNEL, Stage.LOGIN])


@pytest.mark.parametrize(
    ("port", "says"),
    [
        ("/dev/no-such-port", "/dev/no-such-port is not there"),
        ("/etc/passwd", "/etc/passwd"),
        ("rfc2217://127.0.0.1:1", "write socket://host:port"),
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
        assert lockable(board)


# A whole board

PACE = Pace(
    steady=0.1, ssh=0.1, booting=0.05, slowest=0.5, timeout=0.3, timeout_booting=0.2, tick=0.05, settle=0.2
)


async def test_a_board_boots_panics_and_is_cut_off(board: Board) -> None:
    """A real console and real ports: booting, alive with boot times, silent with its last words, powered off."""
    port, clock = free_port(), SystemClock()
    records: list[BoardRecord] = []
    boots: list[BootTimes] = []
    config = BoardConfig.model_validate({
        "board_ip": HOST, "serial_port": board.path, "power": ["eth-1:1"], "boot_time": "10s",
        "probes": [f"tcp:{port}", f"ssh:{port}", "console"],
    })  # fmt: skip
    watch = BoardWatch(
        "evm-07",
        config,
        clock,
        on_verdict=records.append,
        on_boot=lambda _, times: boots.append(times),
        pace=PACE,
    )
    task = asyncio.create_task(watch.run(), name="watch under test")
    try:
        watch.power_changed(Power.OFF, clock.up(), by_us=True)
        await until(lambda: watch.record(change=False).probes[-1].text == "the power is off")
        await asyncio.sleep(0.1)
        watch.power_changed(Power.ON, clock.up(), by_us=True)
        board.says(b"U-Boot SPL 2024.04\r\nU-Boot 2024.04\r\n")
        await until(lambda: "U-Boot seen" in watch.record(change=False).reason)
        assert watch.verdict is Verdict.BOOTING
        async with server(b"SSH-2.0-OpenSSH_9.6\r\n", port=port):
            board.says(b"Linux version 6.6\r\nevm login: ")
            times = await watch.wait_alive(10)
            await until(lambda: bool(boots))
        assert times is not None
        assert set(boots[0].model_dump(exclude_none=True)) == {
            "console_s", "uboot_s", "kernel_s", "login_s", "tcp_s", "ssh_s",
        }  # fmt: skip
        board.says(b"\r\n[   99.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n")
        await until(lambda: watch.verdict is Verdict.SILENT)
        record = watch.record(change=False)
        assert (record.blame, record.reason) == (
            Blame.BOARD, "Kernel panic - not syncing: VFS: Unable to mount root fs",
        )  # fmt: skip
        watch.power_changed(Power.OFF, clock.up(), by_us=True)
        assert watch.verdict is Verdict.POWERED_OFF
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [record.verdict for record in records if record.change][-3:] == [
        Verdict.ALIVE, Verdict.SILENT, Verdict.POWERED_OFF,
    ]  # fmt: skip
    assert board.received() == b""
