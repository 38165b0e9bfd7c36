"""What a check has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and a person should look at it."""
    FAIL = "fail"
    """Something that this test PC is for does not work."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    level: Level
    text: str
    """What was found, a sentence."""
    remedy: str = ""
    """What to do; empty where nothing is to be done."""

    def document(self) -> dict[str, str]:
        """Return it for JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def ok(name: str, text: str) -> Check:
    """Return that all is well."""
    return Check(name, Level.OK, text)


def warn(name: str, text: str, remedy: str) -> Check:
    """Return that a person should look at something."""
    return Check(name, Level.WARN, text, remedy)


def fail(name: str, text: str, remedy: str) -> Check:
    """Return that something does not work."""
    return Check(name, Level.FAIL, text, remedy)
