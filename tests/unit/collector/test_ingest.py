"""Groups, commits and acknowledgements, with a store that fails on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from boardherd_collector.counters import Counters
from boardherd_collector.envelopes import Rejected
from boardherd_collector.fleet import Fleet
from boardherd_collector.greeting import MAX_RANGES, capped
from boardherd_collector.health import STORE, Health
from boardherd_collector.ingest import GROUP, HELLOS, MAX_WAITING, Ingest
from boardherd_collector.quota import STREAMS_A_DAY
from boardherd_collector.stores.base import Commit, Greeted, Greeting, Received, StoreError
from boardherd_collector.stores.memory import MemoryStore
from boardherd_collector.turns import CREDIT, MIN_WINDOW
from boardherd_shared.messages import Ack, Resume, Status, StreamInfo, decode, digest
from boardherd_shared.topics import Topics
from support.telemetry import NOW, SECOND, STREAM, hello, host, lab, loss, payload

T = NOW / SECOND


class MoodyStore(MemoryStore):
    """Works, fails before or after its commit, or waits, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.fail_after_commit = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.groups: list[int] = []
        self.order: list[str] = []

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        await self.gate.wait()
        self.order.append(f"{len(greetings)} hellos")
        return await super().greet(greetings)

    async def commit(self, group: Sequence[Received]) -> Commit:
        await self.gate.wait()
        if self.broken:
            raise StoreError("disk is full")
        self.groups.append(len(group))
        self.order.append("commit")
        result = await super().commit(group)
        if self.fail_after_commit:
            raise StoreError("connection lost during COMMIT")
        return result

    async def reopen(self) -> None:
        if self.broken:
            raise StoreError("disk is still full")


@dataclass
class Rig:
    store: MoodyStore
    ingest: Ingest
    counters: Counters
    health: Health
    fleet: Fleet
    posted: list[tuple[str, bytes]]
    renewals: list[None] = field(default_factory=list)

    def send(self, seq: int, agent: str = "pc-01", **other: object) -> None:
        self.ingest.telemetry(agent, payload(seq, host(), agent=agent, **other), T)  # type: ignore[arg-type]

    def acks(self, agent: str = "pc-01") -> list[Ack]:
        topic = f"boardherd/v1/lab/{agent}/ack"
        return [decode(Ack, body) for where, body in self.posted if where == topic]

    def acked(self, agent: str = "pc-01") -> set[int]:
        return {seq for ack in self.acks(agent) for a, b in ack.committed for seq in range(a, b + 1)}

    def hello(self, agent: str, *, last: int = 0) -> None:
        """Have an agent come online and say that its spool holds ``last`` envelopes, of a stream of its own."""
        stream = digest(agent.encode())[:32]
        info = StreamInfo(stream=stream, retained=((1, last),) if last else (), last=last)
        self.fleet.status(agent, Status(state="online", session="a" * 16, at=T), T)
        said = hello(agent, streams=(info,), up=600 * SECOND)
        self.fleet.hello(agent, said, T, live=True)
        self.ingest.hello(agent, said, T)

    def resumes(self) -> dict[str, Resume]:
        """Return the newest answer to each agent's hello."""
        return {
            topic.split("/")[3]: decode(Resume, body)
            for topic, body in self.posted
            if topic.endswith("/resume")
        }

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(10):
            while not condition():  # type: ignore[operator]  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    store, counters, health = MoodyStore(), Counters(), Health()
    fleet = Fleet(lab())
    posted: list[tuple[str, bytes]] = []
    renewals: list[None] = []
    await store.sync_inventory(lab(), NOW)
    ingest = Ingest(
        Topics("lab"),
        store,
        fleet,
        counters,
        health,
        post=lambda topic, body: posted.append((topic, body)),
        on_store_back=lambda: renewals.append(None),
        now=lambda: T + 1,
    )
    health.set(STORE, ok=True, text="memory")
    task = asyncio.create_task(ingest.run(), name="ingest")
    yield Rig(store, ingest, counters, health, fleet, posted, renewals)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_acknowledged_before_its_commit(rig: Rig) -> None:
    """DEL-3."""
    rig.store.gate.clear()
    rig.send(1)
    await asyncio.sleep(0.1)
    assert rig.posted == []
    assert rig.ingest.busy_for > 0
    rig.store.gate.set()
    await rig.until(lambda: rig.acked() == {1})
    assert rig.ingest.busy_for == 0


