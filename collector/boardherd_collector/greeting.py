"""The answer to a hello: what an agent says of its spool, compared with what the database has.

Three things follow from it. What the database lacks is asked for. What neither side has is asked for as well,
since only the agent knows the reason, and it declares those numbers lost. And a stream that the agent no
longer names is settled here: what the database lacks of it, nobody can send any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.ledger import Ledger, merged
from boardherd_collector.quota import StreamQuota
from boardherd_collector.stores.base import Commit, Greeted, Greeting, Received, Store
from boardherd_collector.times import SECOND, TOLERANCE
from boardherd_shared.messages import Hello, Range, StreamInfo, digest
from boardherd_shared.records import EventRecord, LostRange
from boardherd_shared.topics import Kind
from boardherd_shared.values import MAX_INT

MAX_RANGES = 256
"""Ranges of one stream that a resume asks for because the agent holds them."""
_MAX_GONE = 64
"""Ranges of one stream that it asks for though the agent does not: the rest is for the next hello."""
_MAX_STREAMS = 16
_IN_MEMORY = "they were kept in memory only, and the agent that had them has ended"
_TAKEN_AWAY = "the agent no longer has the spool that held them"

log = structlog.get_logger()


@dataclass(frozen=True)
class Heard:
    """A hello that was just said, and waits for its answer."""

    agent: str
    hello: Hello
    received_at: float
    """Unix seconds."""

    @property
    def now(self) -> int:
        """When it came, microseconds since 1970 UTC."""
        return round(self.received_at * SECOND)


class Greeter:
    """Answers hellos, many at a time: what they cost is the transaction more than the hello."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        counters: Counters,
        quota: StreamQuota,
        commit: Callable[[list[Received]], Awaitable[Commit]],
    ) -> None:
        """Make it.

        Args:
            store: what the database has.
            fleet: learns the clock of the PC's boot.
            counters: figures about this work.
            quota: how many streams an agent may use.
            commit: stores envelopes and counts what came of it.
        """
        self._store = store
        self._fleet = fleet
        self._counters = counters
        self._quota = quota
        self._commit = commit
        self._named: dict[str, tuple[StreamInfo, ...]] = {}
        self._reminded = False
        self._sessions: dict[str, str] = {}
        self._clocks_off: set[str] = set()

    async def answer(self, round_: Sequence[Heard]) -> list[dict[str, tuple[Range, ...]]]:
        """Take in live hellos, each of another agent; raises StoreError.

        Returns what the database lacks, by stream, in the order of the hellos.
        """
        await self._settle(round_)
        answers = await self._store.greet(
            [Greeting(heard.agent, heard.hello, heard.now, _asked(heard.hello)) for heard in round_]
        )
        return [self._take(heard, answer) for heard, answer in zip(round_, answers, strict=True)]

    def _take(self, heard: Heard, answer: Greeted) -> dict[str, tuple[Range, ...]]:
        """Note what follows from a hello; return what to ask its agent for."""
        agent, hello = heard.agent, heard.hello
        self._fleet.clock(agent, hello.boot, answer.clock, final=True)
        missing = {info.stream: _wanted(info, answer.missing.get(info.stream)) for info in hello.streams}
        if answer.refused:
            self._counters.rejected[Kind.HELLO] += 1
            log.warning(
                "the database refuses a hello, it is answered and not kept", agent=agent, why=answer.refused
            )
        if self._sessions.get(agent) != hello.session:
            wanted = sum(last - first + 1 for ranges in missing.values() for first, last in ranges)
            log.info("agent said hello", agent=agent, missing_envelopes=wanted)
        if self._fleet.knows(agent):
            self._named[agent] = hello.streams
            self._sessions[agent] = hello.session
            self._watch_clock(agent, hello.wall - heard.now)
        return missing

    async def _settle(self, round_: Sequence[Heard]) -> None:
        """Declare lost what only streams held that their agents named before and name no more."""
        if not self._reminded:
            pcs = (await self._store.snapshot()).pcs
            self._named = {pc.agent: pc.hello.streams for pc in pcs if pc.hello is not None}
            self._reminded = True
        declarations = []
        for heard in round_:
            losses = [
                loss for info in self._gone(heard) for loss in await self._lost(heard.agent, info, heard.now)
            ]
            if losses:
                declarations.append(await self._declaration(heard.agent, heard.hello, losses, heard.now))
        if declarations:
            await self._commit(declarations)

    def _gone(self, heard: Heard) -> list[StreamInfo]:
        """Return the streams that nobody can send from any more.

        A stream on a disk counts as gone only when the agent has a disk again that does not hold it.
        """
        listed = {info.stream for info in heard.hello.streams}
        on_disk = any(not info.volatile for info in heard.hello.streams)
        named = self._named.get(heard.agent, ())[:_MAX_STREAMS]
        return [info for info in named if info.stream not in listed and (info.volatile or on_disk)]

    async def _lost(self, agent: str, info: StreamInfo, now: int) -> list[LostRange]:
        """Return what can never come of a stream that is gone: one range, of which some may be stored."""
        if not self._quota.admit(agent, {info.stream}, now / SECOND):
            return []
        lacking = await self._store.missing(agent, info.stream, [(1, MAX_INT)])
        highest = lacking[-1][0] - 1 if lacking and lacking[-1][1] == MAX_INT else MAX_INT
        gone = Ledger(0, [(max(highest, info.last) + 1, MAX_INT)]).missing(lacking)
        if not gone:
            return []
        count = sum(last - first + 1 for first, last in gone)
        reason = _IN_MEMORY if info.volatile else _TAKEN_AWAY
        self._counters.envelopes_lost += count
        log.error("envelopes are lost", agent=agent, stream=info.stream, envelopes=count, why=reason)
        return [LostRange(stream=info.stream, first=gone[0][0], last=gone[-1][1], records=0, reason=reason)]

    async def _declaration(self, agent: str, hello: Hello, losses: Sequence[LostRange], now: int) -> Received:
        """Return an envelope by which we speak for an agent that cannot know, in a stream of our own."""
        stream = digest(f"the collector for {agent}".encode())[:32]
        free = await self._store.missing(agent, stream, [(1, MAX_INT)])
        records = tuple((place, _event(loss, hello, now)) for place, loss in enumerate(losses))
        return Received(
            agent=agent,
            stream=stream,
            seq=free[0][0],
            class_="events",
            boot=hello.boot,
            digest=digest(repr(records).encode()),
            received_at=now,
            records=records,
        )

    def _watch_clock(self, agent: str, ahead: int) -> None:
        """Log, once per change, that the clock of a PC is wrong."""
        if (abs(ahead) > TOLERANCE) == (agent in self._clocks_off):
            return
        if agent in self._clocks_off:
            self._clocks_off.remove(agent)
            log.info("the clock of a test PC is right again", agent=agent)
        else:
            self._clocks_off.add(agent)
            by = round(ahead / SECOND)
            log.warning("the clock of a test PC is off, its times are corrected", agent=agent, ahead_s=by)


