"""The power of one target: a board with its ordered feeds, a line of it, or a single relay port.

Feeds are switched on in order, each ``after`` the one before it, and off in reverse. One worker owns each
module; here is only the order, and at each step the interlocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from boardherd_agent.control.safety import Port
from boardherd_agent.devices.device import DeviceError
from boardherd_shared.lab import BoardConfig
from boardherd_shared.records import Power

Sleep = Callable[[float], Awaitable[None]]
StillWanted = Callable[[], None]
"""Raises when a switch that has waited for the device is not wanted any more."""


class Measured(Protocol):
    """What a switch brought: see ``devices.worker.Switched``."""

    @property
    def before(self) -> Power: ...  # noqa: D102
    @property
    def observed(self) -> Power: ...  # noqa: D102


class Known(Protocol):
    """What is known of a port without asking: see ``devices.ports.PortStatus``."""

    @property
    def observed(self) -> Power: ...  # noqa: D102
    @property
    def measurable(self) -> bool: ...  # noqa: D102


class Switcher(Protocol):
    """The part of a relay worker that switching needs; every coroutine raises DeviceError."""

    @property
    def maintenance(self) -> str: ...  # noqa: D102
    async def read(self, port: int) -> Power: ...  # noqa: D102
    async def look(self, port: int) -> None: ...  # noqa: D102
    async def switch(  # noqa: D102
        self, port: int, power: Power, *, by: str, still_wanted: StillWanted = ...
    ) -> Measured: ...
    async def toggle(self, port: int, *, by: str, still_wanted: StillWanted = ...) -> Measured: ...  # noqa: D102
    async def pulse(  # noqa: D102
        self, port: int, power: Power, seconds: float, *, by: str, still_wanted: StillWanted = ...
    ) -> Measured: ...
    async def restore(self, port: int, *, by: str) -> Measured: ...  # noqa: D102
    async def accept(self, port: int, *, by: str) -> Power: ...  # noqa: D102
    def can_pulse(self, port: int, seconds: float) -> bool: ...  # noqa: D102
    def status(self, port: int) -> Known: ...  # noqa: D102


class Interlocks(Protocol):
    """What must be heeded at each step: see :class:`boardherd_agent.control.safety.Safety`."""

    def check(self) -> None: ...  # noqa: D102
    def moved(self) -> None: ...  # noqa: D102
    def turn(self, port: Port) -> AbstractAsyncContextManager[None]: ...  # noqa: D102
    async def went_off(self, port: Port) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class FeedLine:
    """One relay port of a target."""

    worker: Switcher
    relay: str
    port: int
    after: float = 0.0

    @property
    def id(self) -> Port:
        """Relay and number."""
        return self.relay, self.port


@dataclass(frozen=True)
class Change:
    """The power of a target before and after it was switched, as measured."""

    before: Power
    observed: Power


@dataclass(frozen=True)
class Target:
    """What a command acts on."""

    name: str
    """``board/evm-07``, ``relay/eth-1/3``, ``relay/eth-1`` or ``line/evm-07/reset``."""
    board: str
    """The board that it belongs to; empty for all boards together."""
    feeds: Sequence[FeedLine]
    off_time: float
    """How long a cycle stays off unless the command says otherwise, in seconds."""
    label: str = ""
    """The target as a person calls it: ``evm-07``, ``eth-1:3`` or ``evm-07 reset``."""
    pulse: float = 0.0
    """A line: how long a pulse lasts, in seconds."""
    rest: Power = Power.UNKNOWN
    """A line: its level when nobody uses it."""

    @property
    def ports(self) -> frozenset[Port]:
        """The relay ports that it takes."""
        return frozenset(feed.id for feed in self.feeds)

    @property
    def is_board(self) -> bool:
        """Whether it is the power of a whole board."""
        return self.name.startswith("board/")

    @property
    def measurable(self) -> bool:
        """Whether every port of it can be read back."""
        return all(feed.worker.status(feed.port).measurable for feed in self.feeds)

    @property
    def known(self) -> Power:
        """The state as it was last read, without asking."""
        return combine(feed.worker.status(feed.port).observed for feed in self.feeds)

    async def read(self) -> Power:
        """Return the state measured now, unknown where nothing can be measured; raises DeviceError."""
        return combine([await feed.worker.read(feed.port) for feed in self.feeds])

    async def switch(
        self, power: Power, *, by: str, interlocks: Interlocks, sleep: Sleep = asyncio.sleep
    ) -> Change:
        """Switch every feed to ``power`` in the right order and return what was measured; raises DeviceError."""
        feeds = self.feeds if power is Power.ON else list(reversed(self.feeds))
        before, observed = [], []
        for index, feed in enumerate(feeds):
            if power is Power.ON and index > 0 and feed.after:
                await sleep(feed.after)
            async with _turn(feed, power, interlocks):
                switched = await feed.worker.switch(feed.port, power, by=by, still_wanted=interlocks.check)
            if switched.before is not power:
                interlocks.moved()
            before.append(switched.before)
            observed.append(switched.observed)
        return Change(combine(before), combine(observed))

    async def toggle(
        self, *, by: str, interlocks: Interlocks, sleep: Sleep = asyncio.sleep
    ) -> tuple[Power, Power]:
        """Switch to the other state and return the states before and after; raises DeviceError.

        With one feed the state is read and set under the device's own lock.
        """
        if len(self.feeds) == 1:
            feed = self.feeds[0]
            known = feed.worker.status(feed.port).observed
            async with _turn(feed, Power.OFF if known is Power.ON else Power.ON, interlocks):
                switched = await feed.worker.toggle(feed.port, by=by, still_wanted=interlocks.check)
            return switched.before, switched.observed
        before = await self.read()
        if before is Power.UNKNOWN:
            return before, before
        wanted = Power.OFF if before is Power.ON else Power.ON
        change = await self.switch(wanted, by=by, interlocks=interlocks, sleep=sleep)
        return before, change.observed


def targets_of(
    boards: Mapping[str, BoardConfig], worker: Callable[[str], Switcher], everything: str
) -> dict[str, Target]:
    """Return every target by name: boards, their lines, their ports alone, whole relays, and all together.

    Args:
        boards: the boards of this agent.
        worker: returns the worker of a relay.
        everything: the name of the target of ``all-off``.
    """
    targets = {}
    for board, config in boards.items():
        feeds = [FeedLine(worker(feed.relay), feed.relay, feed.port, feed.after) for feed in config.power]
        off_time = max([config.off_time, *(feed.off_time or 0.0 for feed in config.power)])
        targets[f"board/{board}"] = Target(f"board/{board}", board, feeds, off_time, board)
        for name, line in config.lines.items():
            feed = FeedLine(worker(line.relay), line.relay, line.port)
            targets[f"line/{board}/{name}"] = Target(
                f"line/{board}/{name}",
                board,
                [feed],
                off_time,
                f"{board} {name}",
                line.pulse,
                Power(line.normally),
            )
            feeds = [*feeds, feed]
        targets |= {_port(feed): Target(_port(feed), board, [feed], off_time, _label(feed)) for feed in feeds}
    targets |= _whole_relays(boards, targets)
    powered = [feed for board in boards for feed in targets[f"board/{board}"].feeds]
    targets[everything] = Target(everything, "", powered, 0.0, "everything")
    return targets


def _whole_relays(boards: Iterable[str], targets: Mapping[str, Target]) -> dict[str, Target]:
    """Return for each relay everything on it that powers boards."""
    relays: dict[str, list[FeedLine]] = {}
    for board in boards:
        for feed in targets[f"board/{board}"].feeds:
            relays.setdefault(feed.relay, []).append(feed)
    return {
        f"relay/{relay}": Target(f"relay/{relay}", "", sorted(feeds, key=lambda it: it.port), 0.0, relay)
        for relay, feeds in relays.items()
    }


@contextlib.asynccontextmanager
async def _turn(feed: FeedLine, power: Power, interlocks: Interlocks) -> AsyncIterator[None]:
    """Heed the interlocks while a feed is switched to ``power``."""
    known = feed.worker.status(feed.port).observed
    if known is power:
        yield
    elif power is Power.ON:
        async with interlocks.turn(feed.id):
            yield
    else:
        interlocks.check()
        try:
            yield
        except DeviceError:
            await interlocks.went_off(feed.id)  # it may have moved all the same
            raise
        if feed.worker.status(feed.port).observed is not Power.ON:
            await interlocks.went_off(feed.id)


def combine(feeds: Iterable[Power]) -> Power:
    """Return the power of a board from that of its feeds: on when all are on, off when any is off."""
    states = set(feeds)
    if Power.OFF in states:
        return Power.OFF
    return Power.ON if states == {Power.ON} else Power.UNKNOWN


def _port(feed: FeedLine) -> str:
    return f"relay/{feed.relay}/{feed.port}"


def _label(feed: FeedLine) -> str:
    return f"{feed.relay}:{feed.port}"
