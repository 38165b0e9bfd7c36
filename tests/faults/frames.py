"""As much of MQTT as a proxy needs to hit the right packet: where packets end, and what a PUBLISH is about. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PUBLISH = 3
_MAX_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Frame:
    """One control packet, as it travels."""

    data: bytes
    topic: str = ""
    """Of a PUBLISH; empty for everything else."""
    packet_id: int = 0
    """Of a PUBLISH with QoS 1 or 2; 0 otherwise."""


class Splitter:
    """Cuts a stream of bytes into control packets (MQTT 3.1.1 and 5, section 2.1)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes, and yield the packets that are complete by now."""
        self._rest += data
        while (end := _end(self._rest)) is not None:
            packet, self._rest = self._rest[:end], self._rest[end:]
            yield _frame(packet)


def puback(packet_id: int) -> bytes:
    """Return the acknowledgement of a PUBLISH: the same bytes in both versions when all went well."""
    return bytes((0x40, 2)) + packet_id.to_bytes(2, "big")


def _end(data: bytes) -> int | None:
    """Return where the first packet in ``data`` ends, None if it is not complete."""
    header = _header(data)
    if header is None:
        return None
    body, length = header
    return body + length if len(data) >= body + length else None


def _header(data: bytes) -> tuple[int, int] | None:
    """Return where the body begins and how long it is, None if that is not known yet."""
    length = 0
    for place in range(_MAX_LENGTH_BYTES):
        if len(data) < place + 2:
            return None
        byte = data[place + 1]
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return place + 2, length
    raise ValueError("the length of a packet takes more than four bytes: this is no MQTT")


def _frame(packet: bytes) -> Frame:
    header = _header(packet)
    if packet[0] >> 4 != _PUBLISH or header is None:
        return Frame(packet)
    at = header[0]
    size = int.from_bytes(packet[at : at + 2], "big")
    topic = packet[at + 2 : at + 2 + size].decode("utf-8", "replace")
    at += 2 + size
    qos = packet[0] >> 1 & 3
    return Frame(packet, topic, int.from_bytes(packet[at : at + 2], "big") if qos else 0)
