"""Interlocks: what protects supplies, contacts and boards from commands that are each right in themselves.

A board stays off for a minimum time, a port is switched on only so often, boards behind one supply come on one
after the other, and a board that does not come alive however often it is cycled is taken out. All of it
survives a restart of the agent. Nothing here ever keeps a board from being switched off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from boardherd_agent.control.control_file import ControlFile, JournalAway
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.stamp import Stamp
from boardherd_shared.clock import Clock
from boardherd_shared.command import Refusal
from boardherd_shared.lab import BoardConfig, RelayConfig

RATE_WINDOW_S = 60.0
BREAKER_WINDOW_S = 3600.0
_KEEP_US = 2 * 3600 * 1_000_000

_MARGIN_S = 1.0
"""How much longer switching may take than planned before two ports come on too close to each other."""

_NOT_NOTED = "an interlock could not be written down"

Port = tuple[str, int]
Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class _Supply:
    name: str
    stagger: float


class Safety:
    """The interlocks of one agent's ports and boards."""

    def __init__(
        self,
        file: ControlFile,
        boards: Mapping[str, BoardConfig],
        relays: Mapping[str, RelayConfig],
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Begin with nothing remembered; :meth:`load` takes up what earlier runs noted.

        Args:
            file: open control file.
            boards: this agent's boards.
            relays: their relays.
            clock: this machine's clocks.
            sleep: how to wait for one's turn.
        """
        self._file, self._boards, self._clock, self._sleep = file, boards, clock, sleep
        self._supplies = {
            relay: _Supply(f"supply {c.supply}" if c.supply else f"relay {relay}", c.stagger)
            for relay, c in relays.items()
        }
        self._started = Stamp.now(clock)
        self._off: dict[Port, Stamp] = {}
        self._on: set[Port] = set()
        self._measured: dict[Port, bool] = {}
        self._ons: dict[Port, list[Stamp]] = defaultdict(list)
        self._cycles: dict[str, list[Stamp]] = defaultdict(list)
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._last_on: dict[str, Stamp] = {}
        self._expected: dict[str, dict[Port, tuple[int, int]]] = defaultdict(dict)
        """By supply: ports that devices will switch on by themselves, earliest and latest moment (CLOCK_BOOTTIME)."""

    async def load(self) -> None:
        """Take up what earlier runs noted, and forget what is too old to matter; raises JournalAway."""
        boot, up, wall = self._clock.boot, self._clock.up() - _KEEP_US, self._clock.wall() - _KEEP_US
        await self._file.write(
            "DELETE FROM moves WHERE (boot = ? AND up < ?) OR (boot <> ? AND wall < ?)",
            (boot, up, boot, wall),
        )
        rows = await self._file.rows("SELECT what, subject, boot, up, wall FROM moves ORDER BY rowid")
        for what, subject, *times in rows:
            self._take(what, subject, self._of_this_boot(Stamp(*times), certain=what != "cycle"))
        for port, on in self._measured.items():  # a relay may have answered sooner than the disk
            self.observed(port, on=on)

    def _of_this_boot(self, stamp: Stamp, *, certain: bool) -> Stamp:
        """Return a moment before the machine's start as one that ages by the clock that never jumps.

        The wall clock may have been set meanwhile; ``certain`` is for what must not look older than it surely is.
        """
        if stamp.boot == self._clock.boot:
            return stamp
        age = round(stamp.age(self._clock) * 1e6)
        up = self._clock.up()
        age = min(age, up) if certain else age
        return Stamp(self._clock.boot, up - age, self._clock.wall() - age)

    def least_off(self, board: str) -> float:
        """Return how many seconds a board has to stay off once it is off."""
        return self._boards[board].min_off if board in self._boards else 0.0

    def off_left(self, board: str, ports: Iterable[Port]) -> float:
        """Return how many seconds the board has still to stay off, 0 when it may come on now.

        What went off before anybody here watched counts as off since the agent's start.
        """
        least = self.least_off(board)
        off_for = min(
            (self._off.get(port, self._started).age(self._clock) for port in ports if port not in self._on),
            default=least,
        )
        return max(0.0, least - off_for)

    def check_rate(self, board: str, ports: Iterable[Port]) -> None:
        """Raise Refused if the board was switched on too often within the last minute."""
        most = self._boards[board].max_ons if board in self._boards else 0
        for port in ports:
            recent = self._recent(self._ons[port], RATE_WINDOW_S)
            if most and len(recent) >= most:
                wait = RATE_WINDOW_S - recent[-most].age(self._clock)
                raise Refused(
                    Refusal.RATE,
                    f"{port[0]}:{port[1]} was switched on {len(recent)} times within a minute (max_ons is {most});"
                    f" the next time in {wait:.0f} s",
                )

    def check_breaker(self, board: str) -> None:
        """Raise Refused if the board was cycled too often without coming alive."""
        if why := self.tripped(board):
            raise Refused(
                Refusal.INTERLOCK, f"{why}; look at the board, then send it with force and a reason"
            )

    def tripped(self, board: str) -> str:
        """Return why a board is taken out, empty when it is not."""
        most = self._boards[board].max_cycles if board in self._boards else 0
        recent = self._recent(self._cycles[board], BREAKER_WINDOW_S)
        if not most or len(recent) < most:
            return ""
        times = f"{len(recent)} times within an hour without coming alive"
        return f"{board} was power-cycled {times} (max_cycles is {most})"

    def check(self) -> None:
        """Keep nobody from switching off."""

    def moved(self) -> None:
        """Take no notice: what is asked of the interlocks directly is wanted anyway."""

    @contextlib.asynccontextmanager
    async def turn(self, port: Port, still_wanted: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Wait for the port's turn among those of its supply; it is to be switched on inside the block.

        No other port of the supply has its turn before the block is left, however slow the device is.
        ``still_wanted`` is asked when the turn has come; if it raises, nothing is noted.
        """
        supply = self._supplies[port[0]]
        async with self._turns[supply.name]:
            while (left := self._until_turn(supply)) > 0:
                await self._sleep(left)
            still_wanted()
            self._note("on", f"{port[0]}:{port[1]}")
            try:
                yield
            finally:
                self._last_on[supply.name] = Stamp.now(self._clock)

    def turn_left(self, port: Port) -> float:
        """Return how many seconds the port's turn is away, as far as can be known now."""
        return max(0.0, self._until_turn(self._supplies[port[0]]))

    def expect_on(self, port: Port, seconds: float) -> bool:
        """Note that the device will switch a port on by itself in so many seconds.

        Returns False, and notes nothing, if that would come too close to another one.
        """
        supply = self._supplies[port[0]]
        due = self._clock.up() + round(seconds * 1e6)
        apart = (supply.stagger + _MARGIN_S) * 1e6
        others = [span for other, span in self._expected[supply.name].items() if other != port]
        if any(first - apart < due < last + apart for first, last in others):
            return False
        self._expected[supply.name][port] = due, due
        return True

    def expect_by(self, port: Port, seconds: float) -> None:
        """Note that what :meth:`expect_on` noted comes in so many seconds at the latest: the device took its time."""
        expected = self._expected[self._supplies[port[0]].name]
        if port in expected:
            expected[port] = expected[port][0], self._clock.up() + round(seconds * 1e6)

    def expect_no_more(self, port: Port) -> None:
        """Forget what :meth:`expect_on` noted."""
        self._expected[self._supplies[port[0]].name].pop(port, None)

    def _until_turn(self, supply: _Supply) -> float:
        """Return how many seconds the next port of a supply has to wait: after the last one, around expected ones."""
        last, now = self._last_on.get(supply.name), self._clock.up()
        waits = [supply.stagger - last.age(self._clock)] if last else []
        if supply.stagger:
            waits += [
                (last_due - now) / 1e6 + supply.stagger
                for first_due, last_due in self._expected[supply.name].values()
                if (first_due - now) / 1e6 < supply.stagger + _MARGIN_S
            ]
        return max(waits, default=0.0)

    async def came_on(self, port: Port) -> None:
        """Note that the device has switched a port on by itself, at the end of a pulse."""
        self._note("on", f"{port[0]}:{port[1]}")

    async def went_off(self, port: Port) -> None:
        """Note that a port was just measured off, or has acknowledged it where nothing can be measured."""
        self._note("off", f"{port[0]}:{port[1]}")

    def observed(self, port: Port, *, on: bool) -> None:
        """Take in what a port was measured to be: it may have been switched off behind our back."""
        self._measured[port] = on
        if on:
            self._on.add(port)
        elif port in self._on or port not in self._off:
            self._on.discard(port)
            self._off[port] = Stamp.now(self._clock)

    def doubt(self, ports: Iterable[Port]) -> None:
        """Take ports that may have gone off unnoticed, at a crash, for gone off just now."""
        for port in ports:
            self._off[port] = Stamp.now(self._clock)
            self._on.discard(port)

    async def cycled(self, board: str) -> None:
        """Note that a board is about to be cycled."""
        self._note("cycle", board)

    async def forgive(self, board: str) -> None:
        """Forget the cycles of a board: it came alive, or somebody has looked at it."""
        if self._cycles.pop(board, None):
            try:
                await self._file.write("DELETE FROM moves WHERE what = 'cycle' AND subject = ?", (board,))
            except JournalAway as away:
                log.warning(_NOT_NOTED, subject=board, why=str(away))

    def _note(self, what: str, subject: str) -> None:
        """Remember a move, on the disk if that can be written: an interlock must not keep a board off."""
        stamp = Stamp.now(self._clock)
        self._take(what, subject, stamp)
        self._file.jot_later(
            "INSERT INTO moves VALUES (?, ?, ?, ?, ?)",
            (what, subject, stamp.boot, stamp.up, stamp.wall),
            lambda away: log.warning(_NOT_NOTED, subject=subject, why=str(away)),
        )

    def _take(self, what: str, subject: str, stamp: Stamp) -> None:
        if what == "cycle":
            self._cycles[subject] = [*self._recent(self._cycles[subject], BREAKER_WINDOW_S), stamp]
            return
        relay, _, number = subject.rpartition(":")
        port = (relay, int(number))
        if what == "off":
            self._off[port] = stamp
            self._on.discard(port)
            return
        self._on.add(port)
        self._ons[port] = [*self._recent(self._ons[port], RATE_WINDOW_S), stamp]
        if relay in self._supplies:
            self._last_on[self._supplies[relay].name] = stamp

    def _recent(self, stamps: list[Stamp], seconds: float) -> list[Stamp]:
        return [stamp for stamp in stamps if stamp.age(self._clock) < seconds]
