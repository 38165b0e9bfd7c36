"""The uplink over a real Mosquitto, against a small collector by hand that misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from boardherd_agent.delivery.figures import delivery_fields
from boardherd_agent.delivery.spool import Limits, Spool
from boardherd_agent.delivery.window import PRESENT
from boardherd_shared.ids import new_session
from boardherd_shared.link import BrokerSettings, Incoming, Link, Session
from boardherd_shared.messages import (
    Ack,
    Envelope,
    Hello,
    RefusedEnvelope,
    Resume,
    Status,
    decode,
    digest,
    encode,
)
from boardherd_shared.records import HostRecord
from boardherd_shared.topics import Kind, Topics, parse
from support.broker import Mosquitto
from support.delivery import Database, HandClock, event, host
from support.hand_agent import AGENT, HandAgent


class HandCollector:
    """Stores envelopes and acknowledges them, except as told otherwise."""

    def __init__(self, url: str, site: str) -> None:
        self.database = Database()
        self.session = new_session()
        self.hellos: list[Hello] = []
        self.arrived: list[int] = []
        self.seen: Counter[int] = Counter()
        self.window = 4
        self.wait = False
        self.silent_resumes = 0
        self.lost_acks: Counter[int] = Counter()
        self.double_acks = False
        self.refusals: dict[int, str] = {}
        self.holds = False
        self.held: list[bytes] = []
        self._topics = Topics(site)
        self._link = Link(BrokerSettings(url=url, keepalive_s=5), name=f"collector-{site}")
        self._connection: Session | None = None

    @contextlib.asynccontextmanager
    async def online(self) -> AsyncIterator[None]:
        """Be there, as one process life or one life of the database."""
        task = asyncio.create_task(self._link.run(self._serve), name="collector")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self, session: Session) -> None:
        self._connection = session
        self.session = new_session()
        for kind in (Kind.HELLO, Kind.TELEMETRY):
            await session.subscribe(self._topics.filter(kind))
        await self.say("online")
        try:
            async for message in session.messages():
                await self._answer(session, message)
        finally:
            await self.say("stopping")

    async def say(self, state: str, session: str | None = None, connection: str | None = None) -> None:
        """Publish a status, of this life or another one."""
        assert self._connection
        said = {"state": state, "session": session or self.session, "at": 1.0, "connection": connection}
        payload = encode(Status.model_validate(said))
        topic = self._topics.build(Kind.COLLECTOR_STATUS)
        await self._connection.publish(topic, payload, retain=True)

    async def _answer(self, session: Session, message: Incoming) -> None:
        address = parse(message.topic)
        assert address
        if address.kind is Kind.HELLO:
            await self._welcome(session, decode(Hello, message.payload))
        else:
            envelope = decode(Envelope, message.payload)
            self.arrived.append(envelope.seq)
            self.seen[envelope.seq] += 1
            if self.holds:
                self.held.append(message.payload)
            else:
                await self._store(session, envelope, message.payload)

    async def call(self) -> None:
        """Tell the agent what it is granted, without anything else to say."""
        assert self._connection
        stream = self.hellos[-1].streams[0].stream
        ack = Ack(stream=stream, window=self.window, wait=self.wait, server_time=1.0)
        await self._connection.publish(self._topics.build(Kind.ACK, agent=AGENT), encode(ack))

    async def release(self) -> None:
        """Answer what was held back, and hold nothing back from now on."""
        self.holds = False
        assert self._connection
        while self.held:
            payload = self.held.pop(0)
            await self._store(self._connection, decode(Envelope, payload), payload)

    async def _welcome(self, session: Session, hello: Hello) -> None:
        self.hellos.append(hello)
        if self.silent_resumes:
            self.silent_resumes -= 1
            return
        missing = {info.stream: tuple(self.database.missing(info)) for info in hello.streams}
        resume = Resume(
            session=hello.session, missing=missing, window=self.window, wait=self.wait, server_time=1.0
        )
        await session.publish(self._topics.build(Kind.RESUME, agent=AGENT), encode(resume))

    async def _store(self, session: Session, envelope: Envelope, payload: bytes) -> None:
        code = self.refusals.pop(envelope.seq, None)
        if code is None:
            self.database.take(payload)
        if self.lost_acks[envelope.seq]:
            self.lost_acks[envelope.seq] -= 1
            return
        ack = Ack(
            stream=envelope.stream,
            committed=() if code else ((envelope.seq, envelope.seq),),
            refused=(
                RefusedEnvelope.model_validate(
                    {"seq": envelope.seq, "digest": digest(payload), "code": code}
                ),
            )
            if code
            else (),
            window=self.window,
            wait=self.wait,
            server_time=1.0,
        )
        for _ in range(2 if self.double_acks else 1):
            await session.publish(self._topics.build(Kind.ACK, agent=AGENT), encode(ack))


async def until(truth: Callable[[], object], what: str = "it") -> None:
    for _ in range(3000):
        if truth():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} did not come true")


@pytest.fixture
def site(request: pytest.FixtureRequest) -> str:
    return f"uplink-{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(
        tmp_path / "spool", agent=AGENT, clock=HandClock(), limits=Limits(ballast_bytes=0), machine="m"
    ) as spool:
        yield spool


async def test_everything_arrives_within_the_window(mosquitto: Mosquitto, site: str, spool: Spool) -> None:
    """DEL-1, DEL-2: a backlog and fresh records, stored once each, never more unacknowledged than granted."""
    for n in range(60):
        await spool.append("samples", [host(n)])
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    collector.holds = True
    async with agent.running(), collector.online():
        await until(lambda: len(collector.held) == collector.window)
        agent.outbox.put(event("fresh"))
        await asyncio.sleep(0.1)
        assert len(collector.held) == collector.window
        await collector.release()
        await until(lambda: len(collector.database.tags()) == 61)
        await until(lambda: spool.figures.pending == 0)
    assert set(collector.database.tags().values()) == {1}
    assert collector.hellos[-1].boot == agent.clock.boot
    assert collector.hellos[-1].streams[0].last >= 60
    assert spool.figures.acknowledged == 61
    assert agent.uplink.traffic.acknowledged == 61


async def test_fresh_data_shows_while_the_backlog_drains(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-5: the newest does not queue behind the backlog."""
    for n in range(200):
        await spool.append("samples", [host(n)])
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    collector.holds = True
    async with agent.running(), collector.online():
        await until(lambda: collector.arrived)
        (key,) = await spool.append("events", [event("fresh")])
        await collector.release()
        await until(lambda: key.seq in collector.seen)
        before = collector.arrived.index(key.seq)
        await until(lambda: spool.figures.pending == 0)
    assert before < 30
    backlog = [seq for seq in collector.arrived if seq <= 100]
    assert backlog == sorted(backlog), "the backlog comes oldest first"


