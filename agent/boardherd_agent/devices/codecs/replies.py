"""What the codecs of serial and USB relays have in common: how they call nonsense nonsense."""

from __future__ import annotations


class BadReply(ValueError):  # noqa: N818 - it is the device's fault
    """A reply that the protocol does not know; the message shows its bytes."""

    def __init__(self, reply: bytes) -> None:
        shown = reply[:32].hex(" ") + (" ..." if len(reply) > 32 else "")
        super().__init__(f"the reply {shown or '(nothing)'} makes no sense")
