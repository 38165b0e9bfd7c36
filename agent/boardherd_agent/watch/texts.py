"""Text from the world, made fit for records, logs and terminals."""

from __future__ import annotations

import os
import socket

from boardherd_shared.values import one_line

LIMIT = 200
"""Characters kept of a banner, a console line or an error."""


def brief(text: bytes | str, limit: int = LIMIT) -> str:
    """Return ``text`` as one printable line of at most ``limit`` characters."""
    return one_line(text, limit)


def error_text(error: OSError) -> str:
    """Return what the system calls this error; asyncio puts words of its own in its place."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return brief(error.strerror or str(error))
    return brief(os.strerror(error.errno))


def listed(names: list[str]) -> str:
    """Return names as people say them: ``ping``, ``ping and ssh``, ``ping, ssh and tcp-80``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
