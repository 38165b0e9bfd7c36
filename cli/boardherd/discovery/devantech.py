"""Devantech ETH and WIFI modules: found by a broadcast, and asked over TCP what they are.

What is sent, all of it only read by the module: the vendor's discovery datagram, and the binary commands 10 (what
are you), 24 (states of the outputs) and 77 (hardware address). Facts: the vendor's Java library and manuals.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from boardherd.discovery.found import Found

TCP_PORT = 17494
UDP_PORT = 30303
QUESTION = b"Discovery: Who is out there?\x00\n"

_INFO, _STATES, _MAC = b"\x10", b"\x24", b"\x77"
_END_OF_FIELD = b"\r\n"
_FIELD_MAC, _FIELD_NAME, _FIELD_ADDRESS, _FIELD_MODULE = 0x02, 0x04, 0x05, 0x40
_LENGTHS = {_FIELD_MAC: 6, _FIELD_ADDRESS: 4, _FIELD_MODULE: 1}
_SHORTEST_REPLY = 35
_USUAL_PORTS = 8
"""What a relay has in lab.toml that does not say ``port_count``."""
_ASK_EVERY_S = 0.002
"""Datagrams to many addresses leave one after the other."""


class Model(NamedTuple):
    """What one type of module has."""

    name: str
    outputs: tuple[int, ...]
    mask_bytes: int
    """Length of its answer about the states of the outputs."""


_ETH484 = (*range(1, 5), *range(9, 17))
MODELS: Mapping[int, Model] = {
    18: Model("ETH002", (1, 2), 1),
    19: Model("ETH008", tuple(range(1, 9)), 1),
    20: Model("ETH484", _ETH484, 2),
    21: Model("ETH8020", tuple(range(1, 21)), 3),
    22: Model("WIFI484", _ETH484, 2),
    23: Model("ETH0621", (1, 2, 9, 10), 3),
    24: Model("WIFI8020", tuple(range(1, 21)), 3),
    26: Model("WIFI002", (1, 2), 1),
    28: Model("WIFI008", tuple(range(1, 9)), 1),
    29: Model("ETH044", tuple(range(1, 5)), 2),
    51: Model("ETH1620", tuple(range(1, 21)), 3),
    52: Model("ETH1610", tuple(range(1, 11)), 2),
    54: Model("ETH24V008", tuple(range(1, 9)), 1),
}
"""The modules of the vendor's table, by the id that they report."""
_DS_SERIES = {30, 31, 34, 35}
"""Modules that answer the broadcast and speak another protocol, for which there is no driver."""


@dataclass(frozen=True)
class Reply:
    """What a module says to the broadcast."""

    address: str
    module_id: int | None = None
    mac: str = ""
    name: str = ""


def parse_reply(datagram: bytes, sender: str) -> Reply | None:
    """Return what a module says of itself; None for a datagram of something else."""
    if len(datagram) < _SHORTEST_REPLY:
        return None
    fields = dict(_fields(datagram))
    if _FIELD_MAC not in fields:
        return None
    address, module = fields.get(_FIELD_ADDRESS), fields.get(_FIELD_MODULE)
    return Reply(
        socket.inet_ntoa(address) if address else sender,
        module[0] if module else None,
        _mac(fields[_FIELD_MAC]),
        fields.get(_FIELD_NAME, b"").decode("ascii", "replace").strip(" \0"),
    )


def _fields(datagram: bytes) -> Iterable[tuple[int, bytes]]:
    """Yield type and value of each field. Binary values may hold a line end, so their lengths count first."""
    rest = datagram
    while rest:
        code = rest[0]
        length = _LENGTHS.get(code)
        if length is None:
            length = rest[1:].find(_END_OF_FIELD)
        if length < 0 or len(rest) < 1 + length:
            return
        yield code, rest[1 : 1 + length]
        rest = rest[1 + length :].removeprefix(_END_OF_FIELD)


