"""A module that comes back other than it was left: named, or brought back, and never taken for what it is not."""

from __future__ import annotations

from typing import Any

import pytest

from boardherd_agent.devices.causes import AWAY, OUTSIDE, REBOOTED, Link, cause_of
from boardherd_agent.devices.device import DeviceError, DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.restoring import AFTER_OUTAGE, RestorePlan
from boardherd_agent.devices.worker import PortUse
from boardherd_shared.clock import SystemClock
from boardherd_shared.records import Power
from support.hand_device import Bench

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
USES = {
    1: PortUse("evm-01", asked=ON),
    2: PortUse("evm-02", asked=ON),
    3: PortUse("evm-03", asked=OFF),
    4: PortUse("evm-04", polarity="NC", asked=OFF),
}


def restoring(**more: Any) -> Bench:
    """Return a bench that restores; ports 1 and 2 are on, 3 and 4 off, as asked."""
    bench = Bench(**{"uses": USES, "after_outage": "restore", "stagger": 0.05, "poll": 0.2} | more)
    bench.module.outputs |= {1: True, 2: True, 4: True}
    return bench


def reboot(bench: Bench) -> None:
    bench.module.outputs = dict.fromkeys(range(1, 9), False)
    bench.module.fail("read", DeviceOffline("reset"))


@pytest.mark.parametrize(
    ("link", "before", "now", "ours", "cause"),
    [
        (Link.HELD, (1, 2), (), None, OUTSIDE),
        (Link.FRESH, (1,), (), None, OUTSIDE),
        (Link.FRESH, (1, 2), (), None, REBOOTED),
        (Link.FRESH, (1, 2), (), 1, OUTSIDE),
        (Link.FRESH, (1, 2, 3), (3,), None, OUTSIDE),
        (Link.BROKEN, (1,), (), None, REBOOTED),
        (Link.BROKEN, (1, 2), (2,), None, OUTSIDE),
        (Link.BROKEN, (1, 2), (2,), 2, REBOOTED),
        (Link.OUTAGE, (1,), (), None, REBOOTED),
        (Link.OUTAGE, (1, 2), (2,), None, AWAY),
    ],
)
def test_what_a_change_is_taken_for(
    link: Link, before: tuple[int, ...], now: tuple[int, ...], ours: int | None, cause: str
) -> None:
    assert cause_of(link, before, now, ours) == cause


async def test_after_a_reboot_what_was_asked_is_brought_back_one_by_one() -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        await bench.until(
            lambda: bench.module.outputs[1] and bench.module.outputs[2] and bench.module.outputs[4]
        )
        await bench.until(lambda: len(bench.events) == 3)
    assert bench.module.sets() == ["set 4 True", "set 1 True", "set 2 True"], "off first, then on in order"
    for port in (1, 2, 4):
        status = bench.worker.status(port)
        assert (status.switched_by, status.reason, status.drift_since) == (AFTER_OUTAGE, "", None)
    assert bench.events == [
        (
            "transition",
            4,
            "eth-1:4 was brought back to OFF by boardherd (after outage), measures OFF (module rebooted)",
        ),
        (
            "transition",
            1,
            "eth-1:1 was brought back to ON by boardherd (after outage), measures ON (module rebooted)",
        ),
        (
            "transition",
            2,
            "eth-1:2 was brought back to ON by boardherd (after outage), measures ON (module rebooted)",
        ),
    ]


async def test_by_default_it_is_named_and_left() -> None:
    bench = restoring(after_outage="leave")
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        await bench.until_port(OFF, 1)
        await bench.until_read(3)
    status = bench.worker.status(1)
    assert (status.reason, status.asked, bench.module.sets()) == ("module rebooted", ON, [])
    assert status.drift_since is not None


async def test_what_changed_during_an_outage_is_brought_back_too() -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        bench.module.outputs[1] = False
        bench.module.fail("read", DeviceOffline("no route"), DeviceOffline("no route"))
        await bench.until(lambda: bench.module.outputs[1])
        await bench.until(lambda: bool(bench.events))
    assert "(changed while the module did not answer)" in bench.events[0][2]


async def test_outside_switching_is_never_undone() -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        bench.module.outputs[1] = False
        await bench.until_port(OFF, 1)
        assert bench.worker.status(1).reason == "switched from outside"
        reason_of_2 = bench.worker.status(2).reason
        bench.module.fail("read", DeviceOffline("no route"), DeviceOffline("no route"))
        await bench.until_port(UNKNOWN, 1)
        await bench.until_port(OFF, 1)
        await bench.until_read(3)
    assert (bench.module.sets(), bench.worker.status(1).reason, reason_of_2) == (
        [],
        "switched from outside",
        "",
    )


async def test_a_held_board_is_left_and_that_is_told() -> None:
    asked: list[int] = []

    def may_restore(port: int) -> bool:
        asked.append(port)
        return port != 1

    bench = restoring(may_restore=may_restore)
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        await bench.until(lambda: bench.module.outputs[2])
        await bench.until_read(3)
    assert sorted(asked) == [1, 2, 4]
    assert not bench.module.outputs[1]
    text = "eth-1:1 stays OFF (module rebooted): the board is locked, in use or being switched"
    assert ("transition", 1, text) in bench.events


