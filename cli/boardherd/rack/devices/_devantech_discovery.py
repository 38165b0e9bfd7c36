"""The answer of a simulated Devantech module to the vendor's broadcast.

A real module hears its own address and every broadcast on port 30303. On the loopback network a simulated one
hears its own address alone, unless it is told to listen on 127.255.255.255.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import dataclass, field

PORT = 30303
_QUESTION = b"Discovery: Who is out there?"
_END = b"\r\n"


@dataclass
class Announcer(asyncio.DatagramProtocol):
    """Answers whoever asks who is there."""

    address: str
    """What it says its address is."""
    module_id: int
    mac: str
    name: str = "DEVANTECH"
    heard: deque[bytes] = field(default_factory=lambda: deque(maxlen=1000))
    """What arrived last, unanswered datagrams included."""
    _transport: asyncio.DatagramTransport | None = None

    async def listen(self, host: str, port: int) -> int:
        """Listen, and return on which port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        used: int = self._transport.get_extra_info("sockname")[1]
        return used

    def close(self) -> None:
        """Listen no longer."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer the question, and nothing else."""
        self.heard.append(data)
        if data.startswith(_QUESTION) and self._transport is not None:
            self._transport.sendto(self.answer(), addr)

    def answer(self) -> bytes:
        """Return the list of fields by which a module introduces itself."""
        fields = (
            b"\x02" + bytes.fromhex(self.mac.replace(":", "").replace("-", "")),
            b"\x03" + b"MCHP MAC",
            b"\x04" + self.name.encode("ascii").ljust(16)[:16],
            b"\x05" + socket.inet_aton(self.address),
            b"\x40" + bytes([self.module_id]),
        )
        return b"".join(part + _END for part in fields)
