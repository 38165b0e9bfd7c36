"""One module per driver, named as its kind, with RIGS: how the contract suite tests it."""

from __future__ import annotations

import importlib
import pkgutil

from support.rigs.rig import Rig


def kinds() -> tuple[str, ...]:
    """Return the kinds that have a rig, in alphabetical order."""
    return tuple(sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if name != "rig"))


RIGS: dict[str, Rig] = {}
"""Every rig by its name, in alphabetical order of the kinds."""
for _kind in kinds():
    RIGS |= importlib.import_module(f"{__name__}.{_kind}").RIGS
