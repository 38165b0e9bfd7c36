"""The outbox in front of a real spool."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from boardherd_agent.delivery.outbox import Outbox
from boardherd_agent.delivery.spool import Limits, Spool
from support.delivery import Database, HandClock, event, host


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(tmp_path, agent="pc-01", clock=HandClock(), limits=Limits(ballast_bytes=0)) as spool:
        yield spool


@contextlib.asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.run(), name="outbox")
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(truth: Callable[[], object]) -> None:
    for _ in range(2000):
        if truth():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come true")


async def read(spool: Spool) -> Database:
    database = Database()
    while envelope := await spool.oldest(()):
        database.take(envelope.payload)
        await spool.acknowledge([envelope.key])
    return database


async def test_events_are_written_at_once_and_samples_wait_for_company(spool: Spool) -> None:
    outbox = Outbox(spool, HandClock(), samples_every_s=3600)
    async with running(outbox):
        outbox.put(host(1))
        outbox.put(event("a"))
        await until(lambda: outbox.counts["event"])
        assert outbox.counts == {"event": 1}
        for n in range(2, 201):
            outbox.put(host(n))
        await until(lambda: outbox.counts["host"] == 200)
    assert spool.figures.pending == 2
    assert spool.accepted == {"event": 1, "host": 200}


async def test_samples_are_written_after_a_while(spool: Spool) -> None:
    outbox = Outbox(spool, HandClock(), samples_every_s=0.01)
    async with running(outbox):
        outbox.put(host(1))
        await until(lambda: outbox.counts["host"])


async def test_a_stop_writes_everything_that_waits(spool: Spool) -> None:
    """DEL-1: put is a promise that holds over a clean stop."""
    outbox = Outbox(spool, HandClock(), samples_every_s=3600)
    async with running(outbox):
        for n in range(5000):
            outbox.put(event(f"e{n}"))
            outbox.put(host(n))
    tags = (await read(spool)).tags()
    assert sum(tags.values()) == len(tags) == 10_000
    assert outbox.counts == {"event": 5000, "host": 5000}


async def test_a_stop_in_the_middle_of_a_write_writes_nothing_twice(spool: Spool) -> None:
    """DEL-1: what is being written when the stop comes is written once."""
    gate = threading.Event()
    outbox = Outbox(spool, HandClock())
    async with running(outbox):
        blocker = asyncio.create_task(spool._in_thread(gate.wait), name="blocker")
        outbox.put(event("a"))
        for _ in range(5):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, gate.set)
    await blocker
    assert (await read(spool)).tags() == {"a": 1}
    assert outbox.counts == {"event": 1}


async def test_a_disk_that_stalls_costs_bounded_memory_and_is_confessed(spool: Spool) -> None:
    gate = threading.Event()
    outbox = Outbox(spool, HandClock(), max_waiting=100)
    async with running(outbox):
        blocker = asyncio.create_task(spool._in_thread(gate.wait), name="blocker")
        await asyncio.sleep(0)
        for n in range(1000):
            outbox.put(host(n))
        assert outbox.dropped == 900
        gate.set()
        await blocker
        await until(lambda: outbox.counts["host"] == 100)
    database = await read(spool)
    assert set(database.tags()) == {str(n) for n in range(900, 1000)}
    assert any(b"900 records were dropped" in payload for payload in database.stored.values())
