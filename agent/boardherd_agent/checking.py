"""Whether the relays of a lab.toml are described as their drivers want it, wherever the file is looked at.

An agent checks its own relays when it starts, with their secrets. Here all relays of the lab are checked, on a
machine that need not have any secret: what refers to one counts as right.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from boardherd_agent.devices import drivers
from boardherd_shared.inventory import Inventory, RelayConfig
from boardherd_shared.settings import ConfigError


@dataclass(frozen=True)
class Findings:
    """What came out of it."""

    faults: tuple[str, ...] = ()
    """A sentence for each fault, with file, line and key."""
    unchecked: tuple[str, ...] = ()
    """Kinds whose library is not installed here, so that their relays could not be checked."""


def check_relays(inventory: Inventory) -> Findings:
    """Compare every relay with its driver; nothing is opened, and no secret is read."""
    used = {wire.relay for board in inventory.lab.board.values() for wire in board.wires}
    faults: list[str] = []
    unchecked: set[str] = set()
    for id_, config in inventory.lab.relay.items():
        if config.driver is None:
            if id_ in used:
                text = f"kind is required; known kinds are {', '.join(drivers.kinds())}"
                faults.append(inventory.document.fault(("relay", id_), text))
            continue
        try:
            faults += _faults_of(inventory, id_, config, config.driver)
        except ImportError:
            unchecked.add(config.driver)
    return Findings(tuple(faults), tuple(sorted(unchecked)))


def print_findings(path: Path) -> int:
    """Check the lab.toml in ``path`` and print the findings as JSON; return 78 (EX_CONFIG) if anything is wrong."""
    try:
        findings = check_relays(Inventory.read(path))
    except ConfigError as error:
        findings = Findings(tuple(str(error).splitlines()))
    sys.stdout.write(json.dumps(asdict(findings)) + "\n")
    return 78 if findings.faults else 0


def _faults_of(inventory: Inventory, id_: str, config: RelayConfig, kind: str) -> list[str]:
    fault = inventory.document.fault
    try:
        module = drivers.load(kind)
    except ValueError as error:
        return [fault(("relay", id_, "kind"), str(error))]
    options, faults = inventory.check_options(id_, module.Options)
    if options is None:
        return faults
    try:
        module.Driver(config, options)
    except ValueError as error:
        return [fault(("relay", id_), str(error))]
    return []
