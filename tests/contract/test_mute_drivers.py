"""One suite for every driver of a device that cannot be read back: what such a device did is never claimed to be known.

Whether the contacts moved is seen here by looking at the simulator, as nobody can in a rack.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from boardherd_agent.devices.device import DeviceOffline, DeviceRefused
from boardherd_agent.devices.worker import Switched
from boardherd_shared.records import Power
from support.bench import Bench
from support.rigs import RIGS

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
MUTE = [name for name, rig in RIGS.items() if not rig.reads_back]
UNCONFIRMED = Switched(UNKNOWN, UNKNOWN, confirmed=False)


@pytest.fixture(params=MUTE)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    rig = RIGS[request.param]
    async with rig.simulator() as simulator:
        bench = Bench(rig, simulator)
        async with bench.running():
            yield bench
        await bench.until(lambda: simulator.connections == 0)
        assert simulator.connections_max <= 2 * rig.max_connections, "more sockets than two workers need"


async def moved(bench: Bench, port: int, energised: bool) -> None:
    """Return when a contact has moved."""
    await bench.until(lambda: bench.simulator.outputs[port] is energised)


async def test_a_switch_moves_the_port_and_is_not_called_confirmed(bench: Bench) -> None:
    assert await bench.worker.switch(1, ON, by="ops1") == UNCONFIRMED
    await moved(bench, 1, True)
    assert bench.worker.status(1).asked is ON
    assert await bench.worker.read(1) is UNKNOWN
    assert await bench.worker.switch(1, OFF, by="ops1") == UNCONFIRMED
    await moved(bench, 1, False)


async def test_only_the_named_port_moves(bench: Bench) -> None:
    bench.simulator.switch(5, True)
    await bench.worker.switch(1, ON, by="ops1")
    await moved(bench, 1, True)
    assert [port for port, energised in bench.simulator.outputs.items() if energised] == [1, 5]


async def test_the_normally_closed_contact_works_the_other_way_round(bench: Bench) -> None:
    assert await bench.worker.switch(2, OFF, by="ops1") == UNCONFIRMED
    await moved(bench, 2, True)


async def test_a_toggle_is_refused_in_words(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    with pytest.raises(DeviceRefused, match="cannot be read back"):
        await bench.worker.toggle(1, by="ops1")
    await moved(bench, 1, True)


async def test_a_port_that_the_device_lacks_is_refused(bench: Bench) -> None:
    with pytest.raises(DeviceRefused):
        await bench.worker.switch(bench.missing_port, ON, by="ops1")
    assert bench.worker.online
    assert not bench.simulator.transitions


async def test_the_device_says_what_it_is(bench: Bench) -> None:
    await bench.worker.read(1)
    assert bench.worker.identity is not None
    assert bench.worker.identity.port_count in {None, bench.rig.port_count}


async def test_a_device_that_says_no_is_believed_if_it_can_say_so(bench: Bench) -> None:
    bench.simulator.answer_fail = True
    if bench.rig.acknowledges:
        with pytest.raises(DeviceRefused):
            await bench.worker.switch(1, ON, by="ops1")
    else:
        assert await bench.worker.switch(1, ON, by="ops1") == UNCONFIRMED
    assert bench.worker.status(1).observed is UNKNOWN
    assert not bench.simulator.outputs[1]


async def test_a_silent_device_is_noticed_if_it_should_have_answered(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    await moved(bench, 1, True)
    await bench.simulator.hang()
    if bench.rig.acknowledges:
        with pytest.raises(DeviceOffline):
            await bench.worker.switch(1, OFF, by="ops1")
    else:
        assert await bench.worker.switch(1, OFF, by="ops1") == UNCONFIRMED
    await bench.simulator.heal()
    assert bench.simulator.outputs[1]
    assert await bench.worker.switch(1, OFF, by="ops1") == UNCONFIRMED
    await moved(bench, 1, False)


async def test_a_slow_device_switches_all_the_same(bench: Bench) -> None:
    await bench.worker.read(1)
    bench.simulator.delay = 0.1
    assert await bench.worker.switch(1, ON, by="ops1") == UNCONFIRMED
    await moved(bench, 1, True)


async def test_nothing_is_claimed_after_a_reboot_or_a_switch_from_outside(bench: Bench) -> None:
    await bench.worker.switch(1, ON, by="ops1")
    await moved(bench, 1, True)
    bench.simulator.switch(1, False)
    assert await bench.worker.read(1) is UNKNOWN
    await bench.simulator.reboot()
    await bench.until(lambda: bench.worker.online)
    assert bench.worker.status(1).observed is UNKNOWN
    assert bench.worker.status(1).asked is ON
    assert not bench.simulator.outputs[1], "nobody asked to restore it"


async def test_a_connection_lost_while_idle_costs_nothing(bench: Bench) -> None:
    await bench.worker.read(1)
    await bench.simulator.dead()
    await bench.simulator.heal()
    assert await bench.worker.switch(1, ON, by="ops1") == UNCONFIRMED
    await moved(bench, 1, True)


async def test_a_device_that_is_not_there_is_said_in_words_and_waited_out(bench: Bench) -> None:
    """OPS-1: shown while it lasts, and cleared afterwards."""
    await bench.worker.read(1)
    await bench.simulator.dead()
    await bench.until(lambda: bench.rig.absent in bench.worker.trouble)
    with pytest.raises(DeviceOffline):
        await bench.worker.switch(1, ON, by="ops1")
    await bench.simulator.heal()
    await bench.until(lambda: bench.worker.online)
    assert bench.worker.trouble == ""
    assert not bench.simulator.transitions, "nothing is made up for later"


async def test_cancelling_in_mid_switch_leaves_nothing_behind(bench: Bench) -> None:
    """CMD-3: what an interrupted switch did is not guessed."""
    await bench.worker.read(1)
    for delay in (0.0, 0.02):
        bench.simulator.delay = 0.05
        task = asyncio.create_task(bench.worker.switch(1, ON, by="ops1"), name="to be cancelled")
        await asyncio.sleep(delay)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert bench.worker.status(1).observed is UNKNOWN
        bench.simulator.delay = 0.0
        assert await bench.worker.switch(1, OFF, by="ops1") == UNCONFIRMED
        await moved(bench, 1, False)


async def test_nothing_is_switched_by_starting_polling_or_stopping(bench: Bench) -> None:
    bench.simulator.switch(1, True)
    await bench.until(lambda: bench.worker.online)
    await bench.simulator.dead()
    await bench.until(lambda: not bench.worker.online)
    await bench.simulator.heal()
    await bench.until(lambda: bench.worker.online)
    assert [change.cause for change in bench.simulator.transitions] == ["outside"]
