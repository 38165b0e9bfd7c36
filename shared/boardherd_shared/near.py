"""Which of the known words somebody may have meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_CLOSE = 0.75
_NUMBER = re.compile(r"\d+")


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that ``word`` was probably meant to be, or None.

    Ids differ in their numbers on purpose: ``pc-02`` is no misspelt ``pc-01``, but ``PC_2`` is one of ``pc-02``.
    """
    words = sorted({*known} - {word})
    plain = _plain(word)
    for other in words:
        if _plain(other) == plain:
            return other
    alike = [other for other in words if _numbers(other) == _numbers(word)]
    found = get_close_matches(word.lower(), [other.lower() for other in alike], 1, _CLOSE)
    return next((other for other in alike if other.lower() in found), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "CAMERA"?``, or nothing when no known word is near."""
    other = near(word, known)
    return f'; did you mean "{other}"?' if other else ""


def _plain(word: str) -> str:
    return _NUMBER.sub(lambda found: str(int(found[0])), word.lower().replace("_", "-").replace(" ", "-"))


def _numbers(word: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(word)]
