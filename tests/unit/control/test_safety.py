"""Interlocks: minimum off time, rate, stagger, breaker; over restarts too."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardherd_agent.control.control_file import ControlFile
from boardherd_agent.control.safety import Safety
from boardherd_shared.command import Refusal, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import LAB, Lab, open_lab, relay_with, states

STAGGERED = LAB.replace("relay.eth-1 = {", 'relay.eth-1 = { stagger = "3s", ')


async def test_an_early_on_waits_and_says_so(lab: Lab) -> None:
    await lab.send(b"off", board="evm-07")
    lab.clock.advance(0.5)
    steps = await lab.send(b"on", board="evm-07")
    assert states(steps) == ["accepted", "running:min-off", "running:on", "succeeded"]
    assert steps[1].text == "evm-07 went off only just now; it stays off for 1.5 s more"
    assert lab.relay.times[1] - lab.relay.times[0] == pytest.approx(2.0)


async def test_the_minimum_off_time_survives_a_restart(tmp_path: Path) -> None:
    relay = relay_with(FakeClock())
    async with open_lab(tmp_path, relay) as lab:
        await lab.send(b"off", board="evm-07")
    relay.clock.advance(0.5)
    async with open_lab(tmp_path, relay) as lab:
        await lab.send(b"on", board="evm-07")
    assert relay.times[1] - relay.times[0] == pytest.approx(2.0)


async def test_a_port_that_was_switched_off_by_hand_counts_from_then(lab: Lab) -> None:
    await lab.send(b"on", board="evm-07")
    lab.desk.safety.observed(("eth-1", 3), on=True)
    lab.relay.ports[3] = Power.OFF
    lab.desk.safety.observed(("eth-1", 3), on=False)
    lab.clock.advance(1.2)
    steps = await lab.send({"action": "on", "board": "evm-07", "id": "again"})
    assert "0.8 s more" in steps[1].text


async def test_a_feed_that_is_pressed_off_between_two_feeds_rests_too(lab: Lab) -> None:
    await lab.send(b"off", board="evm-08")
    lab.clock.advance(60)
    await lab.send({"action": "on", "relay": "eth-1", "port": 5, "id": "one"})
    lab.clock.advance(60)
    pressed: list[float] = []

    def press(seconds: float) -> None:
        if seconds == 1.5:  # what lies between the two feeds
            lab.relay.ports[5] = Power.OFF
            lab.desk.safety.observed(("eth-1", 5), on=False)
            pressed.append(lab.clock.up() / 1e6)
            lab.sleeper = lambda _: None

    lab.sleeper = press
    steps = await lab.send({"action": "on", "board": "evm-08", "id": "both"})
    assert states(steps) == ["accepted", "running:on", "running:min-off", "succeeded"]
    assert lab.relay.transitions[-2:] == [(4, Power.ON), (5, Power.ON)]
    assert lab.relay.times[-1] - pressed[0] >= 2.0


async def test_what_was_measured_before_the_memory_was_read_is_not_forgotten(tmp_path: Path) -> None:
    """A relay may answer sooner than the disk: what it said is newer than all that was noted before the restart."""
    relay = relay_with(FakeClock())
    async with open_lab(tmp_path, relay) as lab:
        await lab.send(b"off", board="evm-07")
    relay.clock.advance(60)
    inventory, port = Inventory.parse(LAB), ("eth-1", 3)
    async with ControlFile(tmp_path / "control.db") as file:
        safety = Safety(file, inventory.boards_of("pc-01"), inventory.relays_of("pc-01"), relay.clock)
        safety.observed(port, on=True)
        await safety.load()
        safety.observed(port, on=False)
    assert safety.off_left("evm-07", [port]) == 2.0


@pytest.mark.parametrize("action", ["on", "toggle"])
async def test_a_board_that_went_off_behind_our_back_stays_off_for_its_time(lab: Lab, action: str) -> None:
    """The device's own word counts, given just before it is switched, and not what was read some time ago."""
    lab.desk.safety.observed(("eth-1", 3), on=True)
    seen = [Power.ON]

    def tell() -> None:
        """Tell of changes, as the books of a relay do."""
        if lab.relay.ports[3] is not seen[-1]:
            seen.append(lab.relay.ports[3])
            lab.desk.safety.observed(("eth-1", 3), on=seen[-1] is Power.ON)

    lab.relay.on_read = tell
    lab.relay.known[3] = Power.ON
    lab.relay.ports[3] = Power.OFF
    pressed = lab.clock.up() / 1e6
    steps = await lab.send(action.encode(), board="evm-07")
    assert steps[-1].observed == Power.ON
    assert lab.relay.times[-1] - pressed >= 2.0


async def test_a_toggle_waits_as_an_on_does(lab: Lab) -> None:
    await lab.send(b"off", board="evm-07")
    await lab.send(b"toggle", board="evm-07")
    assert lab.relay.times[1] - lab.relay.times[0] == pytest.approx(2.0)


