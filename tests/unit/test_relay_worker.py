"""The worker's policy, on a device made by hand: turns, deadlines, retries, read-back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from boardherd_agent.devices.device import (
    DeviceError,
    DeviceGarbled,
    DeviceOffline,
    DeviceRefused,
    Identity,
)
from boardherd_agent.devices.worker import Switched
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.hand_device import PROMPT, Bench

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_switch_measures_before_and_after(bench: Bench) -> None:
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, ON)
    assert bench.module.calls == ["open", "read", "set 3 True", "read"]
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.switched_by, status.switch_count) == (ON, ON, "ops1", 1)
    assert (status.reason, status.module) == ("", "TEST8 hardware 1 firmware 2")
    assert bench.worker.online
    assert bench.worker.last_answer is not None


async def test_a_switch_does_not_read_again_what_was_read_ahead_of_it() -> None:
    bench = Bench(clock=FakeClock())
    await bench.worker.read(3)
    bench.module.outputs[3] = True
    await bench.worker.look(3)
    assert await bench.worker.switch(3, OFF, by="ops1") == Switched(ON, OFF)
    assert bench.module.calls == ["open", "read", "read", "set 3 False", "read"]


async def test_what_was_read_ahead_counts_for_a_moment_only() -> None:
    clock = FakeClock()
    bench = Bench(clock=clock)
    await bench.worker.read(3)
    await bench.worker.look(3)
    clock.advance(0.006)
    bench.module.outputs[3] = True
    assert await bench.worker.switch(3, OFF, by="ops1") == Switched(ON, OFF)


async def test_a_toggle_reads_by_itself_whatever_was_read_ahead() -> None:
    bench = Bench(clock=FakeClock())
    await bench.worker.read(3)
    await bench.worker.look(3)
    bench.module.outputs[3] = True
    assert await bench.worker.toggle(3, by="ops1") == Switched(ON, OFF)


@pytest.mark.parametrize("shared", [False, True])
async def test_nothing_is_read_ahead_where_that_would_cost_a_connection(shared: bool) -> None:
    bench = Bench(shared=shared)
    if shared:
        await bench.worker.read(3)
    calls = [*bench.module.calls]
    await bench.worker.look(3)
    assert bench.module.calls == calls


async def test_a_device_that_fails_while_it_is_read_ahead_is_asked_again() -> None:
    bench = Bench(clock=FakeClock())
    await bench.worker.read(3)
    bench.module.fail("read", DeviceOffline("reset"), DeviceOffline("reset"))
    await bench.worker.look(3)
    assert not bench.worker.online
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, ON)


async def test_polarity_is_applied_on_the_way_out_and_in(bench: Bench) -> None:
    assert await bench.worker.switch(4, OFF, by="ops1") == Switched(ON, OFF)
    assert "set 4 True" in bench.module.calls
    assert await bench.worker.read(4) is OFF


async def test_a_port_that_follows_late_is_waited_for(bench: Bench) -> None:
    bench.module.lag = 2
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, ON)
    assert bench.module.calls == ["open", "read", "set 3 True", "read", "read", "read"]
    assert bench.worker.status(3).reason == ""


async def test_a_port_that_does_not_follow_is_reported_as_measured(bench: Bench) -> None:
    bench.module.ignores_sets = True
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, OFF)
    status = bench.worker.status(3)
    assert (status.asked, status.observed) == (ON, OFF)
    assert status.reason == "asked on, but the module still says off"
    await bench.worker.read(3)
    assert bench.worker.status(3).reason == "asked on, but the module still says off"


@pytest.mark.parametrize("error", [DeviceOffline("reset"), DeviceGarbled("55")])
async def test_an_absolute_set_is_tried_once_more_on_a_fresh_connection(error: DeviceError) -> None:
    bench = Bench()
    bench.module.fail("set", error)
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, ON)
    assert bench.module.calls == ["open", "read", "set 3 True", "open", "set 3 True", "read"]
    assert bench.worker.status(3).switch_count == 1
    assert bench.module.open_max == 1


async def test_a_second_failure_is_final_and_leaves_every_port_unknown(bench: Bench) -> None:
    bench.module.fail("set", DeviceOffline("gone"), DeviceOffline("still gone"))
    with pytest.raises(DeviceOffline, match="still gone"):
        await bench.worker.switch(3, ON, by="ops1")
    assert bench.module.calls.count("set 3 True") == 2
    assert (bench.worker.status(3).observed, bench.worker.status(3).reason) == (UNKNOWN, "still gone")
    assert bench.worker.status(4).observed is UNKNOWN
    assert (bench.worker.online, bench.worker.trouble, bench.module.open) == (False, "still gone", 0)


async def test_a_refusal_is_not_retried_and_keeps_the_connection(bench: Bench) -> None:
    bench.module.fail("set", DeviceRefused("locked by its front panel"))
    with pytest.raises(DeviceRefused):
        await bench.worker.switch(3, ON, by="ops1")
    assert bench.module.calls.count("set 3 True") == 1
    assert bench.module.open == 1
    status = bench.worker.status(3)
    assert (status.asked, status.observed) == (ON, OFF)
    assert status.reason == "locked by its front panel"


async def test_a_toggle_becomes_an_absolute_set_against_the_state_just_read(bench: Bench) -> None:
    await bench.worker.read(3)
    bench.module.outputs[3] = True  # behind the worker's back
    assert await bench.worker.toggle(3, by="ops1") == Switched(ON, OFF)
    bench.module.fail("set", DeviceOffline("reset"))
    assert await bench.worker.toggle(3, by="ops1") == Switched(OFF, ON)
    assert bench.module.calls.count("set 3 True") == 2


async def test_a_toggle_of_an_unknown_state_is_refused(bench: Bench) -> None:
    bench.module.fail("open", DeviceOffline("no route"))
    with pytest.raises(DeviceRefused, match="unknown: no route"):
        await bench.worker.toggle(3, by="ops1")
    assert not any(call.startswith("set") for call in bench.module.calls)
    assert not bench.worker.online


async def test_a_port_of_nobody_here_is_refused_without_asking_the_device(bench: Bench) -> None:
    with pytest.raises(DeviceRefused, match="eth-1:5"):
        await bench.worker.switch(5, ON, by="ops1")
    assert bench.module.calls == []
    assert bench.worker.status(5).observed is UNKNOWN


async def test_toggles_take_turns(bench: Bench) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.worker.toggle(3, by="ops1"), name=f"toggle {n}") for n in range(4)]
    assert [task.result().before for task in tasks] == [OFF, ON, OFF, ON]
    assert bench.worker.status(3).switch_count == 4


async def test_an_operation_that_hangs_ends_at_its_deadline() -> None:
    bench = Bench(replace(PROMPT, operation=0.01))
    bench.module.gate = asyncio.Event()
    with pytest.raises(DeviceOffline, match=r"within 0\.01 s"):
        await bench.worker.switch(3, ON, by="ops1")
    assert bench.module.open == 0
    assert bench.worker.status(3).observed is UNKNOWN


async def test_a_cancelled_switch_closes_the_device_and_is_looked_after() -> None:
    """CMD-3: after an interruption nobody claims to know what the port does, until it has been read."""
    bench = Bench(poll=3600)
    async with bench.running():
        await bench.until_port(OFF)
        bench.module.gate = asyncio.Event()
        task = asyncio.create_task(bench.worker.switch(3, ON, by="ops1"), name="switch to be cancelled")
        await bench.module.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.module.open == 0
        assert (bench.worker.status(3).observed, bench.worker.status(3).reason) == (
            UNKNOWN,
            "interrupted while switching",
        )
        await bench.until_port(OFF)  # at once, long before the next poll
    assert bench.module.open_max == 1


async def test_the_loop_outlives_every_failure_of_the_device() -> None:
    bench = Bench(poll=0.2)
    bench.module.fail("open", DeviceOffline("refused"), DeviceGarbled("nonsense"))
    bench.module.fail("read", DeviceRefused("busy"), DeviceGarbled("more nonsense"))
    async with bench.running():
        await bench.until_port(OFF)
        assert bench.worker.online
        assert bench.worker.trouble == ""
    assert bench.module.open == 0
    told = [status.reason for status in bench.told if status.port == 3]
    assert told[0] == "refused"
    assert told[1] == "nonsense"
    assert told[2] == "busy"


async def test_a_bug_in_a_driver_is_not_swallowed(bench: Bench) -> None:
    bench.module.fail("read", ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        await bench.worker.run()
    assert bench.module.open == 0


async def test_a_reboot_behind_a_lost_connection_is_named(bench: Bench) -> None:
    await bench.worker.switch(3, ON, by="ops1")
    bench.module.fail("read", DeviceOffline("reset"))
    bench.module.outputs[3] = False
    assert await bench.worker.read(3) is OFF
    assert bench.worker.status(3).reason == "module rebooted"


async def test_outside_switching_is_named(bench: Bench) -> None:
    await bench.worker.switch(3, ON, by="ops1")
    bench.module.outputs[3] = False
    assert await bench.worker.read(3) is OFF
    assert bench.worker.status(3).reason == "switched from outside"


async def test_a_device_that_is_not_what_the_inventory_says_is_reported() -> None:
    bench = Bench(port_count=16, mac="00:04:A3:00:00:01")
    bench.module.identity = Identity("TEST8", mac="00:04:A3:00:00:02", port_count=8)
    await bench.worker.read(3)
    assert bench.worker.status(3).module == (
        "TEST8; it has 8 ports, the inventory says 16, "
        "its address is 00:04:A3:00:00:02, the inventory says 00:04:A3:00:00:01"
    )
