"""Many readers, one making."""

from __future__ import annotations

import asyncio

import pytest

from boardherd_collector.web.shared import Shared


async def test_readers_that_waited_share_what_was_made_after_they_asked() -> None:
    """SEC-2: a crowd of readers costs no more than two."""
    made: list[int] = []
    begun, door = asyncio.Event(), asyncio.Event()

    async def make() -> int:
        made.append(len(made))
        number = made[-1]
        begun.set()
        await door.wait()
        return number

    shared = Shared(make)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(shared.get(), name="first")
        await begun.wait()
        crowd = [group.create_task(shared.get(), name=f"reader {n}") for n in range(50)]
        await asyncio.sleep(0)
        door.set()
    assert first.result() == 0
    assert {reader.result() for reader in crowd} == {1}
    assert await shared.get() == 2


async def test_a_failure_is_not_kept() -> None:
    answers = [RuntimeError("no"), "yes"]

    async def make() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = Shared(make)
    with pytest.raises(RuntimeError):
        await shared.get()
    assert await shared.get() == "yes"
