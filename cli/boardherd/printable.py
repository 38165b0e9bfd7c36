"""Making text of the network harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with every control character made visible."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
