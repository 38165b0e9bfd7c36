"""For each kind of probe a world in which it says yes, no or unavailable, waits in vain, or hears nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from boardherd_agent.watch.probes import Probe, build_probes
from boardherd_agent.watch.probes.command import CommandProbe
from boardherd_agent.watch.probes.ping import PingProbe
from boardherd_agent.watch.probes.ssh import SshProbe
from boardherd_agent.watch.probes.usb import UsbProbe
from boardherd_agent.watch.probing import echo, icmp
from boardherd_agent.watch.probing.icmp import Pinger, PingError
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.resolver import Addresses, Resolver
from boardherd_shared.lab import BoardConfig

HOST = "127.0.0.1"
NOISE = bytes(range(256)) + b"\xff\xfe HTTP/9 SSH \r\n\x00\n" * 4
State = Literal["yes", "no", "unavailable", "slow", "garbled"]
STATES: tuple[State, ...] = ("yes", "no", "unavailable", "slow", "garbled")


def probe_named(name: str, means: Means | None = None, **keys: Any) -> Probe:
    """Return the probe that lab.toml would name so, for a board on the loopback address."""
    config = BoardConfig.model_validate({"board_ip": HOST, "probes": [name]} | keys)
    return build_probes("evm-07", config, means)[0]


def no_names() -> Means:
    """Means with a name service that does not answer."""

    def look_up(host: str) -> Addresses:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    return Means(resolver=Resolver(look_up=look_up))


@contextlib.asynccontextmanager
async def serving(
    *says: bytes, hang_up: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server that says its pieces to everyone, and then waits or hangs up. Yields its port."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for piece in says:
                writer.write(piece)
                await writer.drain()
            while not hang_up and await reader.read(1000):
                pass
        writer.close()
        writers.discard(writer)

    listener = await asyncio.start_server(serve, HOST, 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await listener.wait_closed()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def closed() -> AsyncIterator[int]:
    """A port that stays closed: taken, but not listened on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


@contextlib.asynccontextmanager
async def deaf() -> AsyncIterator[int]:
    """A port on which nothing answers, not even a refusal: the accept queue is full, Linux drops each SYN."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class Wire(socket.socket):
    """What an ICMP socket would be if the network were one object: a real socket whose other end is a test's.

    Every address may be sent to, everything arrives at :attr:`far`, and what that sends comes from ``sender``.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        super().__init__(near.family, near.type, near.proto, near.detach())
        self.setblocking(False)
        self.far = far
        self.sender = HOST
        self.sent: list[bytes] = []
        self.answer: Callable[[bytes], list[bytes]] = lambda _request: []

    @classmethod
    def pair(cls) -> Wire:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return cls(near, far)

    def sendto(self, data: Any, address: Any) -> int:  # type: ignore[override]
        self.sent.append(bytes(data))
        for packet in self.answer(bytes(data)):
            self.far.send(packet)
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        return self.recv(bufsize, flags), (self.sender, 0)

    def close(self) -> None:
        self.far.close()
        super().close()


def wired(answer: Callable[[bytes], list[bytes]]) -> Pinger:
    """A pinger on a network in which ``answer`` says what comes back for a request."""

    def opener(family: int) -> socket.socket:
        wire = Wire.pair()
        wire.answer = answer
        return wire

    return Pinger(opener=opener)


def echo_of(request: bytes) -> bytes:
    """Return the reply to an echo request."""
    return bytes((echo.V4.reply, 0)) + request[2:]


def unreachable(request: bytes, code: int = 1, target: str = HOST) -> bytes:
    """Return what a router says of an echo request to ``target`` that did not arrive."""
    header = bytes((0x45, 0, 0, 0, 0, 0, 0, 0, 64, socket.IPPROTO_ICMP, 0, 0, *socket.inet_aton("10.0.0.9")))
    return bytes((echo.V4.unreachable, code)) + bytes(6) + header + socket.inet_aton(target) + request[:8]


def pings_for_real() -> bool:
    """Tell whether this process may send echo requests."""
    try:
        icmp.open_socket(socket.AF_INET).close()
    except PingError:
        return False
    return True


