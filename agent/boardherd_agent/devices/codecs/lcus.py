"""The protocol of LCUS-1, -2, -4 and -8 relay boards (LC Technology, USB chip CH340), 9600 8N1.

Facts: the seller's data and the programs of several owners. A set command is four bytes with a checksum and
is never answered. Whether the query byte is answered depends on the firmware: an LCUS-4 answers one line for
each channel, ``CH1: OFF``; other boards are reported to run the texts together, to answer one raw byte for
each channel, or to stay silent. :func:`parse_states` understands all of these. Channels count from 1.
"""

from __future__ import annotations

import re

from boardherd_agent.devices.codecs.replies import BadReply

BAUD = 9600
MAX_CHANNELS = 8
QUERY = b"\xff"
ALPHABET = b"CHONF: 0123456789\r\n\x00\x01"
"""What answers consist of."""

_HEADER = 0xA0
_CHANNEL = re.compile(rb"CH(\d):\s*(ON|OFF)\s*")
_TEXT = re.compile(rb"\s*(?:" + _CHANNEL.pattern + rb")+\x00*")


def set_channel(channel: int, *, energised: bool) -> bytes:
    """Return the command to set one channel, 1 to 8: ``A0 01 01 A2`` energises the first."""
    body = bytes([_HEADER, channel, energised])
    return body + bytes([sum(body) & 0xFF])


def has_channels(reply: bytes, count: int) -> bool:
    """Return whether ``reply`` already tells of ``count`` channels."""
    if _is_raw(reply):
        return len(reply) >= count
    return len(_CHANNEL.findall(reply)) >= count


def parse_states(reply: bytes) -> dict[int, bool]:
    """Return for each channel whether it is energised; raises BadReply."""
    if _is_raw(reply):
        return {channel: bool(state) for channel, state in enumerate(reply, 1)}
    if not _TEXT.fullmatch(reply):
        raise BadReply(reply)
    found = [(int(channel), state == b"ON") for channel, state in _CHANNEL.findall(reply)]
    if [channel for channel, _ in found] != list(range(1, len(found) + 1)):
        raise BadReply(reply)
    return dict(found)


def _is_raw(reply: bytes) -> bool:
    return 0 < len(reply) <= MAX_CHANNELS and set(reply) <= {0, 1}
