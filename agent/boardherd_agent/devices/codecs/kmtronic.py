"""The protocol of KMTronic USB and RS-232 relay boards with 1, 2, 4 or 8 relays, 9600 8N1.

Facts: the vendor's description of his test program, and the programs of several owners. Set commands are
never answered. Boards with four and eight relays report all of them at once; smaller ones each relay by
itself. On RS-485 and radio boards, several of which share a line, the query of all relays is a command to
relay 9 instead, so this must not be used there. Relays count from 1.
"""

from __future__ import annotations

from boardherd_agent.devices.codecs.replies import BadReply

BAUD = 9600
RELAY_COUNTS = (1, 2, 4, 8)
QUERY_ALL = b"\xff\x09\x00"
"""Answered by boards with four and eight relays only."""
ALPHABET = b"\x00\x01"
"""What the answer to :data:`QUERY_ALL` consists of."""
ONE_LENGTH = 3

_STATES = {0: False, 1: True}


def set_relay(relay: int, *, energised: bool) -> bytes:
    """Return the command to set one relay."""
    return bytes([0xFF, relay, energised])


def query_relay(relay: int) -> bytes:
    """Return the query of one relay, for boards with one or two."""
    return bytes([0xFF, relay, 0x03])


def parse_relay(reply: bytes, relay: int) -> bool:
    """Return whether the relay that was asked for is energised; raises BadReply."""
    if len(reply) != ONE_LENGTH or reply[:2] != bytes([0xFF, relay]) or reply[2] not in _STATES:
        raise BadReply(reply)
    return _STATES[reply[2]]


def parse_all(reply: bytes, relays: int) -> dict[int, bool]:
    """Return for each relay whether it is energised; raises BadReply."""
    if len(reply) != relays or not set(reply) <= _STATES.keys():
        raise BadReply(reply)
    return {relay: _STATES[state] for relay, state in enumerate(reply, 1)}