class Rig(ABC):
    """The worlds of one kind of probe."""

    answers: Mapping[State, str] = {
        "yes": "yes", "no": "no", "unavailable": "unavailable", "slow": "no", "garbled": "no",
    }  # fmt: skip

    silent: Sequence[State] = ("slow",)
    """In which worlds a look ends because its time is over."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def within_s(self, state: State) -> float:
        """How long a look is given; where something answers, a busy machine gets its time."""
        return 0.2 if state in self.silent else 20

    @abstractmethod
    def world(self, state: State) -> AbstractAsyncContextManager[Probe]:
        """Make the world in which a probe finds ``state``, and yield the probe."""


class PingRig(Rig):
    """The loopback address as far as it may be pinged; routers and silence are played."""

    silent = ("slow", "garbled")

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.answers = dict(self.answers) | {"yes": "yes" if pings_for_real() else "unavailable"}

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        if state == "yes":
            yield probe_named("ping")
        elif state == "unavailable":

            def forbidden(family: int) -> socket.socket:
                raise PingError(icmp.NOT_PERMITTED)

            yield PingProbe(HOST, Means(pinger=Pinger(opener=forbidden)))
        else:
            yield PingProbe(HOST, Means(pinger=wired(getattr(self, f"_{state}"))))

    def _no(self, request: bytes) -> list[bytes]:
        return [unreachable(request)]

    def _slow(self, request: bytes) -> list[bytes]:
        return []

    def _garbled(self, request: bytes) -> list[bytes]:
        return [NOISE, b"", b"\x45", echo_of(b"\x08" * 16), echo_of(request)[:-1]]


Serves = Callable[[], AbstractAsyncContextManager[int]]


class TcpRig(Rig):
    """Ports that accept, refuse or stay deaf. What a server says means nothing to this probe."""

    answers = dict(Rig.answers) | {"garbled": "yes"}

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        if state == "unavailable":
            yield probe_named("tcp:80", no_names(), board_ip="evm-07.lab")
            return
        ports: Mapping[State, Serves] = {
            "yes": serving,
            "no": closed,
            "slow": deaf,
            "garbled": lambda: serving(NOISE, hang_up=True),
        }
        async with ports[state]() as port:
            yield probe_named(f"tcp:{port}")


class SshRig(Rig):
    """Servers with a banner, without one, and others."""

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        if state == "unavailable":
            yield probe_named("ssh", no_names(), board_ip="evm-07.lab")
            return
        ports: Mapping[State, Serves] = {
            "yes": lambda: serving(b"SSH-2.0-OpenSSH_9.6\r\n"),
            "no": closed,
            "slow": serving,
            "garbled": lambda: serving(NOISE, hang_up=True),
        }
        async with ports[state]() as port:
            yield (
                SshProbe(HOST, port, Means(), banner_s=0.2) if state == "slow" else probe_named(f"ssh:{port}")
            )


class HttpRig(Rig):
    """Servers that answer with a status, with nothing, with nonsense."""

    kind = "http"

    def tls(self) -> ssl.SSLContext | None:
        return None

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        if state == "unavailable":
            yield probe_named(self.kind, no_names(), board_ip="evm-07.lab")
            return
        tls = self.tls()
        ports: Mapping[State, Serves] = {
            "yes": lambda: serving(b"HTTP/1.1 200 ", b"OK\r\nContent-Length: 9\r\n\r\n", tls=tls),
            "no": lambda: serving(b"HTTP/1.0 503 Service Unavailable\r\n\r\n", tls=tls),
            "slow": serving,
            "garbled": lambda: serving(NOISE, hang_up=True),
        }
        async with ports[state]() as port:
            yield probe_named(f"{self.kind}:{port}/health")


class HttpsRig(HttpRig):
    """The same over TLS, with a certificate that nobody signed."""

    kind = "https"

    def tls(self) -> ssl.SSLContext:
        certificate, key = self.place / "board.crt", self.place / "board.key"
        if not key.exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", "/CN=board", "-days", "3", "-keyout", key, "-out", certificate],
                check=True, capture_output=True,
            )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


@dataclass
class UsbTree:
    """A directory as /sys/bus/usb/devices."""

    root: Path
    bus: str = field(default="usb1")

    def __post_init__(self) -> None:
        (self.root / self.bus).mkdir(parents=True)

    def plug(self, port: str, *interfaces: tuple[int, int, int], **attributes: str) -> None:
        """Plug a device in, or change it."""
        place = self.root / port
        place.mkdir(exist_ok=True)
        for name, text in (
            {"idVendor": "1d6b", "idProduct": "0104", "bcdDevice": "0100"} | attributes
        ).items():
            (place / name).write_text(text + "\n")
        for number, interface in enumerate(interfaces):
            beside = self.root / f"{port}:1.{number}"
            beside.mkdir(exist_ok=True)
            for name, value in zip(
                ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"), interface, strict=True
            ):
                (beside / name).write_text(f"{value:02x}\n")


class UsbRig(Rig):
    """A tree of files as sysfs has it; an attribute that blocks its reader is a FIFO."""

    answers = dict(Rig.answers) | {"slow": "unavailable"}

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        root = self.place / state
        probe = UsbProbe("usb-1-1.4", "1-1.4", sysfs=root)
        if state == "unavailable":
            yield probe
            return
        tree = UsbTree(root)
        tree.plug("1-1", idVendor="05e3", idProduct="0608")
        if state == "yes":
            tree.plug("1-1.4", (2, 6, 0), product="Linux evm", manufacturer="TI")
        elif state == "garbled":
            tree.plug("1-1.4", idVendor="\x00\x00", idProduct="evm", bcdDevice="", product="\x1b[31m")
        elif state == "slow":
            tree.plug("1-1.4")
            (root / "1-1.4/idVendor").unlink()
            os.mkfifo(root / "1-1.4/idVendor")
        try:
            yield probe
        finally:
            if state == "slow":
                _release(root / "1-1.4/idVendor")


def _release(fifo: Path) -> None:
    """Let the readers of a FIFO go; none may be there."""
    with contextlib.suppress(OSError):
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    fifo.unlink()


class CommandRig(Rig):
    """Programs in a directory of their own; a test sets the variable that names it."""

    scripts: Mapping[State, str] = {
        "yes": "echo fan turns with 1200 rpm",
        "no": "echo the fan stands still; exit 1",
        "unavailable": "echo no such sensor >&2; exit 2",
        "slow": "sleep 60 & sleep 60",
        "garbled": "printf '\\377\\000\\033[31m'; exit 77",
    }
    answers = dict(Rig.answers) | {"garbled": "unavailable"}

    @contextlib.asynccontextmanager
    async def world(self, state: State) -> AsyncIterator[Probe]:
        program = self.place / "fan"
        program.write_text(f"#!/bin/sh\n{self.scripts[state]}\n")
        program.chmod(0o755)
        yield CommandProbe(
            "command-fan", "fan", ("evm-07", HOST), Means(), least_s=0.2 if state == "slow" else 20
        )


RIGS: dict[str, type[Rig]] = {
    "ping": PingRig,
    "tcp": TcpRig,
    "ssh": SshRig,
    "http": HttpRig,
    "https": HttpsRig,
    "usb": UsbRig,
    "command": CommandRig,
}
