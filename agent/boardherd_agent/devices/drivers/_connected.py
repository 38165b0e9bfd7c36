"""What the drivers that hold a connection have in common: how it is opened and closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from boardherd_agent.devices.device import Identity


class ConnectedRelay(ABC):
    """A device that is connected to, and asked what it is, before it is used.

    See the contract in :mod:`boardherd_agent.devices.device`. What is opened is closed again in every case:
    when the device turns out to be another one, and when whoever opens it gives up.
    """

    def __init__(self) -> None:
        """Know nothing of the device yet."""
        self.identity = Identity("not asked yet")

    async def __aenter__(self) -> Self:
        try:
            await self._open()
            self.identity = await self._identify()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._close()

    @abstractmethod
    async def _open(self) -> None:
        """Connect to the device; raises DeviceError."""

    @abstractmethod
    async def _close(self) -> None:
        """Close what is open, quietly; nothing may be."""

    @abstractmethod
    async def _identify(self) -> Identity:
        """Find out what the device is, or at least that it answers; raises DeviceError."""
