"""From telemetry to rows: groups of envelopes, one commit for each, and acknowledgements after it.

Many agents share a transaction. What arrives while the database is away is not taken: its agents keep it and
send it again, so nothing here needs to be remembered. An acknowledgement is sent only for what a commit that
returned has stored; after a commit with an unknown outcome nothing is said at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import structlog

from boardherd_collector.counters import Counters
from boardherd_collector.envelopes import Rejected, read_envelope
from boardherd_collector.fleet import Fleet
from boardherd_collector.greeting import Greeter, Heard
from boardherd_collector.health import STORE, Health
from boardherd_collector.ledger import merged
from boardherd_collector.quota import STREAMS_A_DAY, StreamQuota
from boardherd_collector.stores.base import Commit, Outcome, Received, Store, StoreError
from boardherd_collector.times import SECOND
from boardherd_collector.turns import IDLE_S, Turns
from boardherd_shared.backoff import delays
from boardherd_shared.failpoints import STORED, reach
from boardherd_shared.messages import Ack, Hello, Range, RefusedEnvelope, Resume, Standing, encode
from boardherd_shared.records import EventRecord
from boardherd_shared.topics import Kind, Topics
from boardherd_shared.values import one_line

GROUP = 200
"""Envelopes in one transaction, at most."""
GATHER_S = 0.05
"""How long a group waits for more after its first envelope."""
MAX_WAITING = 1000
"""Envelopes that may wait for a commit; more are left to their agents."""
HELLOS = 50
"""Hellos in one transaction, at most: what they set going is stored before more are answered."""
_REFUSED = {
    Outcome.CONFLICT: ("conflict", "this number is taken by other content, or the stream by another agent"),
    Outcome.INVALID: (
        "invalid",
        "the stream has too many holes, or the PC is one unknown to the lab too many",
    ),
}

log = structlog.get_logger()


class Ingest:
    """Takes envelopes and hellos in, and stores them."""

    def __init__(
        self,
        topics: Topics,
        store: Store,
        fleet: Fleet,
        counters: Counters,
        health: Health,
        *,
        post: Callable[[str, bytes], None],
        on_store_back: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Make it; nothing happens before :meth:`run`.

        Args:
            topics: of the site.
            store: open already; reopened here after a failure.
            fleet: gets the records at once, whatever the store does.
            counters: figures about this work.
            health: hears how the store is.
            post: publishes a payload on a topic, without waiting.
            on_store_back: called when the store works again, so that agents are made to say hello.
            now: the time, Unix seconds.
        """
        self._topics = topics
        self._store = store
        self._fleet = fleet
        self._counters = counters
        self._health = health
        self._post = post
        self._on_store_back = on_store_back
        self._now = now
        self._waiting: deque[Received] = deque()
        self._hellos: dict[str, Heard] = {}
        self._work = asyncio.Event()
        self._full = asyncio.Event()
        self._away = False
        self._busy_since: float | None = None
        self._delays: Iterator[float] = delays()
        self._quota = StreamQuota()
        self._greeter = Greeter(store, fleet, counters, self._quota, self._store_group)
        self._turns = Turns()
        self._standings: dict[str, Standing] = {}
        self._online = 1

    def telemetry(self, agent: str, payload: bytes, received_at: float) -> None:
        """Take the payload of a telemetry message; raises Rejected, after refusing what can be named."""
        try:
            envelope = self._read(agent, payload, received_at)
        except Rejected as rejected:
            self._counters.envelopes_refused += 1
            self._refuse(agent, rejected)
            raise
        records = tuple(record for _, record in envelope.records)
        self._fleet.telemetry(agent, envelope.boot, records, received_at)
        if self._away or len(self._waiting) >= MAX_WAITING:
            self._counters.envelopes_deferred += 1
            return
        self._waiting.append(envelope)
        self._turns.arrived(agent, envelope.stream, envelope.seq, time.monotonic())
        self._work.set()
        if len(self._waiting) >= GROUP:
            self._full.set()

    def _read(self, agent: str, payload: bytes, received_at: float) -> Received:
        envelope = read_envelope(agent, payload, round(received_at * SECOND))
        if not self._quota.admit(agent, _streams(envelope), received_at):
            text = f"{agent} has used {STREAMS_A_DAY} streams today, and no more are taken"
            raise Rejected("unsupported", text, payload)
        return envelope

    def tell_standings(self, standings: Mapping[str, Standing]) -> None:
        """Tell agents what they must heed, where that is not what they were told last."""
        for agent, standing in standings.items():
            if self._standings.get(agent, Standing()) != standing and agent in self._turns:
                self._standings[agent] = standing
                self._ack(agent, self._turns.stream(agent), [], [], standing)

    def hello(self, agent: str, hello: Hello, received_at: float) -> None:
        """Take a hello that was just said; it is answered once the database has been asked.

        Of several by one agent the newest is answered.
        """
        offset = round(received_at * SECOND) - hello.up
        self._fleet.clock(agent, hello.boot, offset, final=False)
        if self._away:
            return
        self._hellos[agent] = Heard(agent, hello, received_at)
        self._work.set()

    @property
    def busy_for(self) -> float:
        """How long the present transaction has been under way, in seconds; 0 when there is none."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wait_for_work()
            self._work.clear()
            try:
                self._call(self._go_round())
                while self._hellos or self._waiting:
                    await self._answer_hellos()
                    await self._commit()
            except StoreError as error:
                await self._wait_out(error)
            finally:
                self._busy_since = None

    async def _wait_for_work(self) -> None:
        """Return when something has come, or when somebody's turn may be over for which others wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S if self._turns.crowded else None):
                await self._work.wait()

    async def _gather(self) -> None:
        """Wait a moment for the group to grow, unless there is something else to do meanwhile."""
        if self._hellos or not 0 < len(self._waiting) < GROUP:
            return
        self._full.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                await self._full.wait()

    async def _commit(self) -> None:
        await self._gather()
        group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        if not group:
            return
        commit = await self._store_group(group)
        self._busy_since = None
        now = time.monotonic()
        for item, outcome in zip(group, commit.outcomes, strict=True):
            self._turns.settled(item.agent, item.stream, item.seq, now, new=outcome is Outcome.COMMITTED)
        begun = self._go_round()
        self._acknowledge(group, commit.outcomes)
        self._call(begun, told={item.agent for item in group})
        self._delays = delays()

    async def _store_group(self, group: list[Received]) -> Commit:
        """Store a group in one transaction and count what came of it."""
        began = self._busy_since = time.monotonic()
        commit = await self._store.commit(group)
        reach(STORED)
        self._count(group, commit, time.monotonic() - began)
        return commit

    def _count(self, group: Sequence[Received], commit: Commit, seconds: float) -> None:
        counters, now = self._counters, self._now()
        counters.commits += 1
        counters.commit_seconds_total += seconds
        counters.last_commit_at = now
        counters.ingest_lag_s = max(0.0, now - min(envelope.received_at for envelope in group) / SECOND)
        counters.envelopes_stored += commit.outcomes.count(Outcome.COMMITTED)
        counters.envelopes_duplicate += commit.outcomes.count(Outcome.DUPLICATE)
        counters.envelopes_refused += sum(outcome in _REFUSED for outcome in commit.outcomes)
        counters.records_stored.update(commit.records)
        counters.dead_letters += commit.dead_letters
        counters.commands.update(commit.finished)

    def _acknowledge(self, group: Sequence[Received], outcomes: Sequence[Outcome]) -> None:
        """Say what is stored, duplicates too: else a lost acknowledgement would block its agent for ever."""
        stored: dict[tuple[str, str], list[Range]] = {}
        refused: dict[tuple[str, str], list[RefusedEnvelope]] = {}
        for envelope, outcome in zip(group, outcomes, strict=True):
            key = envelope.agent, envelope.stream
            stored.setdefault(key, [])
            if outcome in _REFUSED:
                code, text = _REFUSED[outcome]
                refused.setdefault(key, []).append(
                    RefusedEnvelope.model_validate(
                        {"seq": envelope.seq, "digest": envelope.digest, "code": code, "text": text}
                    )
                )
                log.warning("envelope refused", agent=envelope.agent, seq=envelope.seq, code=code)
            else:
                stored[key].append((envelope.seq, envelope.seq))
        for (agent, stream), ranges in stored.items():
            self._ack(agent, stream, merged(ranges), refused.get((agent, stream), []))

    def _refuse(self, agent: str, rejected: Rejected) -> None:
        if rejected.stream is None or rejected.seq is None:
            return
        refusal = RefusedEnvelope(
            seq=rejected.seq, digest=rejected.digest, code=rejected.code, text=one_line(rejected.text)
        )
        self._ack(agent, rejected.stream, [], [refusal])

    def _ack(
        self,
        agent: str,
        stream: str,
        committed: Sequence[Range],
        refused: Sequence[RefusedEnvelope],
        standing: Standing | None = None,
    ) -> None:
        grant = self._turns.grant(agent, self._online)
        ack = Ack(
            stream=stream,
            committed=tuple(committed),
            refused=tuple(refused),
            window=grant.window,
            wait=grant.wait,
            standing=standing,
            server_time=self._now(),
        )
        self._post(self._topics.build(Kind.ACK, agent=agent), encode(ack))

    def _go_round(self) -> list[str]:
        """See whose turn it is now; return those who do not know yet."""
        self._online = self._fleet.online
        return self._turns.go_round(time.monotonic())

    def _call(self, agents: Sequence[str], told: Collection[str] = ()) -> None:
        """Tell agents that their turn has come, but those who were ``told`` with something else."""
        for agent in agents:
            if agent not in told:
                self._ack(agent, self._turns.stream(agent), [], [])

    async def _answer_hellos(self) -> None:
        """Answer some of those that wait; the others let telemetry pass."""
        round_ = [self._hellos.pop(agent) for agent in list(self._hellos)[:HELLOS]]
        if not round_:
            return
        self._busy_since = time.monotonic()
        answers = await self._greeter.answer(round_)
        self._busy_since = None
        for heard, missing in zip(round_, answers, strict=True):
            lacking = sum(last - first + 1 for ranges in missing.values() for first, last in ranges)
            tops = {info.stream: info.last for info in heard.hello.streams}
            if self._fleet.knows(heard.agent):
                self._turns.greeted(heard.agent, tops, lacking)
        begun = self._go_round()
        standings = self._fleet.standings()
        for heard, missing in zip(round_, answers, strict=True):
            standing = standings.get(heard.agent)
            if standing is not None:
                self._standings[heard.agent] = standing
            self._resume(heard, missing, standing)
        self._call(begun, told={heard.agent for heard in round_})

    def _resume(self, heard: Heard, missing: dict[str, tuple[Range, ...]], standing: Standing | None) -> None:
        grant = self._turns.grant(heard.agent, self._online)
        resume = Resume(
            session=heard.hello.session,
            missing=missing,
            window=grant.window,
            wait=grant.wait,
            standing=standing,
            server_time=self._now(),
        )
        self._post(self._topics.build(Kind.RESUME, agent=heard.agent), encode(resume))

    async def _wait_out(self, error: StoreError) -> None:
        """Try until the store works again; meanwhile everything is left to the agents."""
        self._counters.commit_failures += 1
        self._away = True
        trouble = error
        while True:
            self._health.set(STORE, ok=False, text=str(trouble))
            self._counters.envelopes_deferred += len(self._waiting)
            self._waiting.clear()
            self._hellos.clear()
            self._busy_since = None
            await asyncio.sleep(next(self._delays))
            try:
                await self._store.reopen()
            except StoreError as again:
                trouble = again
            else:
                break
        self._away = False
        self._turns = Turns()  # all say hello again
        self._health.set(STORE, ok=True, text=self._store.name)
        self._on_store_back()


def _streams(envelope: Received) -> set[str]:
    """Return the streams whose ledger an envelope touches: its own, and those it declares losses of."""
    records = (record for _, record in envelope.records)
    losses = (record.loss for record in records if isinstance(record, EventRecord))
    return {envelope.stream, *(loss.stream for loss in losses if loss is not None)}
