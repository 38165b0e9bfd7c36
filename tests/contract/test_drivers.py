"""One suite for every driver of a device that can be read back, through the worker and over real sockets.

A driver joins by a module in ``tests/support/rigs``; a driver without one fails the first test.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from boardherd_agent.devices import drivers
from boardherd_agent.devices.device import DeviceError, DeviceGarbled, DeviceOffline, DeviceRefused, Pulser
from boardherd_agent.devices.worker import Switched
from boardherd_shared.records import Power
from support import rigs
from support.bench import Bench
from support.ports import free_port
from support.rigs import RIGS

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
READING = [name for name, rig in RIGS.items() if rig.reads_back]
"""The others have a suite of their own, for nearly all that is tested here is measured."""


@pytest.fixture(params=READING)
async def resting(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A bench whose worker does not run, so that the device is free for a driver."""
    rig = RIGS[request.param]
    async with rig.simulator() as simulator:
        bench = Bench(rig, simulator)
        yield bench
        await bench.until(lambda: simulator.connections == 0)
        assert simulator.connections_max <= 2 * rig.max_connections, "more sockets than two workers need"


@pytest.fixture
async def bench(resting: Bench) -> AsyncIterator[Bench]:
    async with resting.running():
        yield resting


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


async def test_a_driver_refuses_a_port_that_the_device_lacks(resting: Bench) -> None:
    async with resting.make_driver() as driver:
        with pytest.raises(DeviceRefused):
            await driver.set(resting.missing_port, True)
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
    bench.simulator.delay = 2 * bench.rig.patience
    with pytest.raises(DeviceOffline, match=re.escape(f"{bench.rig.patience:g} s")):
        await bench.worker.read(1)
    await bench.simulator.heal()
    await bench.until_port(OFF)


async def test_a_rebooted_device_is_named(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    await bench.simulator.reboot()
    if not bench.rig.drops_outputs:
        assert await bench.worker.read(1) is ON
        return
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
    await bench.until(lambda: bench.rig.absent in bench.worker.trouble)
    with pytest.raises(DeviceRefused, match="unknown"):
        await bench.worker.toggle(1, by="ops1")
    await bench.simulator.heal()
    await bench.until_port(OFF)


async def test_two_clients_at_once_see_each_other(bench: Bench) -> None:
    other = bench.make_worker()
    if bench.rig.exclusive:
        await bench.worker.read(1)
        with pytest.raises(DeviceOffline, match="another program"):
            await other.read(1)
        assert await bench.worker.switch(1, ON, by="ops1") == Switched(OFF, ON)
        return
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


async def test_a_pulse_is_timed_by_the_device(resting: Bench) -> None:
    async with resting.make_driver() as driver:
        if not isinstance(driver, Pulser) or not driver.max_pulse_s:
            pytest.skip("this device times no pulses")
        await driver.pulse(1, True, 0.2)
        assert resting.simulator.outputs[1]
        await resting.until(lambda: not resting.simulator.outputs[1])


@pytest.mark.parametrize("name", list(RIGS))
@pytest.mark.parametrize("address", ["127.0.0.1", "a..b"])
async def test_an_unreachable_address_is_said_in_words(name: str, address: str) -> None:
    async with RIGS[name].simulator() as simulator:
        bench = Bench(RIGS[name], simulator)
    bench.move(address, free_port())
    with pytest.raises(DeviceOffline) as caught:
        await bench.make_worker().read(1)
    assert address in str(caught.value)
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", READING)
async def test_a_peer_that_accepts_and_says_nothing_is_given_up(name: str) -> None:
    """OPS-1: a device that is reachable but no device of this kind ends in an error, not in a wait."""
    async with RIGS[name].simulator() as simulator:
        bench = Bench(RIGS[name], simulator)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        bench.move("127.0.0.1", mute.getsockname()[1])
        with pytest.raises(DeviceError):
            await bench.make_worker().read(1)
