"""The connection to one device: opened when it is needed, and once more where it turns out to be stale."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from boardherd_agent.devices.causes import Link
from boardherd_agent.devices.device import AsksPeople, DeviceGarbled, DeviceOffline, Driver

T = TypeVar("T")


class Connection:
    """Holds at most one open driver; whoever uses it sees to it that there is one operation at a time."""

    def __init__(
        self,
        make: Callable[[], Driver],
        on_open: Callable[[Driver], None],
        again: Callable[[], Sequence[float]] = tuple,
    ) -> None:
        """Open nothing yet.

        Args:
            make: makes a fresh driver for each connection.
            on_open: is shown each driver once it is open.
            again: pauses in seconds, after each of which a device that does not let us in is tried once more.
        """
        self._make, self._on_open, self._again = make, on_open, again
        self._device: Driver | None = None
        self._closing = contextlib.AsyncExitStack()
        self._link = Link.FRESH

    async def attempt(self, act: Callable[[Driver], Awaitable[T]]) -> T:
        """Do what may be repeated without harm, a second time if the connection turns out to be stale."""
        was_open = self._device is not None
        try:
            return await act(await self._open())
        except (DeviceOffline, DeviceGarbled):
            await self.close()
            if not was_open:
                raise
            self.suffered(Link.BROKEN)
        return await act(await self._open())

    async def once(self, act: Callable[[Driver], Awaitable[T]]) -> T:
        """Do what must not be repeated."""
        return await act(await self._open())

    async def close(self) -> None:
        """Close what is open, quietly; the next use opens it again."""
        if self._device is not None:
            self.suffered(Link.FRESH)
        self._device = None
        await self._closing.aclose()

    def say_done(self, port: int) -> bool:
        """Pass on that a person has switched a port by hand; False if nobody was asked to."""
        asked: object = self._device
        return isinstance(asked, AsksPeople) and asked.say_done(port)

    def suffered(self, link: Link) -> None:
        """Note what happened to the connection."""
        self._link = max(self._link, link)

    def since_last_reading(self) -> Link:
        """Return the worst that happened since this was asked before."""
        link, self._link = self._link, Link.HELD
        return link

    async def _open(self) -> Driver:
        for pause in self._again() if self._device is None else ():
            with contextlib.suppress(DeviceOffline):
                return await self._enter()
            await asyncio.sleep(pause)
        return await self._enter()

    async def _enter(self) -> Driver:
        if self._device is None:
            self._device = await self._closing.enter_async_context(self._make())
            self._on_open(self._device)
        return self._device
