"""Probes: one module for each way to tell whether a board lives; the file's name is the kind in lab.toml.

How a kind is written stands in :mod:`boardherd_shared.probes`, which the inventory reads too. The console is no probe
of this sort, as it only listens; its name is accepted and left out.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from boardherd_agent.watch.probing.means import Means
from boardherd_agent.watch.probing.probe import Outcome, Probe
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import CONSOLE, KINDS, ProbeSpec, parse_probe


class ProbeModule(Protocol):
    """What a probe module offers."""

    def build(self, spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> Probe:
        """Return the probe that ``spec`` names, for a board; opens and sends nothing.

        Raises ValueError in words for what the board lacks.
        """
        ...


def kinds() -> tuple[str, ...]:
    """Return the kinds of probes that there are modules for, in alphabetical order."""
    return tuple(sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if not name.startswith("_")))


def build_probes(board: str, config: BoardConfig, means: Means | None = None) -> list[Probe]:
    """Return the probes of ``board`` that its configuration names, each once.

    Args:
        board: the board's id.
        config: what lab.toml says of it.
        means: what all probes of this PC share; the board's own if not given.

    Raises ValueError in words for a name that is not known and for a probe that needs a key which is missing;
    a checked inventory has neither.
    """
    means = means or Means()
    specs = {spec.name: spec for spec in map(parse_probe, config.probes) if spec.kind != CONSOLE}
    return [_build(spec, board, config, means) for spec in specs.values()]


def _build(spec: ProbeSpec, board: str, config: BoardConfig, means: Means) -> Probe:
    """Build one probe. Only names of the table are ever imported, so a pushed inventory cannot name other code."""
    needs = KINDS[spec.kind].needs
    if needs and not getattr(config, needs):
        raise ValueError(f'the probe "{spec.name}" needs {needs}')
    module = cast("ProbeModule", importlib.import_module(f"{__name__}.{spec.kind}"))
    return module.build(spec, board, config, means)


__all__ = ["Means", "Outcome", "Probe", "ProbeModule", "build_probes", "kinds"]
