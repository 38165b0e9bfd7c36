"""The worker with a real driver, on the sockets of a simulated Devantech module."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from boardherd.rack.devices.devantech import SERVED_CONNECTIONS, DevantechModule
from boardherd_agent.devices.drivers.devantech import Driver, Options
from boardherd_agent.devices.restoring import AFTER_OUTAGE
from boardherd_agent.devices.worker import PortStatus, PortUse, RelayWorker, Switched, Timing
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
AGENTS = 8


def owner(
    module: DevantechModule,
    uses: dict[int, PortUse],
    told: list[PortStatus] | None = None,
    *,
    shared: bool = False,
    may_restore: Callable[[int], bool] = lambda _: True,
    **config: object,
) -> RelayWorker:
    """Return a worker with the real driver."""
    keys = {"address": module.host, "tcp_port": module.port, "poll": 0.2} | config
    relay = RelayConfig.model_validate(keys)
    return RelayWorker(
        "eth-1",
        relay,
        lambda: Driver(relay, Options(reply_timeout=0.4, connect_timeout=1.0)),
        uses,
        SystemClock(),
        (lambda _: None) if told is None else told.append,
        shared=shared,
        may_restore=may_restore,
        timing=Timing(backoff=lambda: iter([0.02] * 1000)),
    )


@contextlib.asynccontextmanager
async def running(*workers: RelayWorker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.run(), name="worker under test") for worker in workers]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not seen():  # noqa: ASYNC110 - a state of the outside world has no event
            await asyncio.sleep(0.01)


async def test_more_agents_than_the_module_has_places_share_it() -> None:
    """Each drives its own port; none ever loses sight of it, though a sixth connection is never answered."""
    assert AGENTS > SERVED_CONNECTIONS
    async with DevantechModule() as module:
        told: list[list[PortStatus]] = [[] for _ in range(AGENTS)]
        workers = [
            owner(module, {index + 1: PortUse(f"evm-{index}")}, told[index], shared=True)
            for index in range(AGENTS)
        ]
        async with running(*workers):
            await until(lambda: all(worker.online for worker in workers))
            for power in (ON, OFF, ON):
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(
                            worker.switch(index + 1, power, by=f"pc-{index}"), name=f"pc {index}"
                        )
                        for index, worker in enumerate(workers)
                    ]
                assert all(task.result().observed is power for task in tasks)
                assert set(module.outputs.values()) == {power is ON}
            rounds = len(module.commands)
            await until(lambda: len(module.commands) > rounds + 4 * AGENTS)
        await until(lambda: module.connections == 0)
    assert [len([move for move in module.transitions if move.port == port]) for port in range(1, 9)] == [
        3
    ] * 8
    for index, statuses in enumerate(told):
        assert all(status.observed is not UNKNOWN for status in statuses), "seen at every moment"
        assert workers[index].status(index + 1).switch_count == 3


async def test_a_shared_module_is_held_only_while_it_is_spoken_to() -> None:
    async with DevantechModule() as module:
        worker = owner(module, {3: PortUse("evm-07")}, shared=True)
        assert await worker.switch(3, ON, by="ops1") == Switched(OFF, ON)
        await until(lambda: module.connections == 0)
        assert module.outputs[3], "it was acknowledged before it was closed"


@pytest.mark.parametrize("polarity", ["NO", "NC"])
async def test_a_cycle_runs_inside_the_module(polarity: str) -> None:
    """CMD-1, CMD-3: the second half comes though nobody asks for it any more."""
    async with DevantechModule() as module:
        uses = {3: PortUse("evm-07", polarity=polarity)}  # type: ignore[arg-type]
        worker = owner(module, uses)
        await worker.switch(3, ON, by="ops1")
        before = len(module.transitions)
        assert worker.can_pulse(3, 0.5)
        assert await worker.pulse(3, OFF, 0.5, by="ops1") == Switched(ON, OFF)
        assert (worker.status(3).observed, worker.status(3).asked, worker.status(3).drift_since) == (
            OFF,
            ON,
            None,
        )
        await until(lambda: len(module.transitions) == before + 2)
        assert await worker.read(3) is ON
        status = worker.status(3)
        assert (status.reason, status.switch_count) == ("", len(module.transitions))
        off, on = module.transitions[-2:]
        assert on.at - off.at >= 0.45
        async with running(worker):
            pass  # lets go of the module


async def test_after_an_outage_the_ports_come_back_by_themselves() -> None:
    async with DevantechModule() as module:
        uses = {1: PortUse("evm-01", min_off=0.3), 2: PortUse("evm-02", min_off=0.3), 3: PortUse("evm-03")}
        worker = owner(module, uses, after_outage="restore", stagger=0.3)
        async with running(worker):
            await worker.switch(1, ON, by="ops1")
            await worker.switch(2, ON, by="ops1")
            await worker.switch(3, OFF, by="ops1")
            await module.reboot()
            dropped = len(module.transitions)
            await until(lambda: len(module.transitions) == dropped + 2)
            await until(lambda: worker.status(2).observed is ON)
        first, second = module.transitions[dropped:]
        assert (first.port, second.port, module.outputs[3]) == (1, 2, False)
        assert second.at - first.at >= 0.3, "one after the other"
        assert worker.status(1).switched_by == worker.status(2).switched_by == AFTER_OUTAGE
        assert worker.status(3).switched_by == "ops1"


async def test_a_latched_module_that_reboots_needs_nothing() -> None:
    async with DevantechModule() as module:
        worker = owner(module, {1: PortUse("evm-01")}, after_outage="restore")
        async with running(worker):
            await worker.switch(1, ON, by="ops1")
            moves = len(module.transitions)
            await module.reboot(latched=True)
            asked = len(module.commands)
            await until(lambda: len(module.commands) > asked + 3)
        assert len(module.transitions) == moves