async def test_many_agents_share_a_commit_and_each_gets_its_acknowledgement(rig: Rig) -> None:
    for seq in (1, 2, 4):
        rig.send(seq)
    rig.send(1, "pc-02", stream="b" * 32)
    await rig.until(lambda: len(rig.posted) == 2)
    assert rig.store.groups == [4]
    assert rig.acks()[0].committed == ((1, 2), (4, 4))
    assert rig.acks("pc-02")[0].stream == "b" * 32
    assert (rig.counters.commits, rig.counters.envelopes_stored) == (1, 4)
    assert rig.counters.records_stored == {"host": 4}
    assert rig.counters.ingest_lag_s == 1


async def test_a_full_group_does_not_wait(rig: Rig) -> None:
    for seq in range(1, 2 * GROUP + 2):
        rig.send(seq)
    await rig.until(lambda: len(rig.acked()) == 2 * GROUP + 1)
    assert rig.store.groups == [GROUP, GROUP, 1]


async def test_duplicates_are_acknowledged_too(rig: Rig) -> None:
    """DEL-1: a lost acknowledgement must not block its agent for ever."""
    rig.send(1)
    await rig.until(lambda: rig.acked() == {1})
    rig.posted.clear()
    rig.send(1)
    await rig.until(lambda: rig.acked() == {1})
    assert rig.counters.envelopes_duplicate == 1


async def test_a_conflict_is_refused_by_number_and_digest(rig: Rig) -> None:
    rig.send(1)
    await rig.until(lambda: rig.acked() == {1})
    rig.send(1, boot="boot-9")
    await rig.until(lambda: len(rig.acks()) == 2)
    (refused,) = rig.acks()[1].refused
    assert (refused.seq, refused.code, rig.acks()[1].committed) == (1, "conflict", ())
    assert rig.counters.envelopes_refused == 1


async def test_what_makes_no_sense_is_refused_where_it_can_be_named(rig: Rig) -> None:
    with pytest.raises(Rejected):
        rig.send(5, v=2)
    with pytest.raises(Rejected):
        rig.ingest.telemetry("pc-01", b"garbage", T)
    (ack,) = rig.acks()
    assert [(refused.seq, refused.code) for refused in ack.refused] == [(5, "unsupported")]
    assert rig.counters.envelopes_refused == 2


async def test_a_failed_commit_is_not_acknowledged_and_everything_comes_again(rig: Rig) -> None:
    """DEL-1, OPS-1: a failing database shows, is waited out, and loses nothing."""
    rig.store.broken = True
    rig.send(1)
    await rig.until(lambda: not rig.health.ok(STORE))
    assert "disk is full" in (rig.health.banner() or "")
    rig.send(2)
    assert rig.counters.envelopes_deferred == 1
    assert rig.fleet.view(T).pcs[0].sample is not None
    rig.store.broken = False
    await rig.until(lambda: rig.renewals)
    assert rig.health.ok(STORE)
    assert rig.acks() == []
    rig.send(1)
    rig.send(2)
    await rig.until(lambda: rig.acked() == {1, 2})
    assert rig.counters.commit_failures == 1
    assert (await rig.store.counts()).rows["pc_stats"] == 2


async def test_an_unknown_outcome_is_settled_by_the_ledger(rig: Rig) -> None:
    """DEL-1: the commit took place, its answer was lost; sent again, it is a duplicate."""
    rig.store.fail_after_commit = True
    rig.send(1)
    await rig.until(lambda: rig.counters.commit_failures)
    rig.store.fail_after_commit = False
    await rig.until(lambda: rig.renewals)
    assert rig.acks() == []
    rig.send(1)
    await rig.until(lambda: rig.acked() == {1})
    assert (rig.counters.envelopes_duplicate, (await rig.store.counts()).rows["pc_stats"]) == (1, 1)


