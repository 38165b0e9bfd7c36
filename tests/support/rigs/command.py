"""What is switched by a program, which can tell the state or cannot."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from pathlib import Path
from typing import Any, Self

from boardherd.rack.devices.command import CommandDevice
from support.rigs.rig import Rig

PATIENCE = 1.0
"""A program takes its time to start when the machine has other things to do."""
KEYS = {"reply_timeout": PATIENCE}


@functools.cache
def directory() -> Path:
    """Return where the programs of this test run are; they outlive their devices, as they do in a lab."""
    place = tempfile.TemporaryDirectory(prefix="boardherd-commands-")
    atexit.register(place.cleanup)
    return Path(place.name)


class CommandAtHome(CommandDevice):
    """A device whose program the driver under test finds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(directory=directory(), **options)

    async def __aenter__(self) -> Self:
        os.environ |= self.environment()
        return await super().__aenter__()


RIGS = {
    "command": Rig(CommandAtHome, KEYS, patience=PATIENCE),
    "command that only switches": Rig(
        lambda: CommandAtHome(reads="no"), KEYS, reads_back=False, patience=PATIENCE
    ),
}
