"""Probes against real sockets, ports and pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from boardherd_agent.watch.board import BoardWatch
from boardherd_agent.watch.probes.ping import PingProbe
from boardherd_agent.watch.probes.ssh import SshProbe
from boardherd_agent.watch.probes.tcp import TcpProbe
from boardherd_agent.watch.probing.icmp import NOT_PERMITTED, Pinger, PingError, open_socket
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.prober import Pace
from boardherd_agent.watch.probing.resolver import Address, Addresses, Resolver
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import BoardConfig
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Power, Verdict
from support.consoles import Board, until
from support.ports import free_port
from support.probe_rigs import Wire, echo_of, pings_for_real, probe_named, serving, unreachable, wired

HOST = "127.0.0.1"


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
        outcome = await TcpProbe(HOST, port, Means()).check(2)
    assert (outcome.answer, outcome.stack_up) == ("yes", True)
    assert outcome.duration_s is not None


async def test_tcp_refused_proves_the_ip_stack(closed_port: int) -> None:
    outcome = await TcpProbe(HOST, closed_port, Means()).check(2)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", True, "refused: the IP stack is up")


async def test_tcp_silence(deaf_port: int) -> None:
    outcome = await TcpProbe(HOST, deaf_port, Means()).check(0.2)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", False, "no answer within 0.2 s")


async def test_ssh_banner() -> None:
    async with server(b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        outcome = await SshProbe(HOST, port, Means()).check(2)
    assert (outcome.answer, outcome.text) == ("yes", "SSH-2.0-OpenSSH_9.6")


async def test_ssh_banner_in_pieces_after_other_lines() -> None:
    """RFC 4253 section 4.2 lets a server say other lines first."""
    async with server(
        b"Welcome to\r\nthe lab\r\nSSH-2", b".0-dropbear_2022.83\r", b"\n", pause_s=0.01
    ) as port:
        outcome = await SshProbe(HOST, port, Means()).check(2)
    assert (outcome.answer, outcome.text) == ("yes", "SSH-2.0-dropbear_2022.83")


async def test_ssh_reads_at_most_255_bytes_and_shows_no_control_characters() -> None:
    async with server(b"SSH-2.0-\x1b[31m" + b"x" * 5000) as port:
        outcome = await SshProbe(HOST, port, Means()).check(2)
    assert outcome.answer == "yes"
    assert outcome.text.isprintable()
    assert len(outcome.text) <= 255


async def test_ssh_port_that_speaks_something_else() -> None:
    async with server(b"220 ftp ready\r\n", close=True) as port:
        outcome = await SshProbe(HOST, port, Means()).check(2)
    assert (outcome.answer, outcome.stack_up) == ("no", True)
    assert "220 ftp ready" in outcome.text


async def test_ssh_server_that_stays_mute() -> None:
    async with server() as port:
        outcome = await SshProbe(HOST, port, Means(), banner_s=0.1).check(0.1)
    assert (outcome.answer, outcome.stack_up, outcome.text) == ("no", True, "connected, but it stays mute")


async def test_ssh_refused(closed_port: int) -> None:
    assert (await SshProbe(HOST, closed_port, Means()).check(2)).text == "refused: the IP stack is up"


async def test_ping_answers_or_says_honestly_that_it_may_not() -> None:
    outcome = await PingProbe(HOST, Means()).check(2)
    assert outcome.answer in {"yes", "unavailable"}
    assert (outcome.answer == "yes") == (outcome.text != NOT_PERMITTED)


async def test_a_forbidden_ping_is_no_evidence_against_the_board() -> None:
    def forbidden(family: int) -> socket.socket:
        raise PingError(NOT_PERMITTED)

    outcome = await PingProbe(HOST, Means(pinger=Pinger(opener=forbidden))).check(2)
    assert (outcome.answer, outcome.text) == ("unavailable", NOT_PERMITTED)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.7.8.9", "::1"])
async def test_every_address_of_this_machine_is_pinged_through_one_socket(address: str) -> None:
    opened: list[int] = []

    def opener(family: int) -> socket.socket:
        opened.append(family)
        return open_socket(family)

    means = Means(pinger=Pinger(opener=opener))
    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(PingProbe(address, means).check(5), name="look") for _ in range(50)]
    answers = {(look.result().answer, look.result().stack_up) for look in looks}
    assert len(opened) == 1 or not pings_for_real()
    assert answers == {("yes", True)} if pings_for_real() else answers == {("unavailable", False)}, looks[
        0
    ].result()


async def test_the_socket_is_kept_only_while_somebody_wants_it_kept() -> None:
    wires: list[Wire] = []

    def opener(family: int) -> socket.socket:
        wires.append(Wire.pair())
        wires[-1].answer = lambda request: [echo_of(request)]
        return wires[-1]

    means = Means(pinger=Pinger(opener=opener))
    probe = PingProbe(HOST, means)
    assert (await probe.check(20)).answer == "yes"
    assert [wire.fileno() for wire in wires] == [-1]
    with means.pinger.kept_open():
        assert [(await probe.check(20)).answer for _ in range(3)] == ["yes"] * 3
        assert [wire.fileno() == -1 for wire in wires] == [True, False]
    assert [wire.fileno() for wire in wires] == [-1, -1]


@pytest.mark.parametrize(
    ("code", "answer", "says"),
    [
        (1, "no", "127.0.0.1 says: there is no such host"),
        (7, "no", "no such host"),
        (0, "unavailable", "there is no way there (ICMP type 3 code 0)"),
        (13, "unavailable", "code 13"),
    ],
)
async def test_a_router_that_cannot_deliver_is_quoted(code: int, answer: str, says: str) -> None:
    """That there is no such host is about the board, that there is no way to it is not."""
    means = Means(pinger=wired(lambda request: [unreachable(request, code)]))
    outcome = await PingProbe(HOST, means).check(20)
    assert (outcome.answer, outcome.stack_up) == (answer, False)
    assert says in outcome.text


async def test_what_belongs_to_others_is_no_answer() -> None:
    """A raw socket hears the replies to everybody's requests, and quotations of requests to other hosts."""

    def others(request: bytes) -> list[bytes]:
        token = echo_of(request)[:-1] + b"?"
        return [token, unreachable(request, target="127.0.0.2"), request]

    outcome = await PingProbe(HOST, Means(pinger=wired(others))).check(0.2)
    assert (outcome.answer, outcome.text) == ("no", "no answer within 0.2 s")