def _asked(hello: Hello) -> dict[str, list[Range]]:
    """Return which numbers the ledger is asked about, by stream; streams beyond the first few are not looked at."""
    return {info.stream: merged([*info.retained, *_given_out(info)]) for info in hello.streams[:_MAX_STREAMS]}


def _given_out(info: StreamInfo) -> list[Range]:
    return [(1, info.last)] if info.last else []


def _wanted(info: StreamInfo, lacking: Sequence[Range] | None) -> tuple[Range, ...]:
    """Return what to ask for of a stream: of one too many (None) everything that is held, unseen."""
    held = merged(info.retained)
    if lacking is None:
        return capped(held)
    gone = Ledger(0, held).missing(lacking)
    wanted = Ledger(0, gone).missing(lacking)
    return tuple(merged([*capped(wanted, held), *gone[:_MAX_GONE]]))


def capped(ranges: Sequence[Range], held: Sequence[Range] = ()) -> tuple[Range, ...]:
    """Return at most :data:`MAX_RANGES` ranges that cover ``ranges``, which are in order and apart.

    Where there are too many the smallest gaps are closed, and first of all those within one range of
    ``held``: to send what is stored costs a duplicate, but what is not asked for counts as stored.
    """
    surplus = len(ranges) - MAX_RANGES
    if surplus <= 0:
        return tuple(ranges)
    bounds = Ledger(0, held)

    def cost(place: int) -> tuple[bool, int]:
        gap = ranges[place - 1][1] + 1, ranges[place][0] - 1
        return bool(bounds.missing([gap])), gap[1] - gap[0]

    closed = set(sorted(range(1, len(ranges)), key=cost)[:surplus])
    out: list[Range] = []
    for place, (first, last) in enumerate(ranges):
        if place in closed:
            out[-1] = out[-1][0], last
        else:
            out.append((first, last))
    return tuple(out)


def _event(loss: LostRange, hello: Hello, now: int) -> EventRecord:
    text = (
        f"what the database lacks of envelopes {loss.first} to {loss.last} of stream {loss.stream[:8]} is lost: "
        f"{loss.reason}"
    )
    return EventRecord(at=now, up=hello.up, event="loss", subject="agent/spool", text=text, loss=loss)
