r"""The protocol of Numato Lab USB relay modules: command lines over a virtual serial port.

Facts: the vendor's manuals as quoted by PDUDaemon, and notes of owners. A command ends with CR. The module
echoes it, ends its lines with LF CR, and shows the prompt ``>`` when it is done. The module of the serial
class ignores the speed of the port. Relays count from 1 here and from 0 on the wire, where they are written
as one digit 0 to 9 or A to V, and as two decimal digits by modules with 64 relays.
"""

from __future__ import annotations

import re

from boardherd_agent.devices.codecs.replies import BadReply

RELAY_COUNTS = (1, 2, 4, 8, 16, 32, 64)
VERSION = "ver"
READ_ALL = "relay readall"
ALPHABET = bytes(range(0x20, 0x7F)) + b"\r\n"
"""What answers consist of."""

_PROMPT = b">"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_READS_ALL_FROM = 8


def reads_all(relays: int) -> bool:
    """Return whether a module of this size is sure to know :data:`READ_ALL`; those with 1 to 4 may not."""
    return relays >= _READS_ALL_FROM


def relay_name(relay: int, relays: int) -> str:
    """Return how a module with so many relays calls one of them, which counts from 1 here."""
    return f"{relay - 1:02d}" if relays == 64 else _DIGITS[relay - 1]


def set_relay(relay: int, relays: int, *, energised: bool) -> str:
    """Return the command to set one relay; answered by the prompt alone."""
    return f"relay {'on' if energised else 'off'} {relay_name(relay, relays)}"


def read_relay(relay: int, relays: int) -> str:
    """Return the command to read one relay; see :func:`parse_state`."""
    return f"relay read {relay_name(relay, relays)}"


def encode(command: str) -> bytes:
    """Return the bytes to send for a command; the empty one asks for a prompt."""
    return command.encode("ascii") + b"\r"


def is_complete(reply: bytes, command: str) -> bool:
    """Return whether ``reply`` holds the echo of ``command`` and ends with the prompt after it."""
    return reply.endswith(_PROMPT) and command.encode("ascii") in reply


def body(reply: bytes, command: str) -> str:
    """Return what stands between echo and prompt; raises BadReply.

    What came before the echo belongs to an earlier command, one that nobody waited for.
    """
    _, echo, rest = reply.rpartition(command.encode("ascii"))
    text = rest.removesuffix(_PROMPT)
    if not echo or text == rest or not text.isascii() or _PROMPT in text:
        raise BadReply(reply)
    return text.decode("ascii").strip()


def parse_state(text: str) -> bool:
    """Return whether the relay of :func:`read_relay` is energised; raises BadReply."""
    if text not in {"on", "off"}:
        raise BadReply(text.encode())
    return text == "on"


def parse_states(text: str, relays: int) -> dict[int, bool]:
    """Return for each relay whether it is energised; raises BadReply.

    The answer to :data:`READ_ALL` is a hexadecimal number with one digit for four relays; its lowest bit is
    the first relay.
    """
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{relays // 4}}}", text):
        raise BadReply(text.encode())
    mask = int(text, 16)
    return {relay: bool(mask >> (relay - 1) & 1) for relay in range(1, relays + 1)}