async def test_what_waits_past_its_deadline_expires_and_moves_nothing(lab: Lab) -> None:
    """CMD-2: never after its deadline, whatever made it wait."""
    await lab.send(b"off", board="evm-07")
    steps = await lab.send({"action": "on", "board": "evm-07", "valid_for": "1s"})
    assert (steps[-1].state, steps[-1].code) == (State.EXPIRED, Refusal.EXPIRED)
    assert lab.relay.transitions == [(3, Power.OFF)]


async def test_boards_behind_one_supply_come_on_one_after_the_other(tmp_path: Path) -> None:
    relay = relay_with(FakeClock(), p3=Power.OFF, p4=Power.OFF)
    async with open_lab(tmp_path, relay, lab_toml=STAGGERED) as lab:
        lab.clock.advance(60)
        lab.submit({"action": "on", "board": "evm-07"})
        lab.submit({"action": "on", "board": "evm-08"})
        await lab.until(lambda: sum(step.final for step in lab.steps) == 2)
    assert len(relay.times) == 3
    assert all(later - sooner >= 3.0 for sooner, later in zip(relay.times, relay.times[1:], strict=False))


async def test_a_port_is_switched_on_only_so_often(tmp_path: Path) -> None:
    often = LAB.replace('min_off = "2s"', 'min_off = "2s", max_ons = 3')
    async with open_lab(tmp_path, lab_toml=often) as lab:
        for number in range(3):
            await lab.send({"action": "cycle", "board": "evm-07", "id": f"c{number}"})
        steps = await lab.send({"action": "cycle", "board": "evm-07", "id": "c3"})
        assert steps[-1].code is Refusal.RATE
        assert "was switched on 3 times within a minute" in steps[-1].text
        assert (await lab.send(b"off", board="evm-07"))[-1].state is State.SUCCEEDED
        lab.clock.advance(61)
        assert (await lab.send(b"on", board="evm-07"))[-1].state is State.SUCCEEDED


@pytest.fixture
def stubborn(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path, LAB.replace('min_off = "2s"', 'min_off = "2s", max_cycles = 2')


async def test_a_board_that_does_not_come_alive_is_not_cycled_for_ever(stubborn: tuple[Path, str]) -> None:
    path, lab_toml = stubborn
    relay = relay_with(FakeClock())
    async with open_lab(path, relay, lab_toml=lab_toml) as lab:
        for number in range(2):
            await lab.send({"action": "cycle", "board": "evm-07", "id": f"c{number}"})
    async with open_lab(path, relay, lab_toml=lab_toml) as lab:
        steps = await lab.send({"action": "cycle", "board": "evm-07", "id": "c2"})
        assert steps[-1].code is Refusal.INTERLOCK
        assert "evm-07 was power-cycled 2 times within an hour without coming alive" in steps[-1].text
        assert lab.desk.safety.tripped("evm-07")
        forced = {"action": "cycle", "board": "evm-07", "id": "c3", "force": True, "reason": "new SD card"}
        assert (await lab.send(forced))[-1].state is State.SUCCEEDED
        lab.clock.advance(3601)
        assert not lab.desk.safety.tripped("evm-07")


async def test_a_board_that_comes_alive_may_be_cycled_all_day(stubborn: tuple[Path, str]) -> None:
    path, lab_toml = stubborn
    async with open_lab(path, lab_toml=lab_toml) as lab:
        lab.bench.is_alive = True
        for number in range(5):
            steps = await lab.send({"action": "cycle", "board": "evm-07", "id": f"c{number}"})
            assert steps[-1].state is State.SUCCEEDED
            lab.clock.advance(30)


async def test_others_keep_clear_of_a_pulse_that_a_slow_module_acknowledged_late(tmp_path: Path) -> None:
    """The module's own time began somewhere between the command and its answer, and so does the end of the pulse."""
    inventory, clock = Inventory.parse(STAGGERED), FakeClock()
    async with ControlFile(tmp_path / "control.db") as file:
        safety = Safety(file, inventory.boards_of("pc-01"), inventory.relays_of("pc-01"), clock)
        assert safety.expect_on(("eth-1", 3), 5.0)
        clock.advance(2.0)
        safety.expect_by(("eth-1", 3), 5.0)
        clock.advance(2.5)  # on between 0.5 s and 2.5 s from now
        assert safety.turn_left(("eth-1", 4)) == pytest.approx(2.5 + 3.0)
        assert not safety.expect_on(("eth-1", 4), 5.0)
        assert safety.expect_on(("eth-1", 4), 7.0)
        safety.expect_by(("eth-1", 5), 1.0)  # of what nobody expects there is nothing to say
        assert safety.turn_left(("eth-1", 4)) == pytest.approx(2.5 + 3.0)
