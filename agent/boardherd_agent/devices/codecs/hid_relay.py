"""The feature reports of "USBRelayN" boards (dcttech and clones; V-USB, 16C0:05DF).

Facts: usbrelay, sigrok, labgrid and PDUDaemon. The report has eight bytes and no id. Hosts put the id 0
before it, and give it back with or without that byte, which :func:`parse_report` finds out. Relays count
from 1. The command that changes the board's serial number (FA) is left out on purpose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from boardherd_agent.devices.codecs.replies import BadReply

VENDOR, PRODUCT = 0x16C0, 0x05DF
"""Shared by all products of small makers with V-USB; only the product string tells what it is."""
REPORT_ID = 0
REPORT_LENGTH = 9
"""With the byte of the id."""
MAX_RELAYS = 8

_ENERGISE, _RELEASE = 0xFF, 0xFD
_NAME = re.compile(r"USBRelay([1-8])")
_SERIAL_LENGTH, _STATES_AT = 5, 7


@dataclass(frozen=True)
class Report:
    """What a board says of itself."""

    serial: str
    """Five characters; not the serial number of the USB descriptor, which is the same for all boards."""
    mask: int
    """Bit 0 is relay 1."""

    def states(self, relays: int) -> dict[int, bool]:
        """Return for each relay whether it is energised."""
        return {relay: bool(self.mask >> (relay - 1) & 1) for relay in range(1, relays + 1)}


def relays_of(product: str) -> int | None:
    """Return how many relays a device with this product string has; None if it is no such board."""
    match = _NAME.fullmatch(product)
    return int(match[1]) if match else None


def set_report(relay: int, *, energised: bool) -> bytes:
    """Return the feature report that sets one relay, the byte of the id first."""
    return bytes([REPORT_ID, _ENERGISE if energised else _RELEASE, relay]).ljust(REPORT_LENGTH, b"\0")


def parse_report(data: bytes) -> Report:
    """Return what a feature report says, whether or not the byte of the id precedes it; raises BadReply.

    The serial number is printable, so a zero in front can only be the id.
    """
    report = data[1:] if data[:1] == bytes([REPORT_ID]) else data
    serial = report[:_SERIAL_LENGTH]
    if len(data) not in {REPORT_LENGTH - 1, REPORT_LENGTH} or len(report) <= _STATES_AT:
        raise BadReply(data)
    if not all(0x20 < character < 0x7F for character in serial):
        raise BadReply(data)
    return Report(serial.decode("ascii"), report[_STATES_AT])
