"""Libraries that not every test PC needs: what a driver says when its own is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from boardherd_agent.devices.device import DeviceRefused


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Guard the import of a library that comes with ``extra`` of the agent's package.

    Raises DeviceRefused naming the extra when the library is not installed: trying again would not help, and
    the rest of the agent goes on.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise DeviceRefused(
            f"the library {missing} is not installed here; install boardherd-agent[{extra}]"
        ) from error
