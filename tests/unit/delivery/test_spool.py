"""The spool behind an event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from boardherd_agent.delivery.spool import Limits, Spool, SpoolBusyError
from support.delivery import HandClock, event

LIMITS = Limits(ballast_bytes=0)


def make(directory: Path) -> Spool:
    return Spool(directory, agent="pc-01", clock=HandClock(), limits=LIMITS, machine="m")


async def test_a_spool_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with make(tmp_path / "a" / "new" / "place") as spool:
        keys = await spool.append("events", [event("a")])
        assert spool.accepted == {"event": 1}
    async with make(tmp_path / "a" / "new" / "place") as spool:
        assert spool.figures.pending == 1
        envelope = await spool.oldest(())
        assert envelope
        assert [envelope.key] == keys


async def test_a_second_agent_is_refused_and_leaves_no_thread_behind(tmp_path: Path) -> None:
    async with make(tmp_path):
        with pytest.raises(SpoolBusyError):
            async with make(tmp_path):
                pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spool")]


async def test_listeners_hear_of_everything_that_can_be_sent(tmp_path: Path) -> None:
    heard: list[int] = []
    async with make(tmp_path) as spool:
        spool.listen(lambda: heard.append(spool.figures.pending))
        (key,) = await spool.append("events", [event("a")])
        await spool.acknowledge([key])
        await spool.resume({key.stream: [(1, 1)]})
    assert heard == [1, 1]


async def test_a_cancelled_caller_does_not_break_what_is_under_way(tmp_path: Path) -> None:
    """DEL-1: an append is whole or absent, whatever happens to who waits for it."""
    gate = threading.Event()
    async with make(tmp_path) as spool:
        blocker = asyncio.create_task(spool._in_thread(gate.wait), name="blocker")
        caller = asyncio.create_task(spool.append("events", [event("a"), event("b")]), name="caller")
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        gate.set()
        await blocker
        await spool.append("events", [event("c")])
    async with make(tmp_path) as spool:
        assert [info.retained for info in await spool.describe()] in ([((1, 1),)], [((1, 2),)])


async def test_the_upkeep_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    async with make(tmp_path) as spool:
        task = asyncio.create_task(spool.run(), name="upkeep")
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
