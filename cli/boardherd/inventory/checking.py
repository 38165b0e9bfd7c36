"""Checks a lab.toml: its own rules here, and each relay's keys by the agent's program, which knows the drivers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from boardherd_shared.inventory import Inventory
from boardherd_shared.settings import ConfigError

_AGENT = "boardherd-agent"
_INSTALLED = Path("/opt/boardherd/bin") / _AGENT
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Checked:
    """What came out of it."""

    path: Path
    inventory: Inventory | None
    """None when anything is wrong with it."""
    faults: tuple[str, ...] = ()
    """A sentence for each fault, with file, line and key."""
    unchecked: str = ""
    """What could not be checked here, and why, in words."""

    @property
    def summary(self) -> str:
        """How much there is, in words."""
        assert self.inventory is not None
        lab = self.inventory.lab
        return f"site {lab.site}: {len(lab.pc)} PCs, {len(lab.relay)} relays, {len(lab.board)} boards"


def check(path: Path) -> Checked:
    """Check the file ``path``, without touching any device and without any secret."""
    agent = _start_agent(path)
    try:
        try:
            inventory = Inventory.read(path)
        except ConfigError as error:
            return Checked(path, None, tuple(str(error).splitlines()))
        if agent is None:
            kinds = sorted({relay.driver for relay in inventory.lab.relay.values() if relay.driver})
            unchecked = f"the keys of relays of kind {', '.join(kinds)} were not checked"
            return Checked(
                path, inventory, (), f"{unchecked}: {_AGENT} is not installed here" if kinds else ""
            )
        return _with_drivers(path, inventory, agent)
    finally:
        if agent is not None:
            agent.kill()
            agent.communicate()


def _with_drivers(path: Path, inventory: Inventory, agent: subprocess.Popen[str]) -> Checked:
    try:
        out, err = agent.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return Checked(path, inventory, (), f"the keys of relays were not checked: {_AGENT} does not answer")
    try:
        said = json.loads(out)
        faults, kinds = tuple(said["faults"]), tuple(said["unchecked"])
    except (ValueError, KeyError):
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        return Checked(path, inventory, (), f"the keys of relays were not checked: {_AGENT} failed: {last}")
    missing = (
        f"the keys of relays of kind {', '.join(kinds)} were not checked: a library is not installed here"
    )
    return Checked(path, None if faults else inventory, faults, missing if kinds else "")


def _start_agent(path: Path) -> subprocess.Popen[str] | None:
    command = _agent_command()
    if command is None:
        return None
    return subprocess.Popen(
        [*command, "--check-inventory", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _agent_command() -> list[str] | None:
    if importlib.util.find_spec("boardherd_agent"):
        return [sys.executable, "-m", "boardherd_agent"]
    program = shutil.which(_AGENT) or (str(_INSTALLED) if _INSTALLED.exists() else None)
    return [program] if program else None
