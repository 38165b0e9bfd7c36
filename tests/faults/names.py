"""A name server of our own, and the way to have one process ask it instead of the machine's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

NAME = "broker.lab.test"
ANSWER_WITHIN_S = 3
"""How long the process that asks waits for an answer."""
_ENTER = (
    'mount --bind "$0/resolv.conf" "$(readlink -f /etc/resolv.conf)" &&'
    ' mount --bind "$0/nsswitch.conf" "$(readlink -f /etc/nsswitch.conf)" && exec "$@"'
)


class NameServer(asyncio.DatagramProtocol):
    """Knows one address for every name, if anything at all."""

    def __init__(self) -> None:
        self.answer: str | None = "127.0.0.1"
        """The address that it tells; None for no answer at all."""
        self.delay_s = 0.0
        self.asked = 0
        self.address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        """Where it listens, on the one port that resolvers ask."""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Take note of where to answer."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question when its time has come, as the world is then."""
        self.asked += 1
        asyncio.get_running_loop().call_later(self.delay_s, self._reply, data, addr)

    def _reply(self, question: bytes, addr: tuple[str, int]) -> None:
        if self.answer is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(_answer(question, self.answer), addr)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer inside the block."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, (self.address, 53))
        try:
            yield
        finally:
            transport.close()
            await asyncio.sleep(0)

    def asked_by(self, command: Sequence[str], place: Path) -> list[str]:
        """Return ``command`` so that it asks this server; needs root, since it gets mounts of its own."""
        options = f"options timeout:{ANSWER_WITHIN_S} attempts:1"
        (place / "resolv.conf").write_text(f"nameserver {self.address}\n{options}\n")
        (place / "nsswitch.conf").write_text("hosts: files dns\n")
        return ["unshare", "--mount", "sh", "-c", _ENTER, str(place), *command]


def _answer(question: bytes, address: str) -> bytes:
    """Return the answer to a query (RFC 1035, section 4): one address of type A, nothing of any other type."""
    end = question.index(b"\0", 12) + 5
    is_a = question[end - 4 : end - 2] == b"\0\1"
    head = question[:2] + b"\x81\x80" + b"\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address) if is_a else b""
    return head + question[12:end] + record
