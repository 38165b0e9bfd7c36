"""The gate that all looks of a PC go through: how many at once, who first, and the order of the first ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardherd_agent.watch.probing.gate import Gate


class Crowd:
    """Many who want to pass, and who is inside."""

    def __init__(self, gate: Gate, group: asyncio.TaskGroup) -> None:
        self._gate = gate
        self._group = group
        self.inside: dict[bool, int] = {True: 0, False: 0}
        self.tasks: list[asyncio.Task[None]] = []
        self.leave: list[asyncio.Event] = []

    def comes(self, *, urgent: bool) -> None:
        leave = asyncio.Event()
        self.leave.append(leave)
        self.tasks.append(self._group.create_task(self._pass(leave, urgent=urgent), name="one of the crowd"))

    async def _pass(self, leave: asyncio.Event, *, urgent: bool) -> None:
        async with self._gate.turn(urgent=urgent):
            self.inside[urgent] += 1
            try:
                await leave.wait()
            finally:
                self.inside[urgent] -= 1

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def crowd(at_once: int) -> AsyncIterator[Crowd]:
    async with asyncio.TaskGroup() as group:
        people = Crowd(Gate(at_once), group)
        yield people
        for leave in people.leave:
            leave.set()


@pytest.mark.parametrize(("at_once", "steady", "both"), [(1, 1, 1), (2, 2, 2), (4, 3, 4), (64, 48, 64)])
async def test_neither_kind_takes_all_places(at_once: int, steady: int, both: int) -> None:
    """A rack of silent boards leaves room for a boot, a rack that boots leaves room for the others."""
    for first in (False, True):
        async with crowd(at_once) as people:
            for _ in range(2 * at_once):
                people.comes(urgent=first)
            await people.settle()
            assert people.inside[first] == steady
            for _ in range(2 * at_once):
                people.comes(urgent=not first)
            await people.settle()
            assert sum(people.inside.values()) == both


@pytest.mark.parametrize("turns", range(8))
async def test_a_place_given_in_the_moment_of_giving_up_goes_to_the_next(turns: int) -> None:
    async with crowd(1) as people:
        for _ in range(3):
            people.comes(urgent=False)
        await people.settle()
        people.leave[0].set()
        for _ in range(turns):
            await asyncio.sleep(0)
        people.tasks[1].cancel()
        await people.settle()
        assert people.inside[False] == 1
        assert not people.tasks[2].done()
        people.leave[2].set()
        async with asyncio.timeout(5):
            await people.tasks[2]


@settings(max_examples=60, deadline=None)
@given(
    at_once=st.integers(1, 9),
    script=st.lists(
        st.tuples(
            st.sampled_from(["come", "come", "leave", "cancel", "turn"]), st.booleans(), st.integers(0, 99)
        )
    ),
)
async def test_no_place_is_ever_lost_or_given_twice(
    at_once: int, script: list[tuple[str, bool, int]]
) -> None:
    """Whoever comes, leaves or gives up at whatever moment: never too many inside, and at the end all get in."""
    async with crowd(at_once) as people:
        for what, urgent, number in script:
            if what == "come":
                people.comes(urgent=urgent)
            elif people.tasks and what == "leave":
                people.leave[number % len(people.leave)].set()
            elif people.tasks and what == "cancel":
                people.tasks[number % len(people.tasks)].cancel()
            else:
                await asyncio.sleep(0)
            assert sum(people.inside.values()) <= at_once
        for leave in people.leave:
            leave.set()
        async with asyncio.timeout(5):
            await asyncio.gather(*people.tasks, return_exceptions=True)
        for number in range(at_once):
            people.comes(urgent=number % 2 == 0)
        await people.settle()
        assert sum(people.inside.values()) == at_once


@pytest.mark.parametrize(
    ("probes", "last", "apart"), [(1, 0.0, 0.1), (6, 0.5, 0.1), (100, 9.9, 0.1), (600, 9.98, 1 / 60)]
)
def test_first_looks_are_spread_over_one_interval_and_are_soon_over_on_a_small_bench(
    probes: int, last: float, apart: float
) -> None:
    gate = Gate()
    seats = [gate.seat() for _ in range(probes)]
    times = [gate.first_look_after(seat, 10.0) for seat in seats]
    assert times[0] == 0
    assert times[-1] == pytest.approx(last, abs=0.01)
    assert all(later - earlier == pytest.approx(apart) for earlier, later in pairwise(times))
