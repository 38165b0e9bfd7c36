"""When the page is told to look again."""

from __future__ import annotations

import asyncio

from boardherd_collector.web.live import changes
from support import shown


async def test_the_present_state_comes_first_then_each_change() -> None:
    fleet, stopping = shown.ShownFleet(), asyncio.Event()
    stream = changes(fleet, stopping, pause_s=0.001, tick_s=60)
    assert await anext(stream) == "retry: 2000\n\n"
    assert await anext(stream) == "event: fleet\ndata: 1\n\n"
    fleet.show(shown.fleet(site="a"))
    fleet.show(shown.fleet(site="b"))
    assert await anext(stream) == "event: fleet\ndata: 3\n\n"  # two changes at once are told once
    stopping.set()
    assert [event async for event in stream] == []


async def test_something_is_said_though_nothing_changes() -> None:
    stream = changes(shown.ShownFleet(), asyncio.Event(), pause_s=0.001, tick_s=0.002)
    said = [await anext(stream) for _ in range(4)]
    assert said[1:] == ["event: fleet\ndata: 1\n\n"] * 3
    await stream.aclose()
