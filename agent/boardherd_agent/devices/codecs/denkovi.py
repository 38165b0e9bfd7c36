"""The protocol of the Denkovi USB board with 16 relays, 9600 8N1.

Facts: a program of an owner that says it follows the vendor's manual. Commands end with two slashes; set
commands are echoed, which is the acknowledgement. Relay 1 is the highest bit of the first byte of the answer
to :data:`ASK`. Denkovi's boards with four and eight relays speak other protocols. Relays count from 1.
"""

from __future__ import annotations

from boardherd_agent.devices.codecs.replies import BadReply

BAUD = 9600
RELAYS = 16
ASK = b"ask//"
STATES_LENGTH = 2


def set_relay(relay: int, *, energised: bool) -> bytes:
    """Return the command to set one relay: ``05+//`` energises the fifth."""
    return f"{relay:02d}{'+' if energised else '-'}//".encode("ascii")


def check_echo(reply: bytes, command: bytes) -> None:
    """Raise BadReply unless ``reply`` is the echo of ``command``."""
    if reply != command:
        raise BadReply(reply)


def parse_states(reply: bytes) -> dict[int, bool]:
    """Return for each relay whether it is energised; raises BadReply."""
    if len(reply) != STATES_LENGTH:
        raise BadReply(reply)
    mask = int.from_bytes(reply, "big")
    return {relay: bool(mask >> (RELAYS - relay) & 1) for relay in range(1, RELAYS + 1)}
