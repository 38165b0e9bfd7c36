"""A person at a desk."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from pathlib import Path
from typing import Any, Self

from boardherd.rack.devices.manual import Person
from support.rigs.rig import Rig


@functools.cache
def directory() -> Path:
    """Return where the desks of this test run are."""
    place = tempfile.TemporaryDirectory(prefix="boardherd-desks-")
    atexit.register(place.cleanup)
    return Path(place.name, "desks")


class PersonInThisLab(Person):
    """Somebody whose desk the driver under test finds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(directory=directory(), **options)

    async def __aenter__(self) -> Self:
        os.environ |= self.environment()
        return await super().__aenter__()


RIGS = {
    "manual": Rig(
        PersonInThisLab,
        {"deadline": 0.4},
        max_connections=0,
        patience=0.4,
        reads_back=False,
        absent="no desk",
    )
}
