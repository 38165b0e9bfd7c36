"""ICMP echo requests, all through one socket for each IP version."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from boardherd_agent.watch.probing import echo
from boardherd_agent.watch.probing.resolver import Address

NOT_PERMITTED = (
    "ICMP is not permitted: widen the sysctl net.ipv4.ping_group_range or give the agent CAP_NET_RAW"
)

_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMP6_FILTER = 1
_LONGEST = 2048
_MOST_AT_ONCE = 100
"""Packets read before others get their turn."""


class PingError(Exception):
    """Somebody told why there will be no reply: this PC, or a router; the message is for a person."""

    def __init__(self, text: str, *, host_gone: bool = False) -> None:
        """Describe it; ``host_gone`` if it is about the host that was asked, and not about the way to it."""
        super().__init__(text)
        self.host_gone = host_gone


def open_socket(family: int) -> socket.socket:
    """Return an ICMP socket of the first permitted kind; raises PingError in words.

    First the datagram socket of unprivileged processes (net.ipv4.ping_group_range, closed by default), then
    the raw socket (CAP_NET_RAW).
    """
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    refused: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            refused = error
        else:
            sock.setblocking(False)
            _hear_answers_only(sock)
            return sock
    if isinstance(refused, PermissionError):
        raise PingError(NOT_PERMITTED) from refused
    raise PingError(f"ICMP cannot be used: {refused.strerror if refused else 'no socket'}") from refused


class Pinger:
    """Sends echo requests and hands out the replies. Shared by all probes of a PC; belongs to one event loop.

    A socket is open while anybody waits for a reply, and longer only within :meth:`kept_open`. A permission that
    is given meanwhile is used at once.
    """

    def __init__(self, *, opener: Callable[[int], socket.socket] = open_socket) -> None:
        """Prepare; ``opener`` makes a non-blocking socket of an address family, or raises PingError."""
        self._open = opener
        self._lines: dict[int, _Line] = {}
        self._kept_open = False

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep each socket that was opened until the end: opening one costs more than to ping."""
        self._kept_open = True
        try:
            yield
        finally:
            self._kept_open = False
            for family in list(self._lines):
                self._close_idle(family)

    async def ping(self, address: Address, within_s: float) -> float:
        """Send one request and return how many seconds the reply took.

        Raises:
            PingError: no permission, no way there, or no such host.
            TimeoutError: nobody answered within ``within_s`` seconds.
            OSError: the system refused to send it.
        """
        with self._line(address.family) as line, line.asked(address) as answer:
            async with asyncio.timeout(within_s):
                came = await answer
        if isinstance(came, Exception):
            raise came
        return came

    @contextlib.contextmanager
    def _line(self, family: int) -> Iterator[_Line]:
        """Yield the line of an address family, and close it when nobody needs it any more."""
        if family not in self._lines:
            self._lines[family] = _Line(family, self._open(family))
        line = self._lines[family]
        try:
            yield line
        finally:
            self._close_idle(family)

    def _close_idle(self, family: int) -> None:
        if not self._kept_open and not self._lines[family].answers:
            self._lines.pop(family).close()


_Came = float | PingError


@dataclass(frozen=True)
class _Answer:
    """The answer that somebody waits for."""

    host: str
    sent: float
    future: asyncio.Future[_Came]


class _Line:
    """One open socket, and who waits for what on it."""

    def __init__(self, family: int, sock: socket.socket) -> None:
        self.answers: dict[int, _Answer] = {}
        self._kind = echo.kind_of(family)
        self._sock = sock
        self._identifier = secrets.randbits(16)
        self._token = secrets.token_bytes(echo.TOKEN_BYTES)
        self._sequence = secrets.randbits(16)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @contextlib.contextmanager
    def asked(self, address: Address) -> Iterator[asyncio.Future[_Came]]:
        """Send a request, yield what will be its answer, and wait for it no longer; raises OSError."""
        sequence = self._next()
        packet = echo.request(self._kind, self._identifier, sequence, self._token)
        waiting = _Answer(_bare(address.host), time.monotonic(), self._loop.create_future())
        self.answers[sequence] = waiting
        try:
            self._sock.sendto(packet, address.at(0))
            yield waiting.future
        except BlockingIOError as error:
            raise OSError(errno.ENOBUFS, "no room to send") from error
        finally:
            del self.answers[sequence]

    def close(self) -> None:
        """Hear and send no more."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) % 65536
        while self._sequence in self.answers:
            self._sequence = (self._sequence + 1) % 65536
        return self._sequence

    def _readable(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                packet, sender = self._sock.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier packet, which has its own way to whoever sent it
            reply = echo.parse(self._kind, packet)
            if reply:
                self._hand_out(reply, _bare(str(sender[0])))

    def _hand_out(self, reply: echo.Reply, sender: str) -> None:
        """Give a reply to whoever waits for it.

        A raw socket hears the answers to everybody's requests; the kernel gives a datagram socket an
        identifier of its own, and only what belongs to it. The token tells in both cases.
        """
        waiting = self.answers.get(reply.sequence)
        if waiting is None or waiting.future.done():
            return
        if reply.trouble is None:
            if reply.token == self._token and sender == waiting.host:
                waiting.future.set_result(time.monotonic() - waiting.sent)
        elif reply.target == waiting.host and reply.identifier == self._identifier:
            text = f"{sender} says: {echo.words(self._kind, reply.trouble)}"
            waiting.future.set_result(PingError(text, host_gone=reply.trouble in self._kind.host_gone))


def _bare(host: str) -> str:
    """Return an address without its IPv6 zone."""
    return host.partition("%")[0]


def _hear_answers_only(sock: socket.socket) -> None:
    """Keep from a raw socket what is neither a reply nor an error: it would get a copy of all ICMP traffic."""
    if sys.platform != "linux" or sock.type != socket.SOCK_RAW:
        return
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET6:
            wanted = {echo.V6.reply, echo.V6.unreachable, echo.V6.time_exceeded}
            blocked = [
                sum(1 << bit for bit in range(32) if word * 32 + bit not in wanted) for word in range(8)
            ]
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
        else:
            wanted = {echo.V4.reply, echo.V4.unreachable, echo.V4.time_exceeded}
            unwanted = sum(1 << bit for bit in range(32) if bit not in wanted)
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", unwanted))
