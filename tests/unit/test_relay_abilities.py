"""What only some devices can do or cannot: read-back, pulses, metering; and what a person may forbid or accept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import pytest

from boardherd_agent.devices.device import DeviceError, DeviceOffline, DeviceRefused
from boardherd_agent.devices.ports import WORN_AT
from boardherd_agent.devices.worker import PortUse, Switched
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.hand_device import Bench, MeteringDriver, PulsingDriver

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


def pulsing(**more: Any) -> tuple[Bench, FakeClock]:
    """Return a bench whose device times pulses, port 3 energised, and its clock."""
    clock = FakeClock()
    bench = Bench(driver=PulsingDriver, clock=clock, **more)
    bench.module.outputs[3] = True
    return bench, clock


async def test_without_read_back_a_switch_is_acknowledged_and_nothing_is_claimed() -> None:
    bench = Bench(reads_back=False)
    assert not bench.worker.status(3).measurable
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(UNKNOWN, UNKNOWN, confirmed=False)
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.switched_by, status.switch_count) == (
        UNKNOWN,
        ON,
        "ops1",
        1,
    )
    assert status.reason == "asked ON, acknowledged; this device cannot be read back"
    assert bench.told[-1].switch_count == 1, "what outlives the process is told with the last change"
    assert bench.worker.online
    await bench.worker.switch(3, ON, by="ops1")
    await bench.worker.switch(3, OFF, by="ops1")
    assert bench.worker.status(3).switch_count == 2, "the same once more moves nothing"


async def test_without_read_back_the_polarity_holds() -> None:
    bench = Bench(reads_back=False)
    await bench.worker.switch(4, OFF, by="ops1")
    assert bench.module.sets() == ["set 4 True"]


async def test_without_read_back_a_toggle_and_an_acceptance_are_refused() -> None:
    bench = Bench(reads_back=False)
    with pytest.raises(DeviceRefused, match="cannot be read back"):
        await bench.worker.toggle(3, by="ops1")
    with pytest.raises(DeviceRefused, match="cannot be read back"):
        await bench.worker.accept(3, by="ops1")
    assert bench.module.sets() == []


async def test_without_read_back_the_device_is_online_while_it_answers() -> None:
    """OPS-1: an unreachable device shows though it can never be read, and what was acknowledged before is in doubt."""
    bench = Bench(reads_back=False, poll=0.2)
    await bench.worker.switch(3, ON, by="ops1")
    bench.module.fail("read", DeviceOffline("gone"), DeviceOffline("still gone"))
    with pytest.raises(DeviceOffline):
        await bench.worker.read(3)
    assert (bench.worker.online, bench.worker.status(3).reason) == (False, "still gone")
    assert await bench.worker.read(3) is UNKNOWN
    assert bench.worker.online
    assert bench.worker.status(3).reason == "asked ON; this device cannot be read back"
    assert bench.worker.status(3).drift_since is None


async def test_without_read_back_nothing_is_said_of_an_interrupted_switch_but_that_it_was_asked() -> None:
    """CMD-3: the acknowledgement of an earlier switch says nothing about this one."""
    bench = Bench(reads_back=False)
    await bench.worker.switch(3, OFF, by="ops1")
    bench.module.gate = asyncio.Event()
    task = asyncio.create_task(bench.worker.switch(3, ON, by="ops1"), name="switch to be cancelled")
    await bench.module.waiting.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await bench.worker.read(3)
    assert bench.worker.status(3).reason == "asked ON; this device cannot be read back"


async def test_without_read_back_a_refusal_stays_said() -> None:
    bench = Bench(reads_back=False)
    bench.module.fail("set", DeviceRefused("locked by its front panel"))
    with pytest.raises(DeviceRefused):
        await bench.worker.switch(3, ON, by="ops1")
    await bench.worker.read(3)
    assert bench.worker.status(3).reason == "locked by its front panel"


async def test_a_device_that_learns_only_when_open_that_it_cannot_be_read() -> None:
    bench = Bench()
    bench.module.reads_back = False
    assert bench.worker.status(3).measurable
    await bench.worker.read(3)
    assert not bench.worker.status(3).measurable


async def test_a_pulse_is_read_back_and_ends_in_the_asked_state() -> None:
    """CMD-1: one pulse for one cycle, and both of its edges are counted."""
    bench, clock = pulsing()
    assert await bench.worker.pulse(3, OFF, 5, by="ops1") == Switched(ON, OFF)
    assert bench.module.sets() == ["pulse 3 False 5"]
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.switch_count, status.drift_since) == (OFF, ON, 1, None)
    assert status.reason == "off for a while by the module's own clock"
    clock.advance(5)
    bench.module.outputs[3] = True
    assert await bench.worker.read(3) is ON
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.switch_count, status.reason) == (ON, ON, 2, "")
    assert (status.switched_at, status.switched_by) == (clock.wall(), "ops1")


async def test_the_polarity_of_a_pulse() -> None:
    bench, _ = pulsing()
    assert await bench.worker.pulse(4, OFF, 2, by="ops1") == Switched(ON, OFF)
    assert bench.module.sets() == ["pulse 4 True 2"]
    assert bench.worker.status(4).asked is ON


async def test_a_pulse_is_never_tried_twice() -> None:
    """CMD-1: nobody knows whether the first one is running."""
    bench, _ = pulsing()
    bench.module.fail("pulse", DeviceOffline("reset"))
    with pytest.raises(DeviceOffline):
        await bench.worker.pulse(3, OFF, 5, by="ops1")
    assert len(bench.module.sets()) == 1
    assert (bench.worker.status(3).observed, bench.worker.status(3).asked) == (UNKNOWN, ON)


async def test_a_refused_pulse_was_never_asked() -> None:
    bench, _ = pulsing()
    bench.module.fail("pulse", DeviceRefused("locked"))
    with pytest.raises(DeviceRefused):
        await bench.worker.pulse(3, OFF, 5, by="ops1")
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.reason) == (ON, UNKNOWN, "locked")


async def test_a_pulse_that_does_not_end_is_named_and_drifts() -> None:
    bench, clock = pulsing()
    await bench.worker.pulse(3, OFF, 5, by="ops1")
    clock.advance(5.5)
    await bench.worker.read(3)
    assert bench.worker.status(3).drift_since is None, "modules may be a little late"
    clock.advance(1)
    await bench.worker.read(3)
    status = bench.worker.status(3)
    assert (status.observed, status.reason) == (OFF, "the module did not end its pulse")
    assert status.drift_since == clock.wall()


async def test_a_switch_ends_a_pulse() -> None:
    bench, clock = pulsing()
    await bench.worker.pulse(3, OFF, 5, by="ops1")
    await bench.worker.switch(3, OFF, by="ops1")
    clock.advance(10)
    await bench.worker.read(3)
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.reason, status.switch_count) == (OFF, OFF, "", 1)


async def test_a_pulse_that_is_over_before_it_can_be_seen_is_not_confirmed() -> None:
    clock = FakeClock()

    class Slow(PulsingDriver):
        """Answers so late after a short pulse that it has ended."""

        async def read(self) -> Mapping[int, bool]:
            clock.advance(0.2)
            return await super().read()

    bench = Bench(driver=Slow, clock=clock)
    bench.module.outputs[3] = bench.module.ignores_sets = True
    assert await bench.worker.pulse(3, OFF, 0.1, by="ops1") == Switched(ON, ON, confirmed=False)
    assert (bench.worker.status(3).reason, bench.worker.status(3).switch_count) == ("", 2)


async def test_a_pulse_that_the_module_did_not_begin_is_reported_as_measured() -> None:
    bench, _ = pulsing()
    bench.module.ignores_sets = True
    assert await bench.worker.pulse(3, OFF, 5, by="ops1") == Switched(ON, ON)
    assert bench.worker.status(3).reason == "asked off, but the module still says on"


async def test_an_interrupted_pulse_is_unknown_until_read() -> None:
    """CMD-3: what the interrupted pulse did is measured."""
    bench, clock = pulsing()
    bench.module.gate = asyncio.Event()
    task = asyncio.create_task(bench.worker.pulse(3, OFF, 5, by="ops1"), name="pulse to be cancelled")
    await bench.module.waiting.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.reason) == (UNKNOWN, ON, "interrupted while switching")
    bench.module.gate = None
    clock.advance(6.5)
    assert await bench.worker.read(3) is ON
    assert bench.worker.status(3).reason == ""


async def test_what_cannot_be_pulsed_is_refused_without_asking() -> None:
    bench, _ = pulsing()
    assert bench.worker.can_pulse(3, 25.5)
    assert not bench.worker.can_pulse(3, 25.6)
    assert not bench.worker.can_pulse(3, 0)
    assert not bench.worker.can_pulse(5, 1)
    plain = Bench()
    assert not plain.worker.can_pulse(3, 1)
    for worker, seconds in ((bench.worker, 30), (plain.worker, 1)):
        with pytest.raises(DeviceRefused, match="by itself"):
            await worker.pulse(3, OFF, seconds, by="ops1")
    assert bench.module.calls == plain.module.calls == []


async def test_a_length_that_the_device_has_no_number_for_is_refused() -> None:
    bench, _ = pulsing()
    bench.module.fail("pulse", ValueError("a pulse lasts 0.1 to 25.5 s"))
    with pytest.raises(DeviceRefused, match=r"0\.1 to 25\.5"):
        await bench.worker.pulse(3, OFF, 0.01, by="ops1")


async def test_a_pulse_without_read_back_counts_both_edges_at_once() -> None:
    bench = Bench(driver=PulsingDriver, reads_back=False)
    assert await bench.worker.pulse(3, OFF, 5, by="ops1") == Switched(UNKNOWN, UNKNOWN, confirmed=False)
    status = bench.worker.status(3)
    assert (status.asked, status.switch_count) == (ON, 2)


async def test_power_is_metered_with_each_poll() -> None:
    bench = Bench(driver=MeteringDriver, poll=0.2)
    bench.module.watts = {3: 11.5, 4: float("nan"), 5: 7.0}
    async with bench.running():
        await bench.until(lambda: bench.worker.status(3).watts == 11.5)
        assert bench.worker.status(4).watts is None, "not a number is not a measurement"
        told = len(bench.told)
        bench.module.watts = {3: 12.5}
        await bench.until(lambda: bench.worker.status(3).watts == 12.5)
        assert len(bench.told) == told, "a meter alone is told with the next refresh"
        bench.module.fail("read", DeviceOffline("gone"), DeviceOffline("gone"))
        await bench.until(lambda: bench.worker.status(3).watts is None)


@pytest.mark.parametrize("error", [DeviceOffline("timed out"), DeviceRefused("not allowed")])
async def test_a_meter_that_fails_says_nothing_about_the_ports(error: DeviceError) -> None:
    bench = Bench(driver=MeteringDriver, poll=0.2)
    bench.module.watts = {3: 11.5}
    async with bench.running():
        await bench.until(lambda: bench.worker.status(3).watts is not None)
        bench.module.fail("watts", error)
        await bench.until(lambda: bench.worker.status(3).watts is None)
        assert (bench.worker.online, bench.worker.status(3).observed) == (True, OFF)
        await bench.until(lambda: bench.worker.status(3).watts == 11.5)


async def test_nothing_is_switched_in_maintenance_but_reading_goes_on() -> None:
    bench, _ = pulsing()
    bench.worker.maintenance = "fan is replaced (ops1)"
    for attempt in (
        bench.worker.switch(3, ON, by="ops1"),
        bench.worker.toggle(3, by="ops1"),
        bench.worker.pulse(3, OFF, 1, by="ops1"),
        bench.worker.restore(3, by="ops1"),
    ):
        with pytest.raises(DeviceRefused, match=r"eth-1 is in maintenance: fan is replaced \(ops1\)"):
            await attempt
    assert bench.module.sets() == []
    assert await bench.worker.read(3) is ON
    assert await bench.worker.accept(3, by="ops1") is ON
    bench.worker.maintenance = ""
    assert (await bench.worker.switch(3, OFF, by="ops1")).observed is OFF


async def test_restore_brings_back_what_was_asked() -> None:
    bench = Bench()
    await bench.worker.switch(3, OFF, by="ops1")
    bench.module.outputs[3] = True
    await bench.worker.read(3)
    assert bench.worker.status(3).drift_since is not None
    assert await bench.worker.restore(3, by="ops2") == Switched(ON, OFF)
    status = bench.worker.status(3)
    assert (status.switched_by, status.drift_since, status.reason) == ("ops2", None, "")


async def test_restore_brings_back_what_is_normal_when_nothing_was_asked() -> None:
    bench = Bench()
    await bench.worker.read(3)
    assert bench.worker.status(3).drift_since is not None
    assert await bench.worker.restore(3, by="ops2") == Switched(OFF, ON)
    with pytest.raises(DeviceRefused, match=r"nothing was asked of eth-1:4"):
        await bench.worker.restore(4, by="ops2")


async def test_accept_takes_what_is_measured_and_switches_nothing() -> None:
    bench = Bench()
    await bench.worker.switch(3, ON, by="ops1")
    bench.module.outputs[3] = False
    await bench.worker.read(3)
    sets = bench.module.sets()
    assert await bench.worker.accept(3, by="ops2") is OFF
    status = bench.worker.status(3)
    assert (status.observed, status.asked, status.drift_since, status.reason) == (OFF, OFF, None, "")
    assert status.switched_by == "ops2 (accepted it as it was)"
    assert bench.told[-1] == status
    assert bench.events == [("transition", 3, "eth-1:3 may be OFF: accepted by ops2")]
    assert bench.module.sets() == sets


async def test_a_worn_contact_is_said_once() -> None:
    bench = Bench(uses={3: PortUse("evm-07", switch_count=WORN_AT - 2)})
    for _ in range(2):
        await bench.worker.switch(3, ON, by="ops1")
        await bench.worker.switch(3, OFF, by="ops1")
    assert bench.worker.status(3).switch_count == WORN_AT + 2
    text = "eth-1:3 has been switched 50000 times: its contact may fail from now on"
    assert bench.events == [("fault", 3, text)]


async def test_a_shared_device_is_let_go_after_every_operation() -> None:
    bench = Bench(shared=True)
    assert await bench.worker.switch(3, ON, by="ops1") == Switched(OFF, ON)
    assert bench.module.calls == ["open", "read", "set 3 True", "read"], "read back before it is let go"
    assert bench.module.open == 0
    bench.module.fail("set", DeviceRefused("no"))
    with pytest.raises(DeviceRefused):
        await bench.worker.toggle(3, by="ops1")
    assert bench.module.open == 0


async def test_a_shared_device_whose_places_are_taken_is_tried_again() -> None:
    bench = Bench(shared=True)
    bench.module.fail("open", DeviceOffline("mute"), DeviceOffline("mute"))
    assert await bench.worker.read(3) is OFF
    bench.module.fail("open", *[DeviceOffline("mute") for _ in range(3)])
    with pytest.raises(DeviceOffline):
        await bench.worker.read(3)
    assert bench.module.calls.count("open") == 6


async def test_the_poll_of_a_shared_device_is_stretched_and_uneven() -> None:
    pauses = {Bench(shared=True, poll=2).worker._poll_interval() for _ in range(50)}
    assert len(pauses) > 40
    assert all(2 <= pause <= 3 for pause in pauses)
    assert Bench(poll=2).worker._poll_interval() == 2
