"""Commands: refused in words, answered from the journal, or carried out once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boardherd_agent.control.control_file import ControlFile, Rows, Values
from boardherd_shared.command import CommandStep, Refusal, State
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import Lab, open_lab, relay_with
from support.wing import Wing


async def test_the_same_id_switches_once(lab: Lab) -> None:
    """CMD-1: a redelivered command is answered from the journal."""
    first = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
    again = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
    assert again == first[-1:]
    assert len(lab.relay.transitions) == 1


async def test_the_same_id_switches_once_over_a_restart(tmp_path: Path) -> None:
    """CMD-1: the journal outlives the process."""
    relay = relay_with(FakeClock())
    for _ in range(2):
        async with open_lab(tmp_path, relay) as lab:
            steps = await lab.send({"action": "toggle", "board": "evm-07", "id": "abc"})
            assert steps[-1].state is State.SUCCEEDED
    assert relay.transitions == [(3, Power.OFF)]


async def test_an_identical_command_without_id_is_its_redelivery_for_ten_seconds(lab: Lab) -> None:
    """CMD-1."""
    await lab.send(b"toggle", board="evm-07")
    await lab.send(b"toggle", board="evm-07")
    assert len(lab.relay.transitions) == 1
    await lab.send(b"toggle", board="evm-07", operator="ops2")
    assert len(lab.relay.transitions) == 2
    lab.clock.advance(11)
    await lab.send(b"toggle", board="evm-07")
    assert len(lab.relay.transitions) == 3


@pytest.mark.parametrize(
    ("body", "more", "code", "words"),
    [
        (b"off", {"retained": True, "board": "evm-07"}, Refusal.RETAINED, "published with the retain flag"),
        (
            b"explode",
            {},
            Refusal.INVALID,
            "neither a JSON object nor one of the words on, off, toggle, cycle",
        ),
        ({"action": "off"}, {}, Refusal.INVALID, "it names no board and no relay port"),
        ({"action": "off", "bord": "evm-07"}, {}, Refusal.INVALID, "bord: extra inputs are not permitted"),
        ({"action": "off", "board": "evm-99"}, {}, Refusal.UNKNOWN_TARGET, "pc-01 controls no board evm-99"),
        (
            {"action": "off", "board": "evm-09"},
            {},
            Refusal.UNKNOWN_TARGET,
            "evm-09 has no power feed in lab.toml",
        ),
        ({"action": "off", "board": "evm-08"}, {"board": "evm-07"}, Refusal.INVALID, "names another target"),
        (
            {"action": "off", "board": "evm-07", "expires_at": 1},
            {},
            Refusal.EXPIRED,
            "and was not carried out",
        ),
        (
            {"action": "off", "board": "evm-07", "sent_at": 1},
            {},
            Refusal.EXPIRED,
            "and was not carried out",
        ),
        (
            {"action": "off", "board": "evm-07", "expect": "off"},
            {},
            Refusal.UNEXPECTED_STATE,
            "evm-07 is ON, not OFF",
        ),
        (b"x" * 300_000, {}, Refusal.INVALID, "300000 bytes are more than a command may have"),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_what_may_not_run_is_refused_in_words(
    lab: Lab, body: object, more: dict[str, object], code: Refusal, words: str
) -> None:
    """CMD-2: not after its deadline, not from a retained replay."""
    steps = await lab.send(body, **more)  # type: ignore[arg-type]
    assert steps[-1].code is code
    assert words in steps[-1].text
    assert steps[-1].state in {State.REFUSED, State.EXPIRED}
    assert lab.relay.transitions == []


async def test_a_command_that_waits_for_the_device_past_its_deadline_moves_nothing(lab: Lab) -> None:
    """CMD-2: the device was busy with something else for longer than the command was good for."""
    lab.relay.gate = asyncio.Event()
    lab.submit({"action": "off", "board": "evm-07", "valid_for": "3s"})
    await lab.until(lambda: len(lab.steps) == 2)
    lab.clock.advance(4)
    lab.relay.gate.set()
    await lab.until(lambda: lab.steps[-1].final)
    assert lab.steps[-1].state is State.EXPIRED
    assert lab.relay.transitions == []


async def test_an_id_that_meant_something_else_is_refused(lab: Lab) -> None:
    await lab.send({"action": "off", "board": "evm-07", "id": "abc"})
    steps = await lab.send({"action": "on", "board": "evm-07", "id": "abc"})
    assert steps[-1].code is Refusal.DUPLICATE_CONFLICT
    steps = await lab.send({"action": "off", "board": "evm-07", "id": "abc"}, operator="ops2")
    assert steps[-1].code is Refusal.DUPLICATE_CONFLICT
    assert len(lab.relay.transitions) == 1


async def test_a_board_that_is_being_switched_is_busy(lab: Lab) -> None:
    lab.relay.gate = asyncio.Event()
    lab.submit(b"off", board="evm-07")
    await lab.until(lambda: len(lab.steps) == 2)
    lab.submit({"action": "on", "relay": "eth-1", "port": 3}, operator="ops2")
    await lab.until(lambda: len(lab.steps) == 3)
    assert lab.steps[2].code is Refusal.BUSY
    assert lab.steps[2].text == "refused: eth-1:3 is being switched: off by ops1 is under way"
    lab.relay.gate.set()
    await lab.until(lambda: lab.steps[-1].state is State.SUCCEEDED)


async def test_without_a_journal_nothing_is_switched_until_it_is_back(tmp_path: Path) -> None:
    """CMD-1: what cannot be written down is refused in words; the agent goes on."""
    (tmp_path / "control.db").mkdir()
    async with open_lab(tmp_path) as lab:
        steps = await lab.send(b"off", board="evm-07")
        assert steps[-1].code is Refusal.NO_JOURNAL
        assert "control.db cannot be used: unable to open database file" in steps[-1].text
        assert lab.relay.transitions == []
        (tmp_path / "control.db").rmdir()
        await lab.until(lambda: not lab.desk.locks.unsure)
        steps = await lab.send(b"off", board="evm-07")
        assert steps[-1].state is State.SUCCEEDED


async def test_a_redelivery_in_the_moment_of_the_end_is_answered_with_the_end(lab: Lab) -> None:
    """CMD-1: the end is told before it is on the disk, and nobody who asks again can tell."""
    command = {"action": "toggle", "board": "evm-07", "id": "abc"}

    def again(step: CommandStep) -> None:
        if step.final and len(heard) < 2:
            heard.append(step)
            lab.submit(command, listener=again)

    heard: list[CommandStep] = []
    lab.submit(command, listener=again)
    await lab.until(lambda: sum(step.final for step in lab.steps) == 3)
    assert heard[1] == heard[0]
    assert heard[0].state is State.SUCCEEDED
    assert lab.relay.transitions == [(3, Power.OFF)]


async def test_a_redelivery_that_is_looked_up_while_the_command_ends_hears_the_end(tmp_path: Path) -> None:
    """CMD-1: what the journal found may be older than what has been told since."""
    asked, let_go = asyncio.Event(), asyncio.Event()
    let_go.set()

    class SlowFile(ControlFile):
        def _ask(
            self, statement: str, values: Values, synchronous: int | None
        ) -> asyncio.Future[tuple[int, Rows]]:
            answer = super()._ask(statement, values, synchronous)

            async def held() -> tuple[int, Rows]:
                await answer
                asked.set()
                await let_go.wait()
                return await answer

            return asyncio.create_task(held(), name="answer") if "WHERE id = ?" in statement else answer

    command = {"action": "off", "board": "evm-07", "id": "abc"}
    heard: list[CommandStep] = []
    async with open_lab(tmp_path, file=SlowFile) as lab:
        lab.relay.gate = asyncio.Event()
        lab.submit(command)
        await lab.until(lambda: len(lab.steps) == 2)
        asked.clear()
        let_go.clear()
        lab.submit(command, listener=heard.append)
        await asked.wait()
        lab.relay.gate.set()
        await lab.until(lambda: lab.steps[-1].final)
        let_go.set()
        await lab.until(lambda: bool(heard))
        assert [step.state for step in heard] == [State.SUCCEEDED]


async def test_what_is_known_is_answered_whatever_may_be_said_against_it_now(lab: Lab) -> None:
    """CMD-1: an old command comes again when it is late, and somebody else holds the board."""
    command = {"action": "off", "board": "evm-07", "id": "abc", "expires_at": lab.clock.wall() / 1e6 + 10}
    first = await lab.send(command)
    await lab.send({"action": "lock", "board": "evm-07", "id": "mine"}, operator="ops2")
    lab.clock.advance(60)
    assert await lab.send(command) == first[-1:]
    other = await lab.send(command | {"action": "on"})
    assert other[-1].code is Refusal.DUPLICATE_CONFLICT
    assert "the id abc was used before for another command (evm-07: off)" in other[-1].text


def test_a_redelivery_before_the_journal_was_read_does_not_keep_a_command_from_its_end() -> None:
    """CMD-3: what the last run left is finished, though it was asked after in the meantime."""
    wing = Wing(native=False)
    cycle = b'{"action": "cycle", "board": "evm-07", "id": "abc", "reason": "test", "off_time": "5s"}'
    try:
        wing.start()
        wing.run(10)
        wing.submit(cycle, "ops1")
        wing.run(1)
        wing.kill()
        wing.start()
        wing.file.fails = "final = 0"
        wing.run(2)
        wing.submit(cycle, "ops1")
        wing.run(1)
        wing.file.fails = ""
        assert wing.words[-1].step.phase == "dwell", "it is answered from the journal"
        wing.run(20)
        assert wing.words[-1].step.state is State.INTERRUPTED
        assert [move.power for move in wing.module.moves] == [Power.OFF, Power.ON]
    finally:
        wing.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=80).map(str.encode)))
async def test_no_garbage_moves_a_relay(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    """SEC-2, CMD-2."""
    async with open_lab(tmp_path_factory.mktemp("garbage")) as lab:
        steps = await lab.send(payload + b"\x00")
        assert steps[-1].code is Refusal.INVALID
        assert lab.relay.transitions == []
