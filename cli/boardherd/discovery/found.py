"""What a search has found: a relay, a console adapter, or something that a person should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["relay", "console", "other"]


@dataclass(frozen=True)
class Found:
    """One device that answered, or that the system knows to be plugged in."""

    role: Role
    title: str
    """What it is, in words: "Devantech ETH008"."""
    where: str
    """How a person finds it: an address, or the name of a port."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Its keys in lab.toml; for a console ``serial_port`` alone."""
    ports: int | None = None
    """How many outputs it has, where it says so."""
    on: int | None = None
    """How many of them are energised now, where it says so."""
    text: str = ""
    """What a person has to know of it."""
    sure: bool = True
    """False for a guess: such a relay gets no place in lab.toml before somebody has looked."""
    others: tuple[str, ...] = ()
    """Further ports of the same adapter."""

    @property
    def address(self) -> str:
        """Its address on the network; empty for what is plugged into this machine."""
        return str(self.keys.get("address", ""))

    @property
    def outputs(self) -> str:
        """Its outputs in words: "8 ports, 3 on"; empty when it tells nothing of them."""
        if self.ports is None:
            return ""
        return f"{number(self.ports, 'port')}" + ("" if self.on is None else f", {self.on} on")


def number(count: int, what: str) -> str:
    """Return ``2 serial adapters``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def summary(found: Iterable[Found]) -> str:
    """Return in one line what was found, and that nothing was written."""
    found = list(found)
    parts = [_relays(title, found) for title in dict.fromkeys(it.title for it in found if it.role == "relay")]
    for role, word in (("console", "serial adapter"), ("other", "other device")):
        if count := sum(it.role == role for it in found):
            parts.append(number(count, word))
    return f"{', '.join(parts) or 'nothing was found'}; nothing was written to any device"


def _relays(title: str, found: Iterable[Found]) -> str:
    alike = [it for it in found if it.role == "relay" and it.title == title]
    outputs = ""
    if all(it.ports is not None for it in alike):
        told = [it.on for it in alike if it.on is not None]
        ports = sum(it.ports or 0 for it in alike)
        outputs = f" ({number(ports, 'port')}{f', {sum(told)} on' if len(told) == len(alike) else ''})"
    return f"{len(alike)} {title}{outputs}"
