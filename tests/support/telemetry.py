"""Telemetry as an agent would send it, for tests of the collector's side."""

from __future__ import annotations

import json
import time
from typing import Any

from boardherd_collector.envelopes import read_envelope
from boardherd_collector.stores.base import Received
from boardherd_shared.command import CommandStep, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello, HostFacts
from boardherd_shared.records import (
    BoardRecord,
    EventRecord,
    Health,
    HostRecord,
    LostRange,
    Power,
    RelayRecord,
    Verdict,
)

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
"""A moment for tests that bring their own time, microseconds."""
BOOTED = NOW - 60 * 86400 * SECOND
"""When the PC of these tests booted."""
STREAM = "a" * 32

LAB = """
site = "lab"
pc.pc-01 = { rack = "r1", ip = "10.0.0.1" }
pc.pc-02 = {}
relay.eth-1 = { model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = 17494 }
[board.evm-07]
name = "J721E_EVM #7"
pc = "pc-01"
platform = "j721e"
test_farm = "HLOS"
capabilities = ["CMD", "CAMERA"]
power = ["eth-1:3"]
[board.evm-08]
pc = "pc-02"
platform = "am62x"
test_farm = "RTOS"
power = ["eth-1:4"]
"""


def lab(text: str = LAB) -> Inventory:
    return Inventory.parse(text)


def host(at: int = NOW, **values: Any) -> HostRecord:
    values = {"status": Health.HEALTHY, "cpu_percent": 12.5, "memory_total": 16_000_000_000} | values
    return HostRecord(at=at, up=at - BOOTED, **values)


def board(
    at: int = NOW, verdict: Verdict = Verdict.ALIVE, name: str = "evm-07", **values: Any
) -> BoardRecord:
    return BoardRecord(at=at, up=at - BOOTED, board=name, verdict=verdict, since=at, **values)


def relay(at: int = NOW, observed: Power = Power.ON, port: int = 3, **values: Any) -> RelayRecord:
    values = {"relay": "eth-1", "since": at, "module": "ETH008"} | values
    return RelayRecord(at=at, up=at - BOOTED, port=port, observed=observed, **values)


def event(at: int = NOW, **values: Any) -> EventRecord:
    values = {"event": "transition", "subject": "board/evm-07", "text": "evm-07 is alive"} | values
    return EventRecord(at=at, up=at - BOOTED, **values)


def step(state: State, at: int = NOW, id_: str = "c-1", agent: str = "pc-01", **values: Any) -> EventRecord:
    values = {"action": "cycle", "target": "board/evm-07", "operator": "ops1", "text": state.value} | values
    command = CommandStep(id=id_, state=state, agent=agent, at=at / SECOND, **values)
    return event(at, event="command", subject=command.target, text=command.text, command=command)


def loss(first: int, last: int, stream: str = STREAM, at: int = NOW) -> EventRecord:
    lost = LostRange(stream=stream, first=first, last=last, records=last - first + 1, reason="no space")
    return event(at, event="loss", subject="agent", text="envelopes lost", loss=lost)


def payload(
    seq: int, *records: Any, agent: str = "pc-01", stream: str = STREAM, boot: str = "boot-1", **other: Any
) -> bytes:
    """Return the bytes of an envelope; records may be models, or anything else that JSON can carry."""
    said = [
        record.model_dump(mode="json", exclude_none=True) if hasattr(record, "model_dump") else record
        for record in records
    ]
    body = {
        "v": 1, "agent": agent, "stream": stream, "seq": seq, "class": "samples", "boot": boot, "records": said,
    } | other  # fmt: skip
    return json.dumps(body).encode()


def received(seq: int, *records: Any, received_at: int = NOW, **header: Any) -> Received:
    body = payload(seq, *records, **header)
    return read_envelope(header.get("agent", "pc-01"), body, received_at)


def hello(agent: str = "pc-01", session: str = "5" * 16, boot: str = "boot-1", **values: Any) -> Hello:
    wall = values.pop("wall", round(time.time() * SECOND))
    facts = values.pop("host", HostFacts(hostname=agent, ip_address="10.9.9.9", os_version="ubuntu_24_04"))
    return Hello(
        session=session, boot=boot, wall=wall, up=values.pop("up", 1000 * SECOND), host=facts, **values
    )
