"""When the collector says that nobody answered, and when it does not yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from boardherd_collector.command_watch import SETTLE_S, CommandWatch
from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import STORE, Health
from boardherd_collector.stores.memory import MemoryStore
from boardherd_shared.command import CommandStep, State
from boardherd_shared.messages import Status, decode
from boardherd_shared.topics import Address, Kind, Topics
from support.telemetry import NOW, SECOND, lab, received, step

T = NOW / SECOND
AGENT = Address(Kind.COMMAND, "lab", agent="pc-01", operator="ops1")


class Rig:
    """A command watch on a store in memory, with a clock by hand."""

    def __init__(self, store: MemoryStore) -> None:
        self.now, self.since = T, T - 100.0
        self.store, self.health, self.counters, self.fleet = store, Health(), Counters(), Fleet(lab())
        self.said: list[tuple[str, CommandStep]] = []
        self.health.set(STORE, ok=True, text="memory")
        self.watch = CommandWatch(
            Topics("lab"),
            store,
            self.fleet,
            self.counters,
            self.health,
            post=lambda topic, payload: self.said.append((topic, decode(CommandStep, payload))),
            connected_since=lambda: self.since,
            now=lambda: self.now,
        )

    def hear(self, id_: str, address: Address = AGENT) -> None:
        body = json.dumps({"action": "cycle", "board": "evm-07", "id": id_}).encode()
        self.watch.heard(address, body, self.now)

    async def look(self) -> None:
        """Let it do what is due."""
        self.watch._news.set()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    store = MemoryStore()
    await store.sync_inventory(lab(), NOW)
    rig = Rig(store)
    running = asyncio.create_task(rig.watch.run(), name="watch")
    yield rig
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_says_why_and_says_it_once(rig: Rig) -> None:
    rig.hear("c-1")
    rig.fleet.status("pc-01", Status(state="offline", session="a" * 16, at=T), T - 3600)
    await rig.look()
    assert len(await rig.store.open_commands()) == 1
    rig.now += 34
    await rig.look()
    assert rig.said == []
    rig.now += 2
    await rig.look()
    await rig.look()
    assert [topic for topic, _ in rig.said] == [
        "boardherd/v1/lab/collector/result/c-1",
        "boardherd/v1/lab/reply/ops1",
    ]
    last = rig.said[0][1]
    assert (last.state, last.agent) == (State.UNANSWERED, "pc-01")
    assert last.text == "unanswered: pc-01 is offline for 60 min"
    assert rig.counters.commands == {("pc-01", "unanswered"): 1}
    assert await rig.store.open_commands() == []


async def test_what_was_answered_is_not_called_unanswered(rig: Rig) -> None:
    """Whether the collector heard the answer itself, or only the database has it."""
    rig.hear("c-1")
    rig.hear("c-2")
    said = step(State.REFUSED, id_="c-1").command
    assert said is not None
    rig.watch.step(said)
    await rig.store.commit([received(1, step(State.SUCCEEDED, id_="c-2"))])
    rig.now += 100
    await rig.look()
    assert rig.said == []
    assert await rig.store.open_commands() == []


async def test_after_a_connection_was_made_answers_get_their_time(rig: Rig) -> None:
    rig.hear("c-1")
    rig.now += 100
    rig.since = rig.now - SETTLE_S + 1
    await rig.look()
    assert rig.said == []
    rig.now += 1
    await rig.look()
    assert len(rig.said) == 2


async def test_while_the_store_is_away_nothing_is_lost(rig: Rig) -> None:
    rig.health.set(STORE, ok=False, text="away")
    rig.hear("c-1", Address(Kind.COMMAND, "lab", agent="pc-99", operator="ops1"))
    rig.now += 100
    await rig.look()
    assert rig.said == []
    rig.health.set(STORE, ok=True, text="back")
    await rig.look()
    assert rig.said[0][1].text == "unanswered: there is no test PC pc-99"
