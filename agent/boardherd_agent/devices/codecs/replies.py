"""What all codecs have in common: how they call nonsense nonsense."""

from __future__ import annotations

_SHOWN_BYTES = 32


class BadReply(ValueError):  # noqa: N818 - it is the device's fault
    """A reply that the protocol does not know; the message shows it."""

    def __init__(self, reply: bytes, shown: str = "") -> None:
        """Say what is wrong with ``reply``; it is shown in hexadecimal unless ``shown`` is given."""
        shown = shown or reply[:_SHOWN_BYTES].hex(" ") + (" ..." if len(reply) > _SHOWN_BYTES else "")
        super().__init__(f"the reply {shown or '(nothing)'} makes no sense")
