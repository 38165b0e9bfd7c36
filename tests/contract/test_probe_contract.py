"""Every probe keeps the contract: three answers, no exceptions, an end in about the time given, no leftovers."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from boardherd_agent.devices import programs
from boardherd_agent.watch.probes import kinds
from boardherd_shared.ids import is_slug
from boardherd_shared.lab import BoardConfig
from boardherd_shared.probes import CONSOLE, KINDS, parse_probe
from boardherd_shared.records import ProbeResult
from support.probe_rigs import RIGS, STATES, Rig, State, pings_for_real, probe_named


def test_every_kind_has_a_module_a_place_in_the_table_and_a_rig() -> None:
    assert set(kinds()) == set(KINDS) - {CONSOLE} == set(RIGS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_example_of_every_kind_is_right(kind: str) -> None:
    """What the table calls an example is read, and built by the module of that name."""
    example = KINDS[kind].example
    assert parse_probe(example).kind == kind
    config = BoardConfig.model_validate(
        {"probes": [example], "board_ip": "10.0.6.7", "serial_port": "evm-07"}
    )
    if kind != CONSOLE:
        assert is_slug(probe_named(example).name)
    assert config.probes == (example,)


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv(programs.VARIABLE, str(tmp_path))
    return RIGS[request.param](tmp_path)


@pytest.mark.parametrize("state", STATES)
async def test_what_it_finds_can_stand_in_a_record(rig: Rig, state: State) -> None:
    """OPS-1: whatever the world does, the probe says it in words."""
    async with rig.world(state) as probe:
        outcome = await probe.check(rig.within_s(state))
    assert outcome.answer == rig.answers[state], outcome.text
    assert outcome.text
    result = ProbeResult(
        probe=probe.name, answer=outcome.answer, at=1, text=outcome.text, duration_s=outcome.duration_s
    )
    assert result.text.isprintable()
    assert is_slug(probe.name)
    assert outcome.answer == "yes" or not (outcome.stack_up and outcome.answer == "unavailable")


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fail a test that leaves a descriptor, a thread or a process of a probe behind."""
    gc.collect()
    descriptors, threads, children = _descriptors(), threading.active_count(), _children()
    yield
    async with asyncio.timeout(10):
        while _descriptors() > descriptors or threading.active_count() > threads or _children() - children:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()]) if sys.platform == "linux" else 0


def _children() -> set[str]:
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {child for task in tasks.glob("*/children") for child in task.read_text().split()}


@pytest.mark.parametrize("state", STATES)
async def test_a_look_leaves_nothing_behind(nothing_left: None, rig: Rig, state: State) -> None:
    """OPS-3."""
    async with rig.world(state) as probe:
        for _ in range(3):
            await probe.check(rig.within_s(state))


@pytest.mark.parametrize("state", ["yes", "slow", "garbled"])
async def test_it_can_be_cancelled_at_any_moment(nothing_left: None, rig: Rig, state: State) -> None:
    """OPS-2 needs it: a look that is under way when the agent stops is broken off and holds nothing."""
    async with rig.world(state) as probe:
        for pause in [*[0.0] * 12, 0.001, 0.003, 0.01]:
            turns = 0 if pause else _turn()
            task = asyncio.create_task(probe.check(20), name="probe to cancel")
            for _ in range(turns):
                await asyncio.sleep(0)
            if pause:
                await asyncio.sleep(pause)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() or task.exception() is None
        outcome = await probe.check(rig.within_s(state))
    assert outcome.answer == rig.answers[state], "it looks as before"


_turns = iter(range(10**9))


def _turn() -> int:
    return next(_turns) % 12


async def test_many_looks_at_the_same_time_do_not_mix(rig: Rig) -> None:
    """All boards of a PC share one ICMP socket and one name service."""
    async with rig.world("yes") as probe, asyncio.TaskGroup() as group:
        looks = [group.create_task(probe.check(20), name="look") for _ in range(20)]
    assert {look.result().answer for look in looks} == {rig.answers["yes"]}


def test_whether_echo_requests_were_sent_is_said(record_property: Callable[[str, object], None]) -> None:
    """Where a machine forbids ICMP the ping probe is tested as far as "unavailable" and the played network."""
    record_property("icmp", "real" if pings_for_real() else "not permitted here")
