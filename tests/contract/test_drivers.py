"""One suite for every driver: each drives its simulator through the worker, over real sockets.

A driver joins by a module in ``tests/support/rigs``; a driver without one fails the first test.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import repeat
from typing import Any

import pytest

from boardherd.rack.devices.device import SimulatedDevice
from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import DeviceError, DeviceGarbled, DeviceOffline, DeviceRefused, Pulser
from boardherd_agent.devices.worker import PortStatus, PortUse, RelayWorker, Switched, Timing
from boardherd_shared.clock import SystemClock
from boardherd_shared.inventory import RelayConfig
from boardherd_shared.records import Power
from support import rigs
from support.ports import free_port
from support.rigs import RIGS
from support.rigs.rig import Rig

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
POLL_S = 0.2
TIMING = Timing(backoff=lambda: repeat(0.02))


class Bench:
    """A simulator, a worker with the real driver, and what the worker told."""

    def __init__(self, rig: Rig, simulator: SimulatedDevice) -> None:
        self.rig = rig
        self.missing_port = rig.port_count + 1
        self.simulator: SimulatedDevice = simulator
        self.told: list[PortStatus] = []
        self.config = RelayConfig.model_validate(rig.config(simulator) | {"poll": POLL_S})
        self.worker = self.make_worker()

    def make_driver(self) -> Any:
        assert self.config.driver
        module = drivers.load(self.config.driver)
        return module.Driver(self.config, module.Options.model_validate(self.config.options))

    def make_worker(self) -> RelayWorker:
        return RelayWorker(
            "relay-1",
            self.config,
            self.make_driver,
            {
                1: PortUse("evm-01"),
                2: PortUse("evm-02", polarity="NC"),
                self.missing_port: PortUse("evm-09"),
            },
            SystemClock(),
            self.told.append,
            timing=TIMING,
        )

    @contextlib.asynccontextmanager
    async def running(self, worker: RelayWorker | None = None) -> AsyncIterator[None]:
        """Let a worker run, and see that it has not died by itself and lets go of the device."""
        task = asyncio.create_task((worker or self.worker).run(), name="worker under test")
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - a state of the outside world has no event
                await asyncio.sleep(0.01)

    async def until_port(self, observed: Power, reason: str | None = None) -> None:
        def seen() -> bool:
            status = self.worker.status(1)
            return status.observed is observed and reason in {None, status.reason}

        await self.until(seen)


@pytest.fixture(params=list(RIGS))
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    rig = RIGS[request.param]
    async with rig.simulator() as simulator:
        bench = Bench(rig, simulator)
        async with bench.running():
            yield bench
        await bench.until(lambda: simulator.connections == 0)
        assert simulator.connections_max <= 2 * rig.max_connections, "more sockets than two workers need"


def test_every_driver_is_tested() -> None:
    assert rigs.kinds() == drivers.kinds()


async def test_switching_moves_the_port_and_is_read_back(bench: Bench) -> None:
    assert await bench.worker.switch(1, ON, by="ops1") == Switched(OFF, ON)
    assert bench.simulator.outputs[1]
    assert await bench.worker.read(1) is ON
    assert await bench.worker.switch(1, OFF, by="ops1") == Switched(ON, OFF)
    assert not bench.simulator.outputs[1]


async def test_only_the_named_port_moves(bench: Bench) -> None:
    bench.simulator.switch(5, True)
    await bench.worker.switch(1, ON, by="ops1")
    assert [port for port, energised in bench.simulator.outputs.items() if energised] == [1, 5]


async def test_the_normally_closed_contact_works_the_other_way_round(bench: Bench) -> None:
    assert await bench.worker.switch(2, OFF, by="ops1") == Switched(ON, OFF)
    assert bench.simulator.outputs[2]


async def test_a_toggle_follows_what_the_device_says_now(bench: Bench) -> None:
    await bench.worker.read(1)
    bench.simulator.switch(1, True)
    assert await bench.worker.toggle(1, by="ops1") == Switched(ON, OFF)


async def test_a_port_that_the_device_lacks_is_refused(bench: Bench) -> None:
    with pytest.raises(DeviceRefused):
        await bench.worker.switch(bench.missing_port, ON, by="ops1")
    async with bench.make_driver() as driver:
        with pytest.raises(DeviceRefused):
            await driver.set(bench.missing_port, True)
        assert await driver.read()  # and it goes on


async def test_the_device_says_what_it_is(bench: Bench) -> None:
    await bench.worker.read(1)
    assert bench.worker.identity is not None
    assert bench.worker.identity.port_count in {None, bench.rig.port_count}
    assert bench.worker.status(1).module == str(bench.worker.identity)


async def test_a_device_that_says_no_is_believed(bench: Bench) -> None:
    bench.simulator.answer_fail = True
    with pytest.raises(DeviceRefused):
        await bench.worker.switch(1, ON, by="ops1")
    assert bench.worker.status(1).observed is OFF
    assert bench.worker.online


async def test_a_silent_device_is_unknown_and_recovers(bench: Bench) -> None:
    """OPS-1: shown while it lasts, and cleared afterwards."""
    await bench.worker.switch(1, ON, by="ops1")
    await bench.simulator.hang()
    with pytest.raises(DeviceOffline):
        await bench.worker.switch(1, OFF, by="ops1")
    assert bench.worker.status(1).observed is UNKNOWN
    assert bench.worker.trouble
    await bench.simulator.heal()
    await bench.until_port(ON)
    assert bench.worker.online
    assert bench.worker.trouble == ""


async def test_garbled_answers_are_never_taken_for_a_state(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    bench.simulator.garble = bytes.fromhex("55 AA 55 AA 55")
    with pytest.raises(DeviceGarbled, match=bench.rig.garbled):
        await bench.worker.read(1)
    assert bench.worker.status(1).observed is UNKNOWN
    await bench.simulator.heal()
    await bench.until_port(ON)


async def test_a_slow_device_is_waited_for(bench: Bench) -> None:
    await bench.worker.read(1)
    bench.simulator.delay = 0.1
    assert await bench.worker.switch(1, ON, by="ops1") == Switched(OFF, ON)


async def test_a_device_that_is_too_slow_counts_as_silent(bench: Bench) -> None:
    await bench.worker.read(1)
    bench.simulator.delay = 0.6
    with pytest.raises(DeviceOffline, match=r"0\.3 s"):
        await bench.worker.read(1)
    await bench.simulator.heal()
    await bench.until_port(OFF)


async def test_a_rebooted_device_is_named(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    await bench.simulator.reboot()
    await bench.until_port(OFF, "module rebooted")
    assert bench.worker.status(1).asked is ON
    assert not bench.simulator.outputs[1], "nobody asked to restore it"


async def test_outside_switching_is_named(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    bench.simulator.switch(1, False)
    await bench.until_port(OFF, "switched from outside")


async def test_a_connection_lost_while_idle_costs_nothing(bench: Bench) -> None:
    await bench.worker.read(1)
    await bench.simulator.dead()
    await bench.simulator.heal()
    assert await bench.worker.switch(1, ON, by="ops1") == Switched(OFF, ON)


async def test_a_refused_connection_is_said_in_words_and_waited_out(bench: Bench) -> None:
    await bench.simulator.dead()
    await bench.until_port(UNKNOWN)
    await bench.until(lambda: "refused" in bench.worker.trouble)
    with pytest.raises(DeviceRefused, match="unknown"):
        await bench.worker.toggle(1, by="ops1")
    await bench.simulator.heal()
    await bench.until_port(OFF)


async def test_two_clients_at_once_see_each_other(bench: Bench) -> None:
    other = bench.make_worker()
    async with bench.running(other):
        for power in (ON, OFF) * 3:
            await bench.worker.switch(1, power, by="ops1")
            assert await other.read(1) is power
        async with asyncio.TaskGroup() as group:
            for worker in (bench.worker, other):
                group.create_task(worker.switch(1, ON, by="ops1"), name="switch 1")
                group.create_task(worker.switch(2, ON, by="ops1"), name="switch 2")
    assert (bench.simulator.outputs[1], bench.simulator.outputs[2]) == (True, False)


async def test_many_operations_share_one_connection(bench: Bench) -> None:
    operations: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: bench.worker.read(1),
        lambda: bench.worker.switch(1, ON, by="ops1"),
        lambda: bench.worker.toggle(2, by="ops1"),
    ]
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(operations[number % 3](), name=f"operation {number}")
    assert bench.simulator.connections_max <= bench.rig.max_connections


async def test_cancelling_in_mid_switch_leaves_nothing_behind(bench: Bench) -> None:
    """CMD-3: what an interrupted switch did is read, not guessed; late answers confuse nobody."""
    await bench.worker.read(1)
    for delay in (0.0, 0.05, 0.1):
        bench.simulator.delay = 0.1
        task = asyncio.create_task(bench.worker.switch(1, ON, by="ops1"), name="to be cancelled")
        await asyncio.sleep(delay)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        bench.simulator.delay = 0.0
        await bench.until_port(ON if bench.simulator.outputs[1] else OFF)
        assert (await bench.worker.switch(1, OFF, by="ops1")).observed is OFF
    assert bench.simulator.connections_max <= bench.rig.max_connections


async def test_nothing_is_switched_by_starting_polling_or_stopping(bench: Bench) -> None:
    bench.simulator.switch(1, True)
    await bench.until_port(ON)
    await bench.simulator.dead()
    await bench.until_port(UNKNOWN)
    await bench.simulator.heal()
    await bench.until_port(ON)
    assert [port for port, energised in bench.simulator.outputs.items() if energised] == [1]


async def test_a_pulse_is_timed_by_the_device(bench: Bench) -> None:
    async with bench.make_driver() as driver:
        if not isinstance(driver, Pulser):
            pytest.skip("this device times no pulses")
        await driver.pulse(1, True, 0.2)
        assert bench.simulator.outputs[1]
        await bench.until(lambda: not bench.simulator.outputs[1])


@pytest.mark.parametrize("name", list(RIGS))
@pytest.mark.parametrize("address", ["127.0.0.1", "a..b"])
async def test_an_unreachable_address_is_said_in_words(name: str, address: str) -> None:
    async with RIGS[name].simulator() as simulator:
        bench = Bench(RIGS[name], simulator)
    if bench.config.address is None:
        pytest.skip("this device has no address")
    bench.config = bench.config.model_copy(update={"address": address, "tcp_port": free_port()})
    with pytest.raises(DeviceOffline) as caught:
        await bench.make_worker().read(1)
    assert address in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", list(RIGS))
async def test_a_peer_that_accepts_and_says_nothing_is_given_up(name: str) -> None:
    """OPS-1: a device that is reachable but no device of this kind ends in an error, not in a wait."""
    async with RIGS[name].simulator() as simulator:
        bench = Bench(RIGS[name], simulator)
    if bench.config.address is None:
        pytest.skip("this device has no address")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        bench.config = bench.config.model_copy(update={"tcp_port": mute.getsockname()[1]})
        with pytest.raises(DeviceError):
            await bench.make_worker().read(1)
