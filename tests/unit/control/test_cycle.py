"""Switching: on, off, toggle, cycle, lines, all off; and what a stop in the middle leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from boardherd_agent.control.control_file import ControlFile, JournalAway, Rows, Values
from boardherd_shared.command import Refusal, State
from boardherd_shared.records import BootTimes, Power
from support.clock import FakeClock
from support.control import FakeRelay, Lab, open_lab, relay_with, states


async def test_off_is_accepted_runs_and_succeeds(lab: Lab) -> None:
    steps = await lab.send(b"off", board="evm-07")
    assert states(steps) == ["accepted", "running:off", "succeeded"]
    assert (steps[-1].before, steps[-1].asked, steps[-1].observed) == ("on", "off", "off")
    assert steps[-1].text == "evm-07: off"
    assert lab.relay.transitions == [(3, Power.OFF)]


async def test_a_cycle_stays_off_and_comes_back(lab: Lab) -> None:
    steps = await lab.send({"action": "cycle", "board": "evm-07", "off_time": "7s"})
    assert states(steps) == ["accepted", "running:off", "running:dwell", "running:on", "succeeded"]
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert lab.slept == [7.0]
    assert steps[-1].times["off_s"] == 7.0


async def test_a_cycle_is_never_shorter_than_the_floor(lab: Lab) -> None:
    await lab.send({"action": "cycle", "board": "evm-07", "off_time": 0.1})
    assert lab.slept == [2.0]


async def test_a_cycle_of_a_board_that_is_off_is_an_on(lab: Lab) -> None:
    lab.relay.ports[3] = Power.OFF
    steps = await lab.send(b"cycle", board="evm-07")
    assert states(steps) == ["accepted", "running:on", "succeeded"]


async def test_toggle_goes_to_the_other_state(lab: Lab) -> None:
    await lab.send({"action": "toggle", "board": "evm-07", "id": "one"})
    await lab.send({"action": "toggle", "board": "evm-07", "id": "two"})
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_feeds_go_on_in_order_and_off_in_reverse(lab: Lab) -> None:
    await lab.send(b"on", board="evm-08")
    await lab.send(b"off", board="evm-08")
    assert lab.relay.transitions == [(5, Power.ON), (5, Power.OFF), (4, Power.OFF)]
    assert lab.slept == [1.5]


async def test_a_single_port_can_be_switched(lab: Lab) -> None:
    steps = await lab.send({"action": "off", "relay": "eth-1", "port": 4})
    assert steps[-1].text == "eth-1:4: off"


async def test_wait_alive_reports_the_boot(lab: Lab) -> None:
    steps = await lab.send({"action": "cycle", "board": "evm-07", "wait_alive": "60s"})
    assert states(steps)[-2:] == ["running:waiting", "succeeded"]
    assert steps[-1].text == "evm-07: off 5.0 s, console 0.4 s, ssh 4.1 s; alive"


async def test_a_boot_that_was_slower_than_usual_is_said_so(lab: Lab) -> None:
    lab.bench.boot = BootTimes(ssh_s=41.0, slow="ssh after 41.0 s, usually 14.2 s")
    steps = await lab.send({"action": "cycle", "board": "evm-07", "wait_alive": "60s"})
    slow = "slower than usual: ssh after 41.0 s, usually 14.2 s"
    assert steps[-1].text == f"evm-07: off 5.0 s, ssh 41.0 s; alive; {slow}"
    assert set(steps[-1].times) == {"off_s", "ssh_s"}


async def test_a_board_that_does_not_boot_fails_with_its_verdict(lab: Lab) -> None:
    lab.bench.boot = None
    steps = await lab.send({"action": "cycle", "board": "evm-07", "wait_alive": "60s"})
    assert (steps[-1].state, steps[-1].phase, steps[-1].observed) == (State.FAILED, "waiting", "on")
    assert steps[-1].text == "evm-07 is on but did not come alive within 60 s: silent, ssh closed"


async def test_toggle_of_an_unknown_state_is_refused(lab: Lab) -> None:
    lab.relay.ports[3] = Power.UNKNOWN
    steps = await lab.send(b"toggle", board="evm-07")
    assert (steps[-1].code, lab.relay.transitions) == (Refusal.UNKNOWN_STATE, [])


async def test_a_relay_that_is_away_fails_in_words(lab: Lab) -> None:
    lab.relay.offline = True
    steps = await lab.send(b"off", board="evm-07")
    assert (steps[-1].state, steps[-1].text, steps[-1].observed) == (
        State.FAILED, "evm-07: eth-1 does not answer", "unknown",
    )  # fmt: skip


async def test_a_welded_contact_fails_and_the_cycle_goes_no_further(lab: Lab) -> None:
    lab.relay.stuck = True
    steps = await lab.send(b"cycle", board="evm-07")
    assert (steps[-1].state, steps[-1].observed) == (State.FAILED, "on")
    assert steps[-1].text == "evm-07 was asked OFF but measures ON; it was not switched on again"


async def test_a_stop_in_the_off_time_switches_on_and_says_so(lab: Lab) -> None:
    """CMD-3: a stop in mid-cycle never leaves a board dark without a word."""
    asleep = asyncio.Event()

    async def block(seconds: float) -> None:
        if not asleep.is_set():
            asleep.set()
            await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(b"cycle", board="evm-07")
    await asleep.wait()
    await lab.stop()
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert lab.steps[-1].state is State.INTERRUPTED
    assert (
        lab.steps[-1].text
        == "the agent stopped in the off time; evm-07 was switched on early and measures ON"
    )
    assert lab.slept[-1] == 2.0  # the minimum off time was kept


class FullDisk(ControlFile):
    """A control file that can be read, and takes new commands but nothing about them."""

    def _ask(
        self, statement: str, values: Values, synchronous: int | None
    ) -> asyncio.Future[tuple[int, Rows]]:
        if statement.startswith(("INSERT INTO commands", "PRAGMA", "SELECT")):
            return super()._ask(statement, values, synchronous)
        full: asyncio.Future[tuple[int, Rows]] = asyncio.get_running_loop().create_future()
        full.set_exception(JournalAway("disk is full"))
        return full


async def test_a_disk_that_fills_up_in_mid_cycle_does_not_leave_a_board_dark(tmp_path: Path) -> None:
    async with open_lab(tmp_path, file=FullDisk) as lab:
        steps = await lab.send(b"cycle", board="evm-07")
    assert steps[-1].state is State.SUCCEEDED
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


def module_with_pulses(**ports: Power) -> FakeRelay:
    relay = relay_with(FakeClock(), **ports)
    relay.max_pulse_s = 25.5
    return relay


async def test_a_cycle_runs_inside_a_module_that_can_time_it(tmp_path: Path) -> None:
    """CMD-1: two transitions, the second by the module's own clock."""
    relay = module_with_pulses()
    async with open_lab(tmp_path, relay) as lab:
        steps = await lab.send({"action": "cycle", "board": "evm-07", "off_time": "7s"})
    assert states(steps) == ["accepted", "running:off", "running:dwell", "running:on", "succeeded"]
    assert relay.transitions == [(3, Power.OFF), (3, Power.ON)]
    assert relay.times[1] - relay.times[0] == 7.0
    assert "timed by the module" in steps[2].text


