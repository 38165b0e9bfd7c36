"""Which lab.toml is meant, and who on this machine acts on one."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boardherd_shared.settings import ConfigError, Document

AGENT_CONFIG = Path("/etc/boardherd/agent.toml")
COLLECTOR_CONFIG = Path("/etc/boardherd/collector.toml")
LAB = Path("/etc/boardherd/lab.toml")
"""Where an agent looks unless its configuration says otherwise."""


@dataclass(frozen=True)
class Daemon:
    """An agent or a collector that is set up on this machine."""

    role: Literal["agent", "collector"]
    config: Path
    inventory: Path
    pc: str | None = None
    """Of an agent: the id of its test PC."""

    @property
    def unit(self) -> str:
        """The systemd unit."""
        return f"boardherd-{self.role}.service"


def daemons(agent: Path = AGENT_CONFIG, collector: Path = COLLECTOR_CONFIG) -> list[Daemon]:
    """Return who is set up here, by the configuration files that exist; raises ConfigError for one that is none."""
    found: list[Daemon] = []
    if agent.exists():
        said = Document.read(agent).data
        here = socket.gethostname().split(".")[0].lower()
        found.append(Daemon("agent", agent, _inventory(agent, said, LAB), str(said.get("pc", here))))
    if collector.exists():
        said = Document.read(collector).data
        found.append(Daemon("collector", collector, _inventory(collector, said, None)))
    return found


def lab_file(given: Path | None, known: list[Daemon]) -> Path:
    """Return the file that is meant: the one given, the one in this directory, or the one that a daemon here has.

    Raises ConfigError when there is none.
    """
    if given is not None:
        return given
    for place in (Path("lab.toml"), *(daemon.inventory for daemon in known), LAB):
        if place.exists():
            return place
    raise ConfigError(
        "there is no lab.toml here, and no agent or collector on this machine has one; name the file"
    )


def _inventory(config: Path, said: dict[str, Any], default: Path | None) -> Path:
    place = said.get("inventory", default)
    if isinstance(place, str):
        return Path(place)
    if place is None:
        raise ConfigError(f"{config} inventory: is required")
    if not isinstance(place, Path):
        raise ConfigError(f"{config} inventory: should be the path of a lab.toml")
    return place
