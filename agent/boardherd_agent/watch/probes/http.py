"""The http probe: does a web server answer a GET with the status that is right?

Nothing but the status line is read (RFC 9112 section 4), no redirect is followed. The https probe is this one over TLS.
"""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
import time
from dataclasses import dataclass

from boardherd_agent.watch.consoles.dialing import dial
from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, mute, no_answer, outcome_of
from boardherd_agent.watch.texts import brief
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import HttpTarget, ProbeSpec, http_target

MOST_READ = 1024
"""A status line is far shorter; a server that sends more before its first line ends is none."""
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r?\n")


@dataclass(frozen=True)
class Status:
    """The status of an answer."""

    code: int
    reason: str

    @property
    def text(self) -> str:
        """As people say it: ``404 Not Found``."""
        return f"{self.code} {self.reason}".strip()


def status_in(text: bytes) -> Status | None:
    """Return the status in the first line of an answer; None if that is no HTTP, or not complete."""
    match = _STATUS_LINE.match(text)
    return Status(int(match[1]), brief(match[2] or b"", 80)) if match else None


def request(host: str, target: HttpTarget) -> bytes:
    """Return the bytes of the request."""
    name = f"[{host}]" if ":" in host else host
    return (
        f"GET {target.path} HTTP/1.1\r\nHost: {name}:{target.port}\r\n"
        "User-Agent: boardherd\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()


class HttpProbe:
    """Asks for one path. Any status below 400 is right, unless one is named."""

    def __init__(self, name: str, host: str, target: HttpTarget, means: Means, *, tls: bool = False) -> None:
        self.name = name
        self._host = host
        self._target = target
        self._means = means
        self._tls = tls

    async def check(self, within_s: float) -> Outcome:
        """Connect within the time given, ask, and wait as long again for the status."""
        began = time.monotonic()
        try:
            sock = await dial(self._means.resolver, self._host, self._target.port, within_s)
        except TimeoutError:
            return no_answer(within_s)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        try:
            async with asyncio.timeout(within_s):
                text = await self._ask(sock)
        except TimeoutError:
            return mute()
        except ssl.SSLError as error:
            said = brief(error.reason or str(error), 80)
            return Outcome("no", f"no TLS: {said}", time.monotonic() - began, stack_up=True)
        except OSError as error:
            return outcome_of(error, time.monotonic() - began)
        return self._judge(text, time.monotonic() - began)

    async def _ask(self, sock: socket.socket) -> bytes:
        asked = request(self._host, self._target)
        return await (_over_tls(sock, asked) if self._tls else _plainly(sock, asked))

    def _judge(self, text: bytes, duration_s: float) -> Outcome:
        status = status_in(text)
        if status is None:
            said = f'no HTTP server: "{brief(text, 80)}"' if text else "hung up without an answer"
            return Outcome("no", said, duration_s, stack_up=True)
        wanted = self._target.status
        right = status.code < 400 if wanted is None else status.code == wanted
        expected = "" if right or wanted is None else f", expected {wanted}"
        return Outcome("yes" if right else "no", f"{status.text}{expected}", duration_s, stack_up=True)


def build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> HttpProbe:
    """Return the probe for a board."""
    del board
    return HttpProbe(spec.name, config.board_ip or "", http_target(spec.argument), means)


async def _plainly(sock: socket.socket, asked: bytes) -> bytes:
    """Send a request and return the beginning of the answer; closes the socket."""
    loop, text = asyncio.get_running_loop(), b""
    with sock:
        await loop.sock_sendall(sock, asked)
        while len(text) < MOST_READ and b"\n" not in text:
            data = await loop.sock_recv(sock, MOST_READ - len(text))
            if not data:
                break
            text += data
    return text


async def _over_tls(sock: socket.socket, asked: bytes) -> bytes:
    """Do the same after a TLS handshake."""
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=_tls_context(), server_hostname="", limit=MOST_READ
    )
    try:
        writer.write(asked)
        return await _first_line(reader)
    finally:
        writer.transport.abort()


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    text = b""
    while len(text) < MOST_READ and b"\n" not in text:
        data = await reader.read(MOST_READ - len(text))
        if not data:
            break
        text += data
    return text


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Return a context that takes any certificate: whether the board lives is the question, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