async def test_the_backlog_waits_for_its_turn_and_fresh_data_does_not(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-5: of many agents some drain their backlog, and every other shows what is new."""
    for n in range(50):
        await spool.append("samples", [host(n)])
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    collector.wait = True
    async with agent.running(), collector.online():
        await until(lambda: len(collector.arrived) >= PRESENT)
        assert agent.uplink.state == "sending what is new, the backlog waits for its turn"
        for count in range(10, 40, 10):
            for n in range(count - 10, count):
                agent.outbox.put(event(f"fresh {n}"))
            await until(
                lambda count=count: collector.database.tags().keys() >= {f"fresh {n}" for n in range(count)}
            )
        assert [seq for seq in collector.arrived if seq <= 50 - PRESENT] == []
        collector.wait = False
        await collector.call()
        await until(lambda: spool.figures.pending == 0)
    assert len(collector.database.tags()) == 80
    assert set(collector.database.tags().values()) == {1}


async def test_nothing_is_sent_before_resume_and_hello_is_repeated(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    await spool.append("events", [event("a")])
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    async with agent.running():
        await until(lambda: agent.uplink.state == "the collector is away")
        collector.silent_resumes = 3
        async with collector.online():
            await until(lambda: len(collector.hellos) >= 3)
            assert not collector.arrived
            await until(lambda: collector.database.tags() == {"a": 1})
    assert agent.uplink.state == "no connection to the broker"


async def test_lost_and_repeated_acknowledgements_cost_a_resend_and_nothing_else(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-1: the same bytes again, stored once."""
    agent, collector = HandAgent(mosquitto.url, site, spool, 0.05), HandCollector(mosquitto.url, site)
    collector.lost_acks.update({2: 2, 5: 1})
    collector.double_acks = True
    async with agent.running(), collector.online():
        for n in range(10):
            await spool.append("events", [event(f"e{n}")])
        await until(lambda: spool.figures.pending == 0)
        await until(lambda: agent.uplink.traffic.late >= 10)
    assert collector.seen[2] >= 3
    assert collector.seen[5] >= 2
    assert set(collector.database.tags().values()) == {1}
    assert agent.uplink.traffic.acknowledged == 10
    assert agent.uplink.traffic.resent >= 3


async def test_a_restored_database_is_filled_again(mosquitto: Mosquitto, site: str, spool: Spool) -> None:
    """DEL-1: last night's backup comes back, and a new collector session makes the agent say hello again."""
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    async with agent.running():
        async with collector.online():
            for n in range(20):
                await spool.append("events", [event(f"e{n}")])
            await until(lambda: spool.figures.pending == 0 and spool.figures.acknowledged == 20)
        for key in list(collector.database.stored)[5:15]:
            del collector.database.stored[key]
        await until(lambda: agent.uplink.state == "the collector is away")
        await spool.append("events", [event("meanwhile")])
        async with collector.online():
            await until(lambda: len(collector.database.tags()) == 21)
            await until(lambda: spool.figures.pending == 0)
    assert len({hello.session for hello in collector.hellos}) == 1, "one agent session, several hellos"


async def test_while_the_collector_is_away_nothing_is_sent(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    async with agent.running(), collector.online():
        await spool.append("events", [event("a")])
        await until(lambda: spool.figures.pending == 0)
        await collector.say("offline", session="00" * 8)  # the will of an older life
        await spool.append("events", [event("b")])
        await until(lambda: spool.figures.pending == 0)
        await collector.say("offline")
        await until(lambda: agent.uplink.state == "the collector is away")
        arrived = len(collector.arrived)
        await spool.append("events", [event("c")])
        await asyncio.sleep(0.1)
        assert len(collector.arrived) == arrived
        await collector.say("online")
        await until(lambda: spool.figures.pending == 0)
    assert collector.database.tags() == {"a": 1, "b": 1, "c": 1}


async def test_refused_envelopes_are_parked_and_reported_and_the_others_pass(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    collector.refusals = {2: "invalid", 3: "invalid"}
    async with agent.running(), collector.online():
        for n in range(1, 6):
            await spool.append("events", [event(f"e{n}")])
        await until(lambda: spool.figures.pending == 0)
        await until(lambda: spool.figures.parked == 2)
    assert set(collector.database.tags()) == {"e1", "e4", "e5"}
    assert agent.uplink.traffic.refused == 2
    assert len(agent.events) == 1, "one report a minute"
    assert "invalid" in agent.events[0].text


async def test_a_conflict_rotates_the_stream_and_loses_nothing(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-1: a cloned disk."""
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    collector.refusals = {1: "conflict", 2: "conflict"}
    for n in range(4):
        await spool.append("events", [event(f"e{n}")])
    async with agent.running(), collector.online():
        await until(lambda: len(collector.database.tags()) == 4)
        await until(lambda: spool.figures.pending == 0)
    assert set(collector.database.tags().values()) == {1}
    assert len({stream for stream, _ in collector.database.stored}) == 2


async def test_an_envelope_that_nobody_answers_is_put_aside(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-1: one bad envelope does not stop its neighbours."""
    agent, collector = HandAgent(mosquitto.url, site, spool, 0.15), HandCollector(mosquitto.url, site)
    collector.lost_acks[1] = 10**6
    await spool.append("events", [event("poison")])
    async with agent.running(), collector.online():
        for n in range(400):
            await spool.append("events", [event(f"e{n}")])
            await asyncio.sleep(0.01)
            if spool.figures.parked:
                break
        await until(lambda: spool.figures.parked == 1)
        await until(lambda: spool.figures.pending == 0)
    assert collector.seen[1] == 10
    assert agent.uplink.traffic.parked == 1


async def test_a_killed_broker_and_killed_collectors_lose_nothing(
    own_mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-1, DEL-2: broker without persistence killed in full flow, twice."""
    agent, collector = HandAgent(own_mosquitto.url, site, spool), HandCollector(own_mosquitto.url, site)
    async with agent.running(), collector.online():
        for life in range(3):
            for n in range(100):
                agent.outbox.put(event(f"e{life}-{n}"))
                if n % 10 == 0:
                    await asyncio.sleep(0.005)
            await until(lambda life=life: len(collector.database.tags()) > life * 100)  # type: ignore[misc]
            if life < 2:
                await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
                await asyncio.to_thread(own_mosquitto.start)
        await until(lambda: len(collector.database.tags()) == 300)
        await until(lambda: spool.figures.pending == 0)
    assert set(collector.database.tags().values()) == {1}
    assert agent.outbox.counts == {"event": 300}


async def test_garbage_from_the_collector_is_counted_and_survived(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    async with agent.running(), collector.online():
        for payload in (b"", b"{", b"[]", b'{"v": 2}', b"\xff" * 100, b"[" * 100_000):
            agent.uplink.on_ack(payload)
            agent.uplink.on_resume(payload)
            agent.uplink.on_collector_status(payload)
        forged = Ack(stream=(await spool.describe())[0].stream, committed=((1, 2**62),), server_time=1.0)
        agent.uplink.on_ack(encode(forged))
        await spool.append("events", [event("a")])
        await until(lambda: collector.database.tags() == {"a": 1})
    assert agent.uplink.traffic.garbled == 18
    assert agent.uplink.traffic.late >= 2**62


async def test_the_will_of_a_connection_speaks_for_a_session_taken_over_it(
    mosquitto: Mosquitto, site: str, spool: Spool
) -> None:
    """DEL-2: a collector took a new session when its database came back, and then it died."""
    agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
    async with agent.running(), collector.online():
        await until(lambda: agent.uplink.state == "sending")
        connection = collector.session
        await collector.say("online", session="11" * 8, connection=connection)
        await until(lambda: agent.uplink._collector == "11" * 8 and agent.uplink.state == "sending")
        told = len(collector.hellos)
        await collector.say("offline", session="00" * 8)
        await collector.say("online", session="11" * 8, connection=connection)
        await spool.append("events", [event("a")])
        await until(lambda: collector.database.tags() == {"a": 1})
        assert len(collector.hellos) == told
        await collector.say("offline", session=connection)
        await until(lambda: agent.uplink.state == "the collector is away")


async def test_hello_is_said_again_while_records_are_in_memory_only(
    mosquitto: Mosquitto, site: str, tmp_path: Path
) -> None:
    """DEL-1: should this process end, the collector knows how far the stream had come."""
    (tmp_path / "in-the-way").write_text("")
    async with Spool(tmp_path / "in-the-way" / "spool", agent=AGENT, clock=HandClock(), machine="m") as spool:
        agent, collector = HandAgent(mosquitto.url, site, spool), HandCollector(mosquitto.url, site)
        async with agent.running(), collector.online():
            await until(lambda: agent.uplink.state == "sending")
            collector.holds = True
            for n in range(9):
                await spool.append("events", [event(f"e{n}")])
            # One more: that records are in memory is on record as well.
            await until(lambda: any(i.volatile and i.last == 10 for i in collector.hellos[-1].streams))
            told = len(collector.hellos)
            await asyncio.sleep(2.5)
            assert len(collector.hellos) == told, "nothing new, nothing said"


async def test_a_collector_that_answers_nothing_is_told_of(
    mosquitto: Mosquitto, site: str, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    """OPS-1: a broker that denies a topic tells nobody; the missing answers do, until they come again."""
    agent = HandAgent(mosquitto.url, site, spool, silence_s=0.3)
    collector = HandCollector(mosquitto.url, site)
    collector.silent_resumes = 4
    async with agent.running(), collector.online():
        await until(lambda: agent.events)
        assert "does not answer a hello" in agent.events[0].text
        await until(lambda: agent.uplink.state == "sending")
        collector.holds = True
        agent.uplink._reported.clear()
        await spool.append("events", [event("a")])
        await until(lambda: len(agent.events) == 2)
        assert "does not answer what is sent" in agent.events[1].text
        await collector.release()
        await until(lambda: spool.figures.pending == 0)
        await asyncio.sleep(0.1)
    assert capsys.readouterr().out.count("the collector answers again") == 2


async def test_what_delivery_does_is_in_the_samples(mosquitto: Mosquitto, site: str, spool: Spool) -> None:
    """OPS-1: parked, refused, resent, lost and dropped are figures of every sample."""
    agent, collector = HandAgent(mosquitto.url, site, spool, 0.05), HandCollector(mosquitto.url, site)
    collector.refusals = {2: "invalid"}
    collector.lost_acks.update({3: 1})
    async with agent.running(), collector.online():
        for n in range(4):
            await spool.append("events", [event(f"e{n}")])
        await until(lambda: spool.figures.pending == 0 and agent.uplink.traffic.resent)
    fields = delivery_fields(spool.figures, agent.uplink.traffic, dropped=7)
    sample = HostRecord.model_validate(fields | {"at": 1, "up": 1, "status": "HEALTHY"})
    assert sample.model_dump(include=set(fields)) == fields
    assert (sample.spool_parked, sample.envelopes_refused, sample.envelopes_acknowledged) == (1, 1, 3)
    assert (sample.records_dropped, sample.spool_volatile, sample.envelopes_lost) == (7, False, 0)
    assert sample.envelopes_resent
