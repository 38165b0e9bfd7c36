"""The power of one target: a board with its ordered feeds, or a single relay port.

Feeds are switched on in order, each ``after`` the one before it, and off in reverse. One worker owns each
module; here is only the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from boardherd_shared.records import Power

Sleep = Callable[[float], Awaitable[None]]


class Measured(Protocol):
    """What a switch brought: see ``devices.worker.Switched``."""

    @property
    def before(self) -> Power: ...  # noqa: D102
    @property
    def observed(self) -> Power: ...  # noqa: D102


class Switcher(Protocol):
    """The part of a relay worker that switching needs; every method raises DeviceError."""

    async def read(self, port: int) -> Power: ...  # noqa: D102
    async def switch(self, port: int, power: Power, *, by: str) -> Measured: ...  # noqa: D102
    async def toggle(self, port: int, *, by: str) -> Measured: ...  # noqa: D102


@dataclass(frozen=True)
class FeedLine:
    """One relay port of a target."""

    worker: Switcher
    relay: str
    port: int
    after: float = 0.0


@dataclass(frozen=True)
class Target:
    """What a command acts on."""

    name: str
    """``board/evm-07`` or ``relay/eth-1/3``."""
    board: str | None
    feeds: Sequence[FeedLine]
    off_time: float
    """How long a cycle stays off unless the command says otherwise, in seconds."""

    @property
    def label(self) -> str:
        """The target as a person calls it: ``evm-07`` or ``eth-1:3``."""
        return self.board or f"{self.feeds[0].relay}:{self.feeds[0].port}"

    @property
    def ports(self) -> frozenset[tuple[str, int]]:
        """The relay ports that it takes."""
        return frozenset((feed.relay, feed.port) for feed in self.feeds)

    async def read(self) -> Power:
        """Return the state measured now; raises DeviceError."""
        return combine([await feed.worker.read(feed.port) for feed in self.feeds])

    async def switch(self, power: Power, *, by: str, sleep: Sleep = asyncio.sleep) -> Power:
        """Switch every feed to ``power`` in the right order and return what was measured; raises DeviceError."""
        feeds = self.feeds if power is Power.ON else list(reversed(self.feeds))
        observed = []
        for index, feed in enumerate(feeds):
            if power is Power.ON and index > 0 and feed.after:
                await sleep(feed.after)
            observed.append((await feed.worker.switch(feed.port, power, by=by)).observed)
        return combine(observed)

    async def toggle(self, *, by: str, sleep: Sleep = asyncio.sleep) -> tuple[Power, Power]:
        """Switch to the other state and return the states before and after; raises DeviceError.

        With one feed the state is read and set under the device's own lock.
        """
        if len(self.feeds) == 1:
            feed = self.feeds[0]
            switched = await feed.worker.toggle(feed.port, by=by)
            return switched.before, switched.observed
        before = await self.read()
        if before is Power.UNKNOWN:
            return before, before
        wanted = Power.OFF if before is Power.ON else Power.ON
        return before, await self.switch(wanted, by=by, sleep=sleep)


def targets_of(
    boards: Mapping[str, tuple[float, list[FeedLine]]],
) -> dict[str, Target]:
    """Return every target: each board (off time and feeds), and each of its relay ports alone."""
    targets = {}
    for board, (off_time, feeds) in boards.items():
        targets[f"board/{board}"] = Target(f"board/{board}", board, feeds, off_time)
        for feed in feeds:
            name = f"relay/{feed.relay}/{feed.port}"
            targets[name] = Target(name, None, [feed], off_time)
    return targets


def combine(feeds: Sequence[Power]) -> Power:
    """Return the power of a board from that of its feeds: on when all are on, off when any is off."""
    if Power.OFF in feeds:
        return Power.OFF
    return Power.ON if feeds and all(feed is Power.ON for feed in feeds) else Power.UNKNOWN
