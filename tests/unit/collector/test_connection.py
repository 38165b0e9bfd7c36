"""What the collector makes of messages, without a broker."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.administration import Administration
from boardherd_collector.command_watch import CommandWatch
from boardherd_collector.connection import Connection, Listeners
from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.health import Health
from boardherd_collector.ingest import Ingest
from boardherd_collector.stores.memory import MemoryStore
from boardherd_shared.command import State
from boardherd_shared.link import BrokerSettings, Incoming
from boardherd_shared.messages import BoardState, PortState, Status, encode
from boardherd_shared.records import Verdict
from boardherd_shared.topics import Topics
from support.telemetry import NOW, SECOND, board, hello, host, lab, payload, relay, step

T = NOW / SECOND
ROOT = "boardherd/v1/lab"


class Rig:
    def __init__(self) -> None:
        topics = Topics("lab")
        self.counters, self.fleet, health = Counters(), Fleet(lab()), Health()
        self.connection = Connection(BrokerSettings(), topics, self.fleet, self.counters, health)
        store, post = MemoryStore(), self.connection.post
        self.ingest = Ingest(topics, store, self.fleet, self.counters, health, post=post)
        self.watch = CommandWatch(
            topics,
            store,
            self.fleet,
            self.counters,
            health,
            post=post,
            connected_since=lambda: self.connection.since,
        )
        administration = Administration(topics, lab(), store, self.fleet, self.counters, post=post)
        self.listeners = Listeners(self.ingest, self.watch, administration)

    def take(self, topic: str, body: bytes, *, retain: bool = False) -> None:
        self.connection.take(Incoming(f"{ROOT}/{topic}", body, retain, T), self.listeners)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_each_kind_finds_its_way(rig: Rig) -> None:
    rig.take("pc-01/status", encode(Status(state="online", session="a" * 16, at=T)), retain=True)
    rig.take("pc-01/hello", encode(hello(versions={"boardherd": "9"})), retain=True)
    rig.take("pc-01/telemetry", payload(1, host()))
    rig.take("pc-01/state/board/evm-07", encode(BoardState(record=board(), text="alive")), retain=True)
    rig.take("pc-01/state/relay/eth-1/3", encode(PortState(record=relay(), text="ON")), retain=True)
    record = step(State.ACCEPTED).command
    assert record is not None
    rig.take("pc-01/result/c-1", encode(record))
    view = rig.fleet.view(T)
    assert (view.pcs[0].versions, view.pcs[0].sample) == ({"boardherd": "9"}, host())
    assert view.boards[0].verdict is Verdict.ALIVE
    assert view.relays[0].ports[0].state == relay()
    assert rig.fleet.steps[0] == record
    assert not rig.counters.rejected
    assert sum(rig.counters.messages.values()) == 6


def test_an_empty_payload_clears_a_state(rig: Rig) -> None:
    rig.take("pc-01/state/board/evm-07", encode(BoardState(record=board(), text="alive")))
    rig.take("pc-01/state/board/evm-07", b"")
    assert rig.fleet.view(T).boards[0].state is None
    assert not rig.counters.rejected


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("pc-01/state/board/evm-08", encode(BoardState(record=board(), text=""))),
        ("pc-01/state/relay/eth-1/4", encode(PortState(record=relay(), text=""))),
        ("pc-02/result/c-1", encode(step(State.ACCEPTED).command)),  # type: ignore[arg-type]
        ("pc-02/telemetry", payload(1, host())),
    ],
)
def test_a_payload_that_contradicts_its_topic_is_rejected(rig: Rig, topic: str, body: bytes) -> None:
    """SEC-1: the topic tells who speaks, and of what."""
    before = rig.fleet.version
    rig.take(topic, body)
    assert sum(rig.counters.rejected.values()) == 1
    assert rig.fleet.version == before


def test_telemetry_that_the_broker_keeps_is_not_taken(rig: Rig) -> None:
    rig.take("pc-01/telemetry", payload(1, host()), retain=True)
    assert rig.counters.rejected == {"telemetry": 1}
    assert rig.fleet.view(T).pcs[0].sample is None


@pytest.mark.parametrize("topic", ["hq/x", "pc-01/other", "boards/hello", "PC/status"])
def test_other_topics_are_counted_and_left_alone(rig: Rig, topic: str) -> None:
    rig.take(topic, b"{}")
    assert rig.counters.messages == {"unknown": 1}


@given(
    topic=st.sampled_from(
        [
            "status",
            "hello",
            "telemetry",
            "state/board/evm-07",
            "state/relay/eth-1/3",
            "result/c-1",
            "cmd/ops1",
        ]
    ),
    body=st.binary(max_size=100)
    | st.sampled_from([b"[" * 100_000, b"null", b'{"v":1}', b"\xff\xfe", b"cycle", b'{"action":"cycle"}']),
    retain=st.booleans(),
)
def test_no_payload_does_harm(topic: str, body: bytes, retain: bool) -> None:
    """SEC-2."""
    rig = Rig()
    for agent in ("pc-01", "x-99", "collector"):
        rig.take(f"{agent}/{topic}", body, retain=retain)
    assert sum(rig.counters.messages.values()) == 3


async def test_commands_find_their_way_and_kept_ones_do_not() -> None:
    rig = Rig()
    rig.take("pc-01/cmd/ops1", b"cycle")
    rig.take("boards/evm-07/cmd/ops1", b"cycle")
    rig.take("pc-01/cmd/ops1", b"cycle", retain=True)
    rig.take("pc-01/cmd/ops1", b"", retain=True)
    assert len(rig.watch._open) == 2
    assert rig.counters.rejected == {"command": 1}


async def test_a_kept_hello_teaches_no_clock(rig: Rig) -> None:
    """The broker may have kept it for days; the live one that follows our new session will tell."""
    rig.take("pc-01/hello", encode(hello()), retain=True)
    assert rig.ingest._hellos == {}
    rig.connection._session = "c" * 16
    rig.take("collector/status", encode(Status(state="online", session="d" * 16, at=T)), retain=True)
    rig.take("pc-01/hello", encode(hello()), retain=True)
    assert rig.ingest._hellos == {}
    rig.take("collector/status", encode(Status(state="online", session="c" * 16, at=T)), retain=True)
    rig.take("pc-01/hello", encode(hello()), retain=True)
    assert list(rig.ingest._hellos) == ["pc-01"]
    await asyncio.sleep(0)