async def test_nothing_is_brought_back_in_maintenance() -> None:
    bench = restoring()
    bench.worker.maintenance = "rewiring"
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        await bench.until(lambda: len(bench.events) == 3)
    assert bench.module.sets() == []
    assert all("eth-1 is in maintenance: rewiring" in text for _, _, text in bench.events)


async def test_a_command_that_comes_first_has_its_way() -> None:
    uses = {1: PortUse("evm-01", asked=ON, min_off=0.3)}
    bench = restoring(uses=uses)
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        await bench.until_port(OFF, 1)
        await bench.worker.switch(1, OFF, by="ops1")
        await bench.until_read(4)
    assert bench.module.sets() == ["set 1 False"]
    assert bench.worker.status(1).switched_by == "ops1"


async def test_a_port_stays_off_for_its_minimum_time_first() -> None:
    """Interlock: a rebooted module has cut the board's power a moment ago."""
    uses = {1: PortUse("evm-01", asked=ON, min_off=0.4)}
    bench = restoring(uses=uses)
    clock = SystemClock()
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        began = clock.up()
        await bench.until(lambda: bench.module.outputs[1])
        assert clock.up() - began >= 400_000


@pytest.mark.parametrize("error", [DeviceOffline("gone again"), DeviceGarbled("55")])
async def test_a_port_that_cannot_be_reached_keeps_its_place(error: DeviceError) -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        bench.module.fail("set", error, error)
        await bench.until(
            lambda: bench.module.outputs[1] and bench.module.outputs[2] and bench.module.outputs[4]
        )
        await bench.until(lambda: len(bench.events) == 3)


async def test_a_port_that_the_module_refuses_is_a_fault_and_is_not_tried_for_ever() -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        reboot(bench)
        bench.module.fail("set", *[DeviceRefused("locked") for _ in range(3)])
        await bench.until(lambda: len(bench.events) == 3)
        await bench.until_read(3)
    assert {kind for kind, _, _ in bench.events} == {"fault"}
    assert len(bench.module.sets()) == 3


async def test_a_port_that_does_not_follow_is_tried_once() -> None:
    bench = restoring()
    async with bench.running():
        await bench.until_port(ON, 1)
        bench.module.ignores_sets = True
        reboot(bench)
        await bench.until(lambda: len(bench.events) == 3)
        await bench.until_read(3)
    assert len(bench.module.sets()) == 3
    assert bench.worker.status(1).reason == "asked on, but the module still says off"


async def test_starting_the_agent_restores_nothing() -> None:
    bench = restoring()
    bench.module.outputs[1] = False
    async with bench.running():
        await bench.until_read(3)
    assert bench.module.sets() == []
    status = bench.worker.status(1)
    assert (status.reason, status.asked) == ("found so when the agent started", ON)
    assert status.drift_since is not None


async def test_a_module_that_rebooted_while_the_agent_was_away_is_recognised() -> None:
    bench = restoring()
    bench.module.outputs = dict.fromkeys(range(1, 9), False)
    async with bench.running():
        await bench.until(
            lambda: bench.module.outputs[1] and bench.module.outputs[2] and bench.module.outputs[4]
        )
        await bench.until(lambda: len(bench.events) == 3)
    assert all("module rebooted" in text for _, _, text in bench.events)


async def test_one_port_that_is_off_at_the_start_is_no_reboot() -> None:
    """Somebody may have switched it off by hand while no agent looked."""
    bench = restoring(uses={1: PortUse("evm-01", asked=ON)})
    bench.module.outputs = dict.fromkeys(range(1, 9), False)
    async with bench.running():
        await bench.until_read(3)
    assert bench.module.sets() == []


async def test_a_reboot_of_a_shared_module_shows_though_no_connection_is_kept() -> None:
    bench = restoring(shared=True)
    async with bench.running():
        await bench.until_port(ON, 1)
        bench.module.outputs = dict.fromkeys(range(1, 9), False)
        await bench.until(
            lambda: bench.module.outputs[1] and bench.module.outputs[2] and bench.module.outputs[4]
        )
        await bench.until(lambda: len(bench.events) == 3)
    assert bench.module.open == 0


def test_the_plan_puts_off_before_on_and_staggers_switch_ons() -> None:
    plan = RestorePlan(stagger=1.0)
    assert plan.next(0) is None
    assert plan.wait(0) == float("inf")
    plan.add(1, ON, 5.0)
    plan.add(2, ON, 5.0)
    plan.add(3, OFF, 5.0)
    plan.add(1, ON, 99.0)
    assert plan.next(0) == 3
    plan.forget(3)
    assert (plan.next(4.9), plan.wait(4)) == (None, 1.0)
    assert plan.next(5) == 1
    plan.forget(1)
    plan.switched_on(5.2)
    assert (plan.next(6), plan.next(6.2)) == (None, 2)
    assert 1 not in plan
    assert 2 in plan
