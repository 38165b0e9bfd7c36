"""ICMP echo messages: bytes to values and back (RFC 792, RFC 4443)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

_HEADER = struct.Struct("!BBHHH")
TOKEN_BYTES = 8
"""Length of what a request carries and its reply must bring back."""


@dataclass(frozen=True)
class Kind:
    """The numbers of one IP version."""

    request: int
    reply: int
    unreachable: int
    time_exceeded: int
    """These two quote a request that did not arrive."""
    host_gone: frozenset[tuple[int, int]]
    """Type and code of those that are about the board, and not about the way to it."""


V4 = Kind(request=8, reply=0, unreachable=3, time_exceeded=11, host_gone=frozenset({(3, 1), (3, 7)}))
"""Code 1 is an unreachable host, 7 an unknown one."""
V6 = Kind(request=128, reply=129, unreachable=1, time_exceeded=3, host_gone=frozenset({(1, 3)}))
"""Code 3 is an unreachable address."""


@dataclass(frozen=True)
class Reply:
    """What came back for a request."""

    sequence: int
    identifier: int
    token: bytes | None
    """What the request carried; None in the quotation of an error, which may be too short for it."""
    target: str | None
    """Whom the quoted request was for; None in a reply, whose sender was asked."""
    trouble: tuple[int, int] | None = None
    """Type and code of an error; None for the reply that was hoped for."""


def kind_of(family: int) -> Kind:
    """Return the numbers for an address family."""
    return V6 if family == socket.AF_INET6 else V4


def request(kind: Kind, identifier: int, sequence: int, token: bytes) -> bytes:
    """Return an echo request. The checksum of ICMPv6 is the kernel's to fill in."""
    packet = _HEADER.pack(kind.request, 0, 0, identifier, sequence) + token
    if kind is V6:
        return packet
    return packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]


def parse(kind: Kind, packet: bytes) -> Reply | None:
    """Return what ``packet`` says of an echo request; None if it is about anything else, or cut short.

    Raw sockets of IPv4, and datagram sockets of some systems, put the IP header in front.
    """
    if kind is V4 and packet and packet[0] >> 4 == 4:
        packet = packet[(packet[0] & 0x0F) * 4 :]
    if len(packet) < _HEADER.size:
        return None
    type_, code, _, identifier, sequence = _HEADER.unpack_from(packet)
    if type_ == kind.reply:
        token = packet[_HEADER.size : _HEADER.size + TOKEN_BYTES]
        return Reply(sequence, identifier, token, None)
    if type_ in {kind.unreachable, kind.time_exceeded}:
        return _quoted(kind, (type_, code), packet[_HEADER.size :])
    return None


def words(kind: Kind, trouble: tuple[int, int]) -> str:
    """Return what an error says, for a person."""
    if trouble in kind.host_gone:
        return "there is no such host"
    if trouble[0] == kind.time_exceeded:
        return "the way there has no end (a loop of routers?)"
    return f"there is no way there (ICMP type {trouble[0]} code {trouble[1]})"


def _quoted(kind: Kind, trouble: tuple[int, int], packet: bytes) -> Reply | None:
    """Return the echo request that an error quotes: its IP header and the beginning of its ICMP part."""
    if kind is V4:
        header = (packet[0] & 0x0F) * 4 if packet else 0
        target, protocol = packet[16:20], packet[9:10]
        ours = header >= 20 and protocol == bytes((socket.IPPROTO_ICMP,))
    else:
        header, target, protocol = 40, packet[24:40], packet[6:7]
        ours = protocol == bytes((socket.IPPROTO_ICMPV6,))
    if not ours or len(packet) < header + _HEADER.size:
        return None
    type_, _, _, identifier, sequence = _HEADER.unpack_from(packet, header)
    if type_ != kind.request:
        return None
    return Reply(sequence, identifier, None, str(ipaddress.ip_address(target)), trouble)


def _checksum(packet: bytes) -> int:
    """Return the Internet checksum of a packet of even length (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
