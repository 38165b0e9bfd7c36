"""Locks, maintenance and contested boards with a real agent, a real collector, a real broker and a relay module."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_shared.command import CommandStep, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import decode
from boardherd_shared.topics import Kind, Topics
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

LAB = """
site = "lab"
pc.pc-01 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = PORT, poll = "200ms", stagger = "0s" }
[board.evm-07]
pc = "pc-01"
power = ["eth-1:3"]
min_off = "2s"
lines.reset = "eth-1:4"
"""


async def until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


class Bench:
    """An operator at a lab of one board."""

    def __init__(self, session: Session, site: str, collector: CollectorProcess) -> None:
        self.session, self.topics, self.collector = session, Topics(site), collector
        self.replies: list[CommandStep] = []

    async def listen(self) -> None:
        async for message in self.session.messages():
            self.replies.append(decode(CommandStep, message.payload))

    async def send(self, kind: Kind, id_: str, *, refused: bool = False, **command: Any) -> CommandStep:
        """Send a command and return its last step, which is ``refused`` or succeeded."""
        topic = self.topics.build(kind, agent="pc-01", operator="ops1")
        await self.session.publish(topic, json.dumps({"id": id_, **command}).encode())

        def final() -> list[CommandStep]:
            return [said for said in self.replies if said.id == id_ and said.final]

        await until(lambda: bool(final()), f"the end of {command}")
        assert final()[0].state is (State.REFUSED if refused else State.SUCCEEDED), final()[0].text
        return final()[0]

    async def press(self, action: str, wanted: State) -> CommandStep:
        """Send a power command again and again until it ends as wanted: agents are told within a second."""
        topic = self.topics.build(Kind.COMMAND, agent="pc-01", operator="ops1")
        for number in range(100):
            id_ = f"{action}-{number}"
            body = json.dumps({"id": id_, "action": action, "board": "evm-07"}).encode()
            await self.session.publish(topic, body)
            await until(lambda id_=id_: any(s.id == id_ and s.final for s in self.replies), "an answer")
            last = next(step for step in self.replies if step.id == id_ and step.final)
            if last.state is wanted:
                return last
            await asyncio.sleep(0.1)
        raise AssertionError(last.text)

    def board(self) -> dict[str, Any]:
        view = json.loads(self.collector.get("api/v1/fleet")[1])
        (found,) = [board for board in view["boards"] if board["id"] == "evm-07"]
        return dict(found)

    def stored(self, query: str) -> list[dict[str, Any]]:
        status, body = self.collector.get(f"api/v1/boards?{query}")
        assert status == 200, body
        return list(json.loads(body))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.collector.database}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchall()


async def test_who_has_a_board_is_known_everywhere_and_a_relay_in_maintenance_stays_still(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with DevantechModule() as module:
        site = "locks"
        collector = CollectorProcess(tmp_path, mosquitto.url, site, LAB.replace("PORT", str(module.port)))
        await asyncio.to_thread(collector.start)
        link = Link(BrokerSettings(url=mosquitto.url), name="operator")
        try:
            with AgentProcess(tmp_path, mosquitto.url):
                async with link.session() as session:
                    bench = Bench(session, site, collector)
                    await session.subscribe(bench.topics.build(Kind.REPLY, operator="ops1"))
                    async with asyncio.TaskGroup() as group:
                        listening = group.create_task(bench.listen(), name="replies")
                        await story(bench)
                        listening.cancel()
        finally:
            await asyncio.to_thread(collector.stop)


async def story(bench: Bench) -> None:
    """Lock, set, unlock; put the relay into maintenance and back."""
    await until(lambda: bench.board()["pc"] == "pc-01" and bench.board()["state"] is not None, "a verdict")
    assert bench.query("SELECT name, relay_number, kind FROM board_lines") == [("reset", 4, "pulse")]
    await bench.send(Kind.COMMAND, "l-1", action="lock", board="evm-07", use="updating-sdk", reason="9.2")
    await until(lambda: bench.board()["lock"] is not None, "the lock in the fleet")
    assert bench.board()["lock"] | {"since": 0, "until": 0} == {
        "owner": "ops1", "use": "updating-sdk", "since": 0, "until": 0, "reason": "9.2", "on_behalf_of": None,
    }  # fmt: skip
    assert not bench.board()["available"]
    await until(lambda: len(bench.stored("locked=true")) == 1, "the lock in the database")
    assert 'boardherd_board_locked{board="evm-07",pc="pc-01"} 1.0' in bench.collector.get("metrics")[1]
    assert "locked by <b>ops1</b>" in bench.collector.get("")[1]
    await bench.send(
        Kind.COMMAND, "s-1", action="set", board="evm-07", sdk_version="9.2", note="loose camera"
    )
    await bench.send(Kind.COMMAND, "u-1", action="unlock", board="evm-07")
    await until(
        lambda: bench.stored("locked=true") == [] and bench.board()["lock"] is None, "the end of the lock"
    )
    await until(lambda: bench.stored("")[0]["sdk_version"] == "9.2", "what was set")
    assert bench.stored("")[0]["notes"] == "loose camera"
    ((who, purpose, ended, reported),) = bench.query(
        "SELECT who, purpose, ended_at IS NOT NULL, end_reported FROM board_usage"
    )
    assert (who, purpose, ended, reported) == ("ops1", "updating-sdk", 1, 1)
    assert bench.query("SELECT payload FROM dead_letters") == []

    said = {"action": "maintenance", "relay": "eth-1", "reason": "new fuse"}
    await bench.send(Kind.COLLECTOR_COMMAND, "m-1", **said)
    resting = await bench.press("on", State.FAILED)
    assert "eth-1 is in maintenance: ops1: new fuse" in resting.text
    await bench.send(Kind.COLLECTOR_COMMAND, "m-2", **(said | {"on": False}))
    await bench.press("off", State.SUCCEEDED)
