"""Commands as the collector sees them: those to itself, and those that nobody else answers; a real Mosquitto."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from boardherd_shared.command import CommandStep, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Standing, decode, encode
from boardherd_shared.topics import Kind, Topics
from support.broker import Mosquitto
from support.collector import AgentStandIn, CollectorProcess
from support.telemetry import LAB, SECOND, board, host, step

ADMINS = LAB.replace('site = "lab"', 'site = "lab"\nadmins = ["ops-lead"]')


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(0.02)


class Operator:
    """Somebody with a broker account, who sends commands and reads the replies."""

    def __init__(self, session: Session, topics: Topics, name: str) -> None:
        self.session, self.topics, self.name = session, topics, name
        self.replies: list[CommandStep] = []

    async def to_collector(self, **command: Any) -> None:
        topic = self.topics.build(Kind.COLLECTOR_COMMAND, operator=self.name)
        await self.session.publish(topic, json.dumps(command).encode())

    async def to_board(self, name: str, body: bytes) -> None:
        topic = self.topics.build(Kind.BOARD_COMMAND, board=name, operator=self.name)
        await self.session.publish(topic, body)

    async def to_agent(self, agent: str, body: bytes, *, retain: bool = False) -> None:
        topic = self.topics.build(Kind.COMMAND, agent=agent, operator=self.name)
        await self.session.publish(topic, body, retain=retain)

    async def final(self, id_: str) -> CommandStep:
        """Return the last step of a command."""
        await until(lambda: any(said.id == id_ and said.final for said in self.replies))
        return next(said for said in self.replies if said.id == id_ and said.final)

    async def listen(self) -> None:
        async for message in self.session.messages():
            self.replies.append(decode(CommandStep, message.payload))


@asynccontextmanager
async def operator(broker: str, site: str, name: str = "ops1") -> AsyncIterator[Operator]:
    link, topics = Link(BrokerSettings(url=broker), name=f"operator-{name}"), Topics(site)
    async with link.session() as session:
        await session.subscribe(topics.build(Kind.REPLY, operator=name))
        person = Operator(session, topics, name)
        listening = asyncio.create_task(person.listen(), name="operator's replies")
        try:
            yield person
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def query(collector: CollectorProcess, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{collector.database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def fleet(collector: CollectorProcess) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(collector.get("api/v1/fleet")[1])
    return view


def live(record: Any) -> Any:
    return record.model_copy(update={"up": time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000})


def now() -> int:
    return round(time.time() * SECOND)


async def decide(ops: Operator, lead: Operator) -> None:
    """Give every kind of command, and some that are refused."""
    said = {"action": "maintenance", "relay": "eth-1", "reason": "new fuse"}
    await ops.to_collector(id="m-1", **said)
    assert (await ops.final("m-1")).state is State.SUCCEEDED
    await ops.to_collector(id="m-1", **said)
    await ops.to_collector(id="m-1", **(said | {"reason": "another"}))
    await ops.to_collector(id="d-1", action="deactivate", board="evm-07", reason="burnt")
    refused = await ops.final("d-1")
    assert (refused.state, refused.code) == (State.REFUSED, "forbidden")
    await lead.to_collector(id="d-2", action="deactivate", board="evm-07", reason="burnt")
    assert (await lead.final("d-2")).text == "board/evm-07 is deactivated: burnt by ops-lead"
    await lead.to_collector(id="p-1", action="maintenance", pc="pc-01", reason="moves")
    await lead.to_collector(id="n-1", action="rename", board="evm-08", name="Spare")
    await lead.to_collector(id="r-1", action="retire", board="evm-08", reason="gone")
    await lead.to_collector(id="u-1", action="note", board="evm-99", note="?")
    await lead.to_collector(id="e-1", action="note", board="evm-08", note="?", expires_at=time.time() - 9)
    await lead.to_collector(id="b-1", action="maintenance", board="evm-07", reason="?")
    topic = ops.topics.build(Kind.COLLECTOR_COMMAND, operator="ops1")
    await ops.session.publish(topic, b"garbage")
    for id_, code in (("r-1", "invalid"), ("u-1", "unknown_target"), ("e-1", "expired")):
        assert (await lead.final(id_)).code == code
    await until(lambda: sum(reply.code is not None for reply in ops.replies) == 3)
    codes = [reply.code for reply in ops.replies if reply.code]
    assert codes == ["duplicate_conflict", "forbidden", "invalid"]
    assert len([reply for reply in ops.replies if reply.id == "m-1" and reply.state is State.SUCCEEDED]) == 2


async def test_what_people_decide_is_done_once_and_outlives_the_collector(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Maintenance, administration, names and notes; refused in words what may not be (CMD-2 for the collector)."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "decisions", ADMINS)
    await asyncio.to_thread(collector.start)
    try:
        async with (
            AgentStandIn(mosquitto.url, "decisions") as agent,
            operator(mosquitto.url, "decisions") as ops,
            operator(mosquitto.url, "decisions", "ops-lead") as lead,
        ):
            agent.put(live(host(now())), live(board(now())))
            await agent.until(lambda: not agent.pending)
            assert agent.resumes[-1].standing == Standing()

            await decide(ops, lead)
        assert query(collector, "SELECT count(*) FROM commands WHERE id = 'm-1'") == [(1,)]
        await asyncio.to_thread(collector.stop, signal.SIGKILL)
        await asyncio.to_thread(collector.start)
        async with AgentStandIn(mosquitto.url, "decisions") as agent:
            agent.put(live(host(now())))
            await agent.until(lambda: agent.resumes)
            view = fleet(collector)
            (relay,) = view["relays"]
            assert (relay["status"], relay["maintenance"]) == ("MAINTENANCE", "ops1: new fuse")
            one, two = view["boards"]
            assert (one["status"], one["deactivated"], two["name"]) == (
                "DEACTIVATED",
                "ops-lead: burnt",
                "Spare",
            )
            assert view["pcs"][0]["status"] == "MAINTENANCE"
            metrics = collector.get("metrics")[1]
            assert 'boardherd_board_can_execute_test{board="evm-07",pc="pc-01"} 0.0' in metrics
            assert 'boardherd_board_locked{board="evm-07",pc="pc-01"} 0.0' in metrics
    finally:
        await asyncio.to_thread(collector.stop)


async def test_a_command_that_nobody_answers_is_closed_across_a_crash(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Each once, with why; answered and retained ones never; and an agent's later word goes before it."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "unanswered")
    await asyncio.to_thread(collector.start)
    try:
        async with operator(mosquitto.url, "unanswered") as ops:
            async with AgentStandIn(mosquitto.url, "unanswered") as agent:
                agent.put(live(host(now())))
                await agent.until(lambda: not agent.pending)
                soon = {"action": "cycle", "board": "evm-07", "valid_for": "1s"}
                await ops.to_agent("pc-01", json.dumps(soon | {"id": "answered"}).encode())
                said = step(State.ACCEPTED, now(), id_="answered").command
                assert said is not None
                topic = ops.topics.build(Kind.RESULT, agent="pc-01", id="answered")
                await agent.publish(topic, encode(said))
            await ops.to_board(
                "evm-07", json.dumps({"action": "cycle", "id": "lost", "valid_for": "1s"}).encode()
            )
            await ops.to_agent("pc-77", b"garbage")
            await ops.to_agent("pc-02", b"on", retain=True)
            await until(lambda: len(query(collector, "SELECT id FROM open_commands")) == 2)
            await asyncio.to_thread(collector.stop, signal.SIGKILL)
            await asyncio.to_thread(collector.start)
            last = await ops.final("lost")
            assert (last.state, last.agent) == (State.UNANSWERED, "pc-01")
            assert last.text.startswith("unanswered: pc-01 is ")
            await until(lambda: len(ops.replies) == 2)
            (other,) = [reply for reply in ops.replies if reply.id != "lost"]
            assert (other.action, other.text) == ("unreadable", "unanswered: there is no test PC pc-77")
            assert query(collector, "SELECT count(*) FROM open_commands") == [(0,)]
            states = "SELECT id, state FROM commands WHERE id IN ('lost', 'answered') ORDER BY id"
            assert query(collector, states) == [("lost", "unanswered")]
            async with AgentStandIn(mosquitto.url, "unanswered", stream="c" * 32) as agent:
                agent.put(live(step(State.SUCCEEDED, now(), id_="lost")))
                await agent.until(lambda: not agent.pending)
            assert query(collector, states) == [("lost", "succeeded")]
            await ops.session.publish(
                ops.topics.build(Kind.COMMAND, agent="pc-02", operator="ops1"), b"", retain=True
            )
    finally:
        await asyncio.to_thread(collector.stop)


async def test_contested_boards_and_maintenance_are_told_to_agents(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The inventory's PC owns a board, else the first to declare it; the other is told, and shown as such."""
    collector = CollectorProcess(tmp_path, mosquitto.url, "contested")
    await asyncio.to_thread(collector.start)
    try:
        async with operator(mosquitto.url, "contested") as ops:
            first = AgentStandIn(mosquitto.url, "contested")
            second = AgentStandIn(mosquitto.url, "contested", agent="pc-02", stream="b" * 32)
            first.facts = {"boards": ("evm-07", "evm-55"), "relays": ("eth-1",)}
            second.facts = {"boards": ("evm-07", "evm-08", "evm-55")}
            async with first:
                await first.until(lambda: first.resumes)
                async with second:
                    await second.until(lambda: second.resumes)
                    told = second.resumes[-1].standing
                    assert told is not None
                    assert told.contested == {"evm-07": "pc-01", "evm-55": "pc-01"}
                    assert first.resumes[-1].standing == Standing()
                    (seen,) = [one for one in fleet(collector)["boards"] if one["id"] == "evm-07"]
                    assert seen["contested_by"] == ["pc-02"]
                await ops.to_collector(id="m", action="maintenance", relay="eth-1", reason="fuse")
                await first.until(lambda: first.standings)
                assert first.standings[-1].maintenance == {"eth-1": "ops1: fuse"}
                await ops.to_collector(id="n", action="maintenance", relay="eth-1", on=False, reason="done")
                await first.until(lambda: len(first.standings) > 1)
                assert first.standings[-1] == Standing()
    finally:
        await asyncio.to_thread(collector.stop)
