"""Calls to the MQTT library: its errors become LinkDown, and no cancellation is lost."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from boardherd_shared.link import LinkDown, Session


class Library:
    """Stands for the MQTT library's client: its publish waits as the real one does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.answered = asyncio.Event()
        self.error = error

    async def publish(self, *arguments: object, **options: object) -> None:
        if self.error:
            raise self.error
        await asyncio.wait_for(self.answered.wait(), 5)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_that_comes_with_the_answer_is_not_lost(turns: int) -> None:
    """However many turns of the loop the answer needs to arrive: what is not done yet is cancelled."""
    library = Library()
    session = Session(library, "0" * 16, 5)  # type: ignore[arg-type]
    task = asyncio.create_task(session.publish("x", b""), name="publish")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    library.answered.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert was_done or task.cancelled()


async def test_the_librarys_errors_are_states_of_the_world() -> None:
    session = Session(Library(aiomqtt.MqttError("gone")), "0" * 16, 5)  # type: ignore[arg-type]
    with pytest.raises(LinkDown, match="gone"):
        await session.publish("x", b"")


async def test_a_bug_is_not_taken_for_the_world() -> None:
    session = Session(Library(ZeroDivisionError()), "0" * 16, 5)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        await session.publish("x", b"")
