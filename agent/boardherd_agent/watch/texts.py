"""Text from the world, made fit for records, logs and terminals."""

from __future__ import annotations

import os
import socket

LIMIT = 200
"""Characters kept of a banner, a console line or an error."""


def one_line(text: bytes | str, limit: int = LIMIT) -> str:
    """Return ``text`` as one printable line of at most ``limit`` characters.

    Bytes are read as UTF-8; what does not print becomes a space, and runs of spaces shrink to one.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = " ".join(words)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def error_text(error: OSError) -> str:
    """Return what the system calls this error; asyncio puts words of its own in its place."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return one_line(error.strerror or str(error))
    return one_line(os.strerror(error.errno))


def listed(names: list[str]) -> str:
    """Return names as people say them: ``ping``, ``ping and ssh``, ``ping, ssh and tcp-80``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