async def test_a_reply_from_somebody_else_is_no_answer() -> None:
    def opener(family: int) -> socket.socket:
        wire = Wire.pair()
        wire.sender, wire.answer = "10.0.0.1", lambda request: [echo_of(request)]
        return wire

    assert (await PingProbe(HOST, Means(pinger=Pinger(opener=opener))).check(0.2)).answer == "no"


@pytest.mark.parametrize(
    ("written", "answer", "text"),
    [
        ("http:{}", "no", "404 Not Found"),
        ("http:{}#404", "yes", "404 Not Found"),
        ("http:{}#200", "no", "404 Not Found, expected 200"),
    ],
)
async def test_http_the_status_that_is_right(written: str, answer: str, text: str) -> None:
    async with serving(b"HTTP/1.1 404 Not Found\r\n") as port:
        outcome = await probe_named(written.format(port)).check(20)
    assert (outcome.answer, outcome.text, outcome.stack_up) == (answer, text, True)


async def test_http_follows_no_redirect_and_reads_no_body() -> None:
    moved = b"HTTP/1.1 301 Moved Permanently\r\nLocation: http://10.0.0.1/\r\n\r\n" + b"x" * 10_000_000
    async with serving(moved) as port:
        outcome = await probe_named(f"http:{port}").check(20)
    assert (outcome.answer, outcome.text) == ("yes", "301 Moved Permanently")


async def test_http_asks_for_the_path_of_the_host() -> None:
    asked = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert (await probe_named(f"http:{port}/a/b?c=%20d").check(20)).text == "204 No Content"
    lines = (await asked).decode().splitlines()
    assert lines[:2] == ["GET /a/b?c=%20d HTTP/1.1", f"Host: 127.0.0.1:{port}"]


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 2", b"\n", b"HTTP/1.1 200 OK" + b"x" * 9000])
async def test_http_an_answer_that_is_none(says: bytes) -> None:
    async with serving(*filter(None, [says]), hang_up=True) as port:
        outcome = await probe_named(f"http:{port}").check(20)
    assert (outcome.answer, outcome.stack_up) == ("no", True)
    assert outcome.text.startswith(("no HTTP server", "hung up without an answer", "reset"))


async def test_https_where_there_is_no_tls() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        outcome = await probe_named(f"https:{port}").check(20)
    assert (outcome.answer, outcome.stack_up) == ("no", True)
    assert "no TLS" in outcome.text


async def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    def look_up(host: str) -> Addresses:
        return Address(socket.AF_INET, ("127.0.0.2", 0)), Address(socket.AF_INET, (HOST, 0))

    async with serving() as port:
        outcome = await TcpProbe("evm-07.lab", port, Means(resolver=Resolver(look_up=look_up))).check(20)
    assert outcome.answer == "yes"


async def test_a_name_that_the_real_resolver_does_not_know() -> None:
    """OPS-1: a fault of the name service is not the board's, and is named."""
    outcome = await TcpProbe("no-such-board.invalid", 80, Means()).check(5)
    assert outcome.answer == "unavailable"
    assert '"no-such-board.invalid"' in outcome.text


# A whole board


@pytest.fixture
def board() -> Iterator[Board]:
    line = Board()
    yield line
    line.vanish()


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
        on_boot=lambda _board, times, _how: boots.append(times),
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
            "console_s", "spl_s", "uboot_s", "kernel_s", "login_s", "tcp_s", "ssh_s",
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