async def test_the_queue_has_an_end(rig: Rig) -> None:
    """SEC-2: what does not fit is left to its agents."""
    rig.store.gate.clear()
    for seq in range(1, MAX_WAITING + GROUP + 50):
        rig.send(seq)
    assert rig.counters.envelopes_deferred > 0
    rig.store.gate.set()
    await rig.until(lambda: len(rig.acked()) >= MAX_WAITING)


async def test_a_hello_is_answered_with_what_is_missing(rig: Rig) -> None:
    for seq in (1, 3):
        rig.send(seq)
    await rig.until(lambda: rig.acked() == {1, 3})
    said = hello(streams=(StreamInfo(stream=STREAM, retained=((1, 5),), last=5),), up=600 * SECOND)
    rig.fleet.hello("pc-01", said, T, live=True)
    rig.ingest.hello("pc-01", said, T)
    await rig.until(lambda: any(topic.endswith("/resume") for topic, _ in rig.posted))
    resume = decode(Resume, rig.posted[-1][1])
    assert (resume.session, resume.missing) == (said.session, {STREAM: ((2, 2), (4, 5))})
    assert (resume.window, resume.server_time) == (32, T + 1)
    (pc, _) = (await rig.store.snapshot()).pcs
    assert (pc.hello, pc.clock) == (said, NOW - 600 * SECOND)


async def test_hellos_are_answered_while_telemetry_keeps_coming(rig: Rig) -> None:
    rig.store.gate.clear()
    rig.send(1)
    await rig.until(lambda: rig.ingest.busy_for)
    rig.ingest.hello("pc-02", hello("pc-02"), T)
    for seq in range(2, 3 * GROUP):
        rig.send(seq)
    rig.store.gate.set()
    await rig.until(lambda: len(rig.acked()) == 3 * GROUP - 1)
    topics = [topic for topic, _ in rig.posted]
    assert topics.index("boardherd/v1/lab/pc-02/resume") <= 1


async def test_many_hellos_share_a_transaction_and_telemetry_has_its_turn_between(rig: Rig) -> None:
    """DEL-5: who was answered first shows fresh data while others are still answered."""
    rig.store.gate.clear()
    rig.send(1)
    await rig.until(lambda: rig.ingest.busy_for)
    for number in range(2 * HELLOS + 1):
        rig.hello(f"x-{number}")
    for seq in range(2, 3 * GROUP):
        rig.send(seq)
    rig.store.gate.set()
    await rig.until(lambda: len(rig.acked()) == 3 * GROUP - 1)
    hellos, commit = f"{HELLOS} hellos", "commit"
    assert rig.store.order == [commit, hellos, commit, hellos, commit, "1 hellos", commit]
    assert len(rig.resumes()) == 2 * HELLOS + 1


async def test_a_resume_says_what_the_ledger_holds_after_what_was_acknowledged(rig: Rig) -> None:
    """DEL-1: what an agent knows to be stored is never asked for again."""
    rig.hello("pc-01", last=3)
    stream = digest(b"pc-01")[:32]
    for seq in (1, 3):
        rig.send(seq, stream=stream)
        rig.hello("pc-01", last=3)
        await rig.until(lambda seq=seq: seq in rig.acked())
    rig.hello("pc-01", last=3)
    await rig.until(lambda: rig.resumes()["pc-01"].missing == {stream: ((2, 2),)})
    known: set[int] = set()
    for topic, body in rig.posted:
        if topic.endswith("/ack"):
            known |= {seq for first, last in decode(Ack, body).committed for seq in range(first, last + 1)}
        else:
            wanted = decode(Resume, body).missing[stream]
            assert not known & {seq for first, last in wanted for seq in range(first, last + 1)}


