"""The kinds of values that messages and records are made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

MAX_INT = 2**63 - 1
"""The largest integer that every database takes."""

MAX_TEXT = 500

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _printable(text: str) -> str:
    """Refuse what databases, terminals and logs choke on: control characters, NUL above all."""
    if _CONTROL.search(text):
        raise ValueError("control characters are not allowed")
    return text


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_printable)]
"""A line that a person reads."""

Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Micros = Annotated[int, Field(ge=0, le=MAX_INT)]
"""A time in microseconds."""

Percent = Annotated[float, Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=1, le=100)]
"""Port of a relay, from 1."""


def one_line(text: bytes | str, limit: int = MAX_TEXT) -> str:
    """Return words of the world as one printable line of at most ``limit`` characters, fit for :data:`Text`.

    Bytes are read as UTF-8; what does not print becomes a space, and runs of spaces shrink to one.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
