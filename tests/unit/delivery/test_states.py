"""Retained states, with a session by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from boardherd_agent.delivery.states import RetainedStates
from boardherd_shared.link import LinkDown


class HandSession:
    """Remembers what was published; can be made to fail or to wait."""

    id = "0123456789abcdef"

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, **_: Any) -> None:
        assert retain
        await self.gate.wait()
        if self.down:
            raise LinkDown("gone")
        self.published.append((topic, payload))


@contextlib.asynccontextmanager
async def serving(states: RetainedStates, session: HandSession) -> AsyncIterator[None]:
    task = asyncio.create_task(states.serve(session), name="states")  # type: ignore[arg-type]
    await settled()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LinkDown):
            await task


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_everything_is_published_after_each_connect_and_then_only_changes() -> None:
    states = RetainedStates()
    states.set("a", b"1")
    states.set("b", b"1")
    one, two = HandSession(), HandSession()
    async with serving(states, one):
        states.set("b", b"1")
        states.set("b", b"2")
        await settled()
    assert one.published == [("a", b"1"), ("b", b"1"), ("b", b"2")]
    async with serving(states, two):
        pass
    assert two.published == [("a", b"1"), ("b", b"2")]


async def test_quick_changes_coalesce() -> None:
    states = RetainedStates()
    session = HandSession()
    async with serving(states, session):
        for n in range(10):
            states.set("a", b"%d" % n)
        await settled()
    assert session.published == [("a", b"9")]


async def test_a_value_set_while_the_older_one_is_on_its_way_follows_it() -> None:
    states = RetainedStates()
    session = HandSession()
    session.gate.clear()
    async with serving(states, session):
        states.set("a", b"1")
        await settled()
        states.set("a", b"2")
        session.gate.set()
        await settled()
    assert session.published == [("a", b"1"), ("a", b"2")]


async def test_a_cleared_topic_is_cleared_once_even_if_it_was_never_set_here() -> None:
    states = RetainedStates()
    one, two = HandSession(), HandSession()
    async with serving(states, one):
        states.set("gone", None)
        await settled()
    async with serving(states, two):
        pass
    assert one.published == [("gone", b"")]
    assert two.published == []


@pytest.mark.parametrize("how", ["cancelled", "link down"])
async def test_what_was_not_confirmed_is_repeated(how: str) -> None:
    states = RetainedStates()
    states.set("a", b"1")
    states.set("gone", None)
    one, two = HandSession(), HandSession()
    if how == "cancelled":
        one.gate.clear()
    else:
        one.down = True
    async with serving(states, one):
        pass
    assert one.published == []
    async with serving(states, two):
        pass
    assert sorted(two.published) == [("a", b"1"), ("gone", b"")]
