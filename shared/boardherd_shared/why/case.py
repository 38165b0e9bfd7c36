"""What is known of one board when somebody asks why it is as it is: the fleet around it, and its past. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from boardherd_shared.drift import should_be
from boardherd_shared.model import RelayStatus
from boardherd_shared.records import Blame, BoardRecord, BootTimes, Verdict, Wiring
from boardherd_shared.views import BoardView, FleetView, LockView, PcView, PortView, RelayView

WIDTH = 160
"""No line of the answer is longer than this, in characters."""
ROOM = WIDTH - 11
"""What the label of a line leaves of that."""
CONSOLE = "console"
"""The name of the probe that listens to the serial console."""
_CONFIRMED_S = 180.0
"""Agents confirm every minute; what is older than three of those is no longer known."""
_NEVER_RAN = {"accepted", "refused", "expired", "unanswered"}
_POWER = {"on", "off", "toggle", "cycle", "restore"}


class Done(Protocol):
    """A command with what became of it. Times are Unix seconds."""

    @property
    def action(self) -> str:
        """What was asked for: cycle, on, ..."""
        ...

    @property
    def operator(self) -> str:
        """Who asked."""
        ...

    @property
    def on_behalf_of(self) -> str | None:
        """For whom a service asked."""
        ...

    @property
    def state(self) -> str:
        """The newest step of its life."""
        ...

    @property
    def began_at(self) -> float:
        """When its first step was taken."""
        ...


class Happened(Protocol):
    """An event about the board."""

    @property
    def at(self) -> float:
        """When, Unix seconds."""
        ...

    @property
    def words(self) -> Sequence[str]:
        """The last lines of its console before it."""
        ...


class Booted(Protocol):
    """A boot of the board."""

    @property
    def at(self) -> float:
        """When it was over, Unix seconds."""
        ...

    @property
    def times(self) -> BootTimes:
        """How long each stage took."""
        ...


class Used(Protocol):
    """A use of the board under one lock."""

    @property
    def who(self) -> str:
        """Who had it."""
        ...

    @property
    def ended_at(self) -> float | None:
        """When it ended, Unix seconds; None while it goes on."""
        ...


@dataclass(frozen=True)
class Feed:
    """One port that powers the board, as far as it is known."""

    name: str
    port: PortView | None
    relay: RelayView | None


@dataclass(frozen=True)
class Case:
    """A board, and all that may explain it."""

    fleet: FleetView
    board: BoardView
    now: float
    commands: Sequence[Done] = ()
    boots: Sequence[Booted] = ()
    events: Sequence[Happened] = ()
    uses: Sequence[Used] | None = None
    """None where nobody knows of the past."""
    operator: str = ""
    """Who asks, if that is known."""

    @cached_property
    def pc(self) -> PcView | None:
        """The test PC that controls it."""
        return next((pc for pc in self.fleet.pcs if pc.id == self.board.pc), None)

    @cached_property
    def feeds(self) -> tuple[Feed, ...]:
        """The ports that power it, in the order of switching on."""
        return tuple(map(self._feed, self.board.power))

    def _feed(self, name: str) -> Feed:
        id_, _, number = name.rpartition(":")
        relay = next((relay for relay in self.fleet.relays if relay.id == id_), None)
        ports = relay.ports if relay else ()
        return Feed(name, next((port for port in ports if str(port.port) == number), None), relay)

    @property
    def state(self) -> BoardRecord | None:
        """What its agent said of it last."""
        return self.board.state

    @cached_property
    def doubt(self) -> bool:
        """Whether what was last said of it no longer counts, because who said it is not heard."""
        gone = self.pc is None or not self.pc.online
        old = self.board.age_s is None or self.board.age_s > _CONFIRMED_S
        return self.board.verdict is Verdict.UNKNOWN and (gone or old or self.state is None)

    @property
    def blame(self) -> Blame:
        """The part that keeps it from being alive."""
        if self.doubt:
            return Blame.AGENT if self.board.pc else Blame.NOBODY
        return self.state.blame if self.state else Blame.NOBODY

    @property
    def since(self) -> float | None:
        """When the verdict began, Unix seconds; None when that is not known."""
        if self.doubt:
            heard = self.pc.last_seen_s if self.pc and not self.pc.online else self.board.age_s
            return None if heard is None else self.fleet.at - heard
        return self.state.since / 1e6 if self.state else None

    @property
    def wiring(self) -> Wiring:
        """Whether its power ports are proved."""
        told = self.state.wiring if self.state else None
        if told is not None:
            return told
        proofs = [feed.port.state.proved_at for feed in self.feeds if feed.port and feed.port.state]
        known = [at for at in proofs if at is not None]
        proved = bool(known) and len(known) == len(self.feeds)
        return Wiring(state="proved", at=min(known)) if proved else Wiring()

    @property
    def slow(self) -> str:
        """How its last boot was slower than its own past; empty when it was not."""
        if self.state and self.state.slow:
            return self.state.slow
        newest = max(self.boots, key=lambda boot: boot.at, default=None)
        return (newest.times.slow or "") if newest else ""

    @property
    def lock(self) -> LockView | None:
        """The lock that holds on it."""
        lock = self.board.lock
        return lock if lock and lock.until > self.now else None

    @cached_property
    def switch(self) -> Done | None:
        """The command that last did something to its power."""
        ran = (it for it in self.commands if it.action in _POWER and it.state not in _NEVER_RAN)
        return max(ran, key=lambda command: command.began_at, default=None)

    @property
    def drifting(self) -> Iterator[Feed]:
        """Yield the feeds that are not what they should be."""
        for feed in self.feeds:
            if feed.port and feed.port.state and should_be(feed.port.state) is not None:
                yield feed

    @property
    def resting(self) -> RelayView | None:
        """One of its relays that is in maintenance."""
        found = (feed.relay for feed in self.feeds if feed.relay)
        return next((relay for relay in found if relay.status is RelayStatus.MAINTENANCE), None)
