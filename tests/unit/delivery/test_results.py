"""Results: each step told at once and in order, with a session by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from boardherd_agent.delivery.results import Results
from boardherd_shared.command import CommandStep, State
from boardherd_shared.link import LinkDown, TooLarge
from boardherd_shared.topics import Topics

REPLY, RESULT = "boardherd/v1/lab/reply/ops1", "boardherd/v1/lab/pc-01/result/abc"


class HandSession:
    """A broker that acknowledges what it is not told to keep waiting."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        """Topic and text of what it was given, in order."""
        self.waits_for: set[str] = set()
        """Texts that it does not acknowledge yet."""
        self.too_large: set[str] = set()
        self.down = asyncio.Event()

    async def publish(self, topic: str, payload: bytes, **_: Any) -> None:
        text = json.loads(payload)["text"]
        if text in self.too_large:
            raise TooLarge("300000 bytes are more than the 262144 that the broker takes")
        self.given.append((topic, text))
        if text in self.waits_for:
            await self.down.wait()
            raise LinkDown("gone")

    def texts(self, topic: str) -> list[str]:
        return [text for given, text in self.given if given == topic]


def step(text: str) -> CommandStep:
    return CommandStep(
        id="abc", state=State.RUNNING, action="on", agent="pc-01", operator="ops1", at=1.0, text=text
    )


@contextlib.asynccontextmanager
async def serving(results: Results, session: HandSession) -> AsyncIterator[None]:
    task = asyncio.create_task(results.serve(session), name="results")  # type: ignore[arg-type]
    await settled()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await task
            except* LinkDown:
                pass


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_steps_are_told_in_order_on_both_topics_first_to_who_asked() -> None:
    results, session = Results(Topics("lab")), HandSession()
    results.put(step("one"))
    async with serving(results, session):
        results.put(step("two"))
        await results.drained()
        assert session.given == [(REPLY, "one"), (RESULT, "one"), (REPLY, "two"), (RESULT, "two")]


async def test_no_step_waits_for_the_acknowledgement_of_another() -> None:
    results, session = Results(Topics("lab")), HandSession()
    session.waits_for = {"one"}
    async with serving(results, session):
        results.put(step("one"))
        results.put(step("two"))
        await settled()
        assert session.texts(REPLY) == session.texts(RESULT) == ["one", "two"]


async def test_a_broker_that_acknowledges_nothing_gets_no_more_than_it_can_take() -> None:
    results, session = Results(Topics("lab")), HandSession()
    session.waits_for = {str(number) for number in range(30)}
    async with serving(results, session):
        for number in range(30):
            results.put(step(str(number)))
        await settled()
        assert session.texts(REPLY) == [str(number) for number in range(8)]


async def test_what_was_not_acknowledged_is_told_again_with_all_that_followed() -> None:
    """No topic ends with a step that is older than one before."""
    results, one, two = Results(Topics("lab")), HandSession(), HandSession()
    one.waits_for = {"two"}
    async with serving(results, one):
        for text in ("one", "two", "three"):
            results.put(step(text))
        await settled()
        one.down.set()
        await settled()
    results.put(step("four"))
    async with serving(results, two):
        await results.drained()
    assert two.texts(REPLY) == two.texts(RESULT) == ["two", "three", "four"]


async def test_a_step_that_is_too_large_keeps_nobody_waiting() -> None:
    results, session = Results(Topics("lab")), HandSession()
    session.too_large = {"one"}
    async with serving(results, session):
        results.put(step("one"))
        results.put(step("two"))
        await results.drained()
        assert session.texts(REPLY) == ["two"]


async def test_the_newest_thousand_steps_wait_for_the_broker() -> None:
    results, session = Results(Topics("lab")), HandSession()
    for number in range(1500):
        results.put(step(str(number)))
    async with serving(results, session):
        await results.drained()
    assert session.texts(RESULT) == [str(number) for number in range(500, 1500)]
