"""What the codecs of devices that answer in JSON have in common. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from boardherd_agent.devices.codecs.replies import BadReply

_SHOWN_CHARACTERS, _SHOWN_BYTES = 120, 16


class Refusal(Exception):  # noqa: N818 - the device's answer, not an error of the program
    """A reply in which the device says no; the message is its reason."""


@dataclass(frozen=True)
class Readings:
    """What a device says about its outputs."""

    outputs: Mapping[int, bool]
    """For each output, numbered from 1, whether it is energised."""
    watts: Mapping[int, float] = field(default_factory=dict)
    """The power at each output that is measured."""
    uptime_s: float | None = None
    """How long the device has been running, None when it does not say."""


def shown(body: bytes) -> str:
    """Return a reply as a person can read it: text if it is text, else its first bytes in hexadecimal."""
    text = body.decode("utf-8", "replace")
    if "\ufffd" in text or not all(character.isprintable() or character.isspace() for character in text):
        return body[:_SHOWN_BYTES].hex(" ") + (" ..." if len(body) > _SHOWN_BYTES else "")
    text = " ".join(text.split())
    return (text[:_SHOWN_CHARACTERS] + " ..." if len(text) > _SHOWN_CHARACTERS else text) or "(nothing)"


def bad(body: bytes) -> BadReply:
    """Return the error for a reply that makes no sense."""
    return BadReply(body, shown(body))


def parse_json(body: bytes) -> Any:
    """Return a reply as a value; raises BadReply when it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad(body) from error


def parse_table(body: bytes) -> dict[str, Any]:
    """Return a reply that is a JSON object; raises BadReply."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise bad(body)
    return value


def table(value: object) -> dict[str, Any]:
    """Return ``value`` if it is an object, an empty one if not: for what devices may leave out."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    """Return ``value`` if it is a list, an empty one if not: for what devices may leave out."""
    return value if isinstance(value, list) else []


def number(value: object) -> float | None:
    """Return ``value`` if it is a number that can be reckoned with, None if not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if math.isfinite(real) else None


def word(value: object) -> str:
    """Return a number or text as text, an empty one for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def hardware_address(value: object) -> str:
    """Return a hardware address as ``00:04:A3:12:34:56``, however it is written; empty for anything else."""
    digits = "".join(character for character in word(value) if character not in ":-. ").upper()
    if len(digits) != 12 or any(character not in "0123456789ABCDEF" for character in digits):
        return ""
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