async def test_a_cycle_of_two_feeds_is_timed_by_the_agent(tmp_path: Path) -> None:
    relay = module_with_pulses(p5=Power.ON)
    async with open_lab(tmp_path, relay) as lab:
        await lab.send(b"cycle", board="evm-08")
    assert relay.transitions == [(5, Power.OFF), (4, Power.OFF), (4, Power.ON), (5, Power.ON)]


async def test_a_stop_leaves_the_second_half_to_the_module_that_times_it(tmp_path: Path) -> None:
    """CMD-3."""
    relay = module_with_pulses()
    async with open_lab(tmp_path, relay) as lab:
        asleep = asyncio.Event()

        async def block(_: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

        lab.sleeper = block
        lab.submit(b"cycle", board="evm-07")
        await asleep.wait()
        await lab.stop()
        assert lab.steps[-1].state is State.INTERRUPTED
        assert "the module itself switches it on" in lab.steps[-1].text
    relay.clock.advance(10)
    assert await relay.read(3) is Power.ON
    assert relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_a_module_that_forgets_its_pulse_is_switched_on(tmp_path: Path) -> None:
    relay = module_with_pulses()
    async with open_lab(tmp_path, relay) as lab:
        lab.sleeper = lambda _: relay.pulsing.clear()
        steps = await lab.send(b"cycle", board="evm-07")
    assert steps[-1].state is State.SUCCEEDED
    assert relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_a_device_that_cannot_be_read_back_is_believed_and_that_is_said(lab: Lab) -> None:
    lab.relay.blind = True
    steps = await lab.send(b"cycle", board="evm-07")
    assert (steps[-1].state, steps[-1].observed) == (State.SUCCEEDED, "unknown")
    assert steps[-1].text.endswith("acknowledged; this device cannot be read back")
    assert lab.relay.transitions == [(3, Power.OFF), (3, Power.ON)]


async def test_off_ends_a_cycle_in_its_off_time_and_the_board_stays_off(lab: Lab) -> None:
    """CMD-1: off passes everything but a lock."""
    asleep = asyncio.Event()

    async def block(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(b"cycle", board="evm-07")
    await asleep.wait()
    lab.submit(b"off", board="evm-07", operator="ops2")
    await lab.until(lambda: lab.steps[-1].final and lab.steps[-1].operator == "ops2")
    ended = next(step for step in lab.steps if step.final and step.operator == "ops1")
    assert (ended.state, ended.text) == (
        State.INTERRUPTED, "evm-07: ended in its off time by off by ops2; it stays OFF",
    )  # fmt: skip
    assert lab.steps[-1].state is State.SUCCEEDED
    assert lab.relay.transitions == [(3, Power.OFF)]


async def test_reset_pulses_the_line_and_nothing_else(lab: Lab) -> None:
    steps = await lab.send(b"reset", board="evm-07")
    assert states(steps) == ["accepted", "running:pulse", "running:pulse", "succeeded"]
    assert lab.relay.transitions == [(6, Power.ON), (6, Power.OFF)]
    assert lab.slept == [0.3]


async def test_a_stop_in_mid_pulse_lets_the_line_go(lab: Lab) -> None:
    """CMD-3."""
    asleep = asyncio.Event()

    async def block(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    lab.sleeper = block
    lab.submit(b"reset", board="evm-07")
    await asleep.wait()
    await lab.stop()
    assert lab.relay.transitions == [(6, Power.ON), (6, Power.OFF)]
    assert lab.steps[-1].state is State.INTERRUPTED


async def test_a_line_takes_a_level(lab: Lab) -> None:
    steps = await lab.send({"action": "line", "board": "evm-07", "line": "boot-mode", "level": "off"})
    assert steps[-1].text == "evm-07 boot-mode: off"
    assert lab.relay.transitions == [(7, Power.OFF)]


async def test_restore_brings_back_what_was_asked(lab: Lab) -> None:
    await lab.send(b"off", board="evm-07")
    lab.relay.ports[3] = Power.ON  # somebody switched it by hand
    steps = await lab.send({"action": "restore", "relay": "eth-1", "port": 3})
    assert (steps[-1].state, lab.relay.ports[3]) == (State.SUCCEEDED, Power.OFF)


async def test_accept_takes_the_measured_state_for_the_wanted_one(lab: Lab) -> None:
    steps = await lab.send({"action": "accept", "board": "evm-07"})
    assert steps[-1].text == "evm-07: accepted as it is (eth-1:3 on)"
    assert lab.relay.asked[3] is Power.ON
    assert lab.relay.transitions == []


async def test_all_off_needs_a_reason_and_ends_what_is_under_way(lab: Lab) -> None:
    steps = await lab.send({"action": "all-off"})
    assert steps[-1].code is Refusal.INVALID
    steps = await lab.send({"action": "all-off", "reason": "smoke"})
    assert steps[-1].text == "3 ports are off"
    assert [lab.relay.ports[port] for port in (3, 4, 5)] == [Power.OFF] * 3
    assert lab.relay.ports[7] is Power.ON, "a line is no power"


async def test_an_all_off_that_waits_past_its_deadline_at_the_device_moves_nothing(lab: Lab) -> None:
    """CMD-2: never late after a freeze."""
    lab.relay.gate = asyncio.Event()
    lab.submit({"action": "all-off", "reason": "smoke", "valid_for": "5s"})
    await lab.until(lambda: states(lab.steps) == ["accepted", "running:off"])
    lab.clock.advance(10)
    lab.relay.gate.set()
    await lab.until(lambda: lab.steps[-1].final)
    assert (lab.steps[-1].state, lab.relay.transitions) == (State.EXPIRED, [])


class SecondThoughts(FakeRelay):
    """A relay that does not answer the second time it is read, until that is given up."""

    reads = 0

    async def read(self, port: int) -> Power:
        self.reads += 1
        if self.reads == 2:
            await asyncio.Event().wait()
        return await super().read(port)


async def test_what_is_ended_while_its_failure_is_looked_into_says_so(tmp_path: Path) -> None:
    """CMD-3: no command ends without a word."""
    relay = SecondThoughts(relay_with(FakeClock()).ports, FakeClock())
    async with open_lab(tmp_path, relay) as lab:
        lab.clock.advance(60)
        lab.submit({"action": "restore", "board": "evm-07"})
        await lab.until(lambda: relay.reads == 2)
        lab.submit({"action": "off", "board": "evm-07"}, operator="ops2")
        await lab.until(lambda: lab.steps[-1].final and lab.steps[-1].operator == "ops2")
    ended = next(step for step in lab.steps if step.final and step.operator == "ops1")
    assert (ended.state, ended.text) == (
        State.INTERRUPTED, "restore of evm-07 was ended by off by ops2; it measures ON",
    )  # fmt: skip


async def test_all_off_names_what_did_not_go_off(lab: Lab) -> None:
    lab.relay.stuck = True
    steps = await lab.send({"action": "all-off", "reason": "smoke"})
    assert steps[-1].state is State.FAILED
    assert "eth-1:3 still measures ON" in steps[-1].text