async def test_of_many_agents_with_a_backlog_some_have_their_turn_and_the_others_are_called(rig: Rig) -> None:
    """DEL-5: together they have no more on its way than a broker queues, and everybody's turn comes."""
    slots = CREDIT // MIN_WINDOW
    agents = [f"x-{number}" for number in range(slots + 3)]
    for agent in agents:
        rig.hello(agent, last=2)
    await rig.until(lambda: len(rig.resumes()) == len(agents))
    granted = [resume.window for resume in rig.resumes().values() if not resume.wait]
    assert len(granted) == slots
    waiting = [agent for agent, resume in rig.resumes().items() if resume.wait]
    assert len(waiting) == 3
    first = next(agent for agent in agents if agent not in waiting)
    for seq in (1, 2):
        rig.send(seq, first, stream=digest(first.encode())[:32])
    await rig.until(lambda: rig.acks(waiting[0]))
    (call,) = rig.acks(waiting[0])
    assert (call.committed, call.wait, call.window) == ((), False, MIN_WINDOW)
    assert call.stream == digest(waiting[0].encode())[:32]
    assert rig.acks(waiting[1]) == []


async def test_a_failure_of_the_database_ends_all_turns(rig: Rig) -> None:
    """All agents say hello again, and are given what they ask for then."""
    for number in range(CREDIT // MIN_WINDOW + 1):
        rig.hello(f"x-{number}", last=2)
    await rig.until(lambda: any(resume.wait for resume in rig.resumes().values()))
    (left,) = [agent for agent, resume in rig.resumes().items() if resume.wait]
    rig.store.broken = True
    rig.send(1)
    await rig.until(lambda: not rig.health.ok(STORE))
    rig.store.broken = False
    await rig.until(lambda: rig.renewals)
    rig.posted.clear()
    rig.hello(left, last=2)
    await rig.until(lambda: left in rig.resumes())
    assert not rig.resumes()[left].wait


async def test_the_lag_is_not_negative_when_the_clock_steps_back(rig: Rig) -> None:
    rig.ingest.telemetry("pc-01", payload(1, host()), time.time() + 10**6)
    await rig.until(lambda: rig.acked() == {1})
    assert rig.counters.ingest_lag_s >= 0


@pytest.mark.parametrize("count", [0, 1, MAX_RANGES - 1, MAX_RANGES, MAX_RANGES + 1, 3 * MAX_RANGES])
def test_a_capped_resume_asks_for_at_least_what_is_missing(count: int) -> None:
    """DEL-1: an agent takes what is not asked for as stored."""
    ranges = [(10 * place, 10 * place + place % 7) for place in range(1, count + 1)]
    short = capped(ranges)
    assert len(short) == min(count, MAX_RANGES)
    covered = {seq for first, last in short for seq in range(first, last + 1)}
    assert covered >= {seq for first, last in ranges for seq in range(first, last + 1)}
    if count <= MAX_RANGES:
        assert list(short) == ranges


async def test_streams_beyond_the_quota_are_refused_in_words_and_counted(rig: Rig) -> None:
    """SEC-2: one agent cannot fill the ledger with streams, by envelopes or by losses."""
    for number in range(STREAMS_A_DAY):
        rig.send(1, stream=f"{number:032x}")
    with pytest.raises(Rejected, match="pc-01 has used 100 streams today"):
        rig.send(1, stream="f" * 32)
    with pytest.raises(Rejected):
        rig.ingest.telemetry("pc-01", payload(2, loss(1, 1, stream="e" * 32), stream="0" * 32), T)
    rig.send(2, stream="0" * 32)
    rig.send(1, "pc-02", stream="f" * 32)
    await rig.until(lambda: rig.acked("pc-02") == {1} and rig.counters.envelopes_stored == STREAMS_A_DAY + 2)
    refused = [one for ack in rig.acks() for one in ack.refused]
    assert [one.code for one in refused] == ["unsupported", "unsupported"]
    assert "100 streams" in refused[0].text
    assert rig.counters.envelopes_refused == 2