async def who_is_there(
    addresses: Iterable[str], *, bind: str, port: int = UDP_PORT, within_s: float = 3.0
) -> list[Reply]:
    """Ask ``addresses``, broadcast ones among them, and return who answers in time.

    The vendor's own tool asks from the same port, and some modules may answer to no other; when that port is
    taken, another one is used. Raises OSError when no socket can be opened.
    """
    loop = asyncio.get_running_loop()
    replies = _Replies()
    transport, _ = await loop.create_datagram_endpoint(lambda: replies, sock=_socket(bind, port))
    try:
        async with asyncio.timeout(within_s + 10.0):
            for address in addresses:
                transport.sendto(QUESTION, (address, port))
                await asyncio.sleep(_ASK_EVERY_S)
            await asyncio.sleep(within_s)
    finally:
        transport.close()
    return list(replies.found.values())


@dataclass
class _Replies(asyncio.DatagramProtocol):
    """Collects answers, one for each hardware address."""

    found: dict[str, Reply] = field(default_factory=dict)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a datagram; our own question comes back from a broadcast and is none of them."""
        if reply := parse_reply(data, addr[0]):
            self.found[reply.mac] = reply

    def error_received(self, exc: Exception) -> None:
        """Ignore that somebody has no such port."""


def _socket(bind: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            sock.bind((bind, port))
        except OSError:
            sock.bind((bind, 0))
    except OSError:
        sock.close()
        raise
    return sock


async def ask(address: str, *, port: int = TCP_PORT, connect_s: float, within_s: float) -> Found | None:
    """Ask a module over TCP what it is and what its outputs do; None when nothing listens there.

    A module serves five connections and leaves a sixth without an answer, which is said; the connection is
    closed at once after the last answer.
    """
    try:
        async with asyncio.timeout(connect_s):
            reader, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(within_s):
            return await _identify(reader, writer, address, port)
    except (OSError, TimeoutError, EOFError):
        return Found(
            "other",
            f"something at port {port}",
            address,
            {"address": address},
            text="accepts connections and does not answer; a Devantech module does so while five others are connected",
        )
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _identify(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int
) -> Found:
    module_id, hardware, firmware = await _exchange(reader, writer, _INFO, 3)
    mac = _mac(await _exchange(reader, writer, _MAC, 6))
    keys = _keys(address, port, mac)
    version = f"hardware {hardware} firmware {firmware}"
    model = MODELS.get(module_id)
    if model is None:
        text = f"module id {module_id} is not in the vendor's list; {version}; set port_count"
        return Found("relay", f"Devantech module id {module_id}", address, keys, text=text)
    mask = int.from_bytes(await _exchange(reader, writer, _STATES, model.mask_bytes), "little")
    on = sum(mask >> (output - 1) & 1 for output in model.outputs)
    keys |= {"port_count": max(model.outputs)} if max(model.outputs) != _USUAL_PORTS else {}
    return Found("relay", f"Devantech {model.name}", address, keys, len(model.outputs), on, version)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: bytes, length: int
) -> bytes:
    writer.write(question)
    await writer.drain()
    return await reader.readexactly(length)


def _keys(address: str, port: int, mac: str) -> dict[str, object]:
    keys: dict[str, object] = {"kind": "devantech", "address": address}
    keys |= {"tcp_port": port} if port != TCP_PORT else {}
    return keys | ({"mac": mac} if mac else {})


def unreached(reply: Reply) -> Found:
    """Return what is known of a module that answered the broadcast and cannot be reached over TCP."""
    if reply.module_id in _DS_SERIES:
        title, text = "Devantech dS module", "speaks a protocol for which there is no driver"
    else:
        model = MODELS.get(reply.module_id or 0)
        title = f"Devantech {model.name}" if model else "Devantech module"
        text = f"answers the broadcast, but not TCP port {TCP_PORT}; is its address in this network?"
    return Found("other", title, reply.address, {"address": reply.address, "mac": reply.mac}, text=text)


def _mac(address: bytes) -> str:
    return address.hex(":").upper()
