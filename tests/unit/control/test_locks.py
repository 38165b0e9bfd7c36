"""Locks: who may act on a board, until when, and what a lost memory means."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from boardherd_shared.command import Refusal, State
from boardherd_shared.locks import Lock
from boardherd_shared.records import Power
from support.clock import FakeClock
from support.control import LAB, Lab, open_lab, relay_with

ADMINS = 'admins = ["chief"]\n' + LAB


async def lock(lab: Lab, operator: str = "ops1", **more: object) -> str:
    steps = await lab.send({"action": "lock", "board": "evm-07", **more}, operator=operator)
    assert steps[-1].state is State.SUCCEEDED, steps[-1].text
    assert steps[-1].lock
    return steps[-1].lock


async def refusal(lab: Lab, body: dict[str, object], operator: str) -> tuple[Refusal | None, str]:
    steps = await lab.send({"board": "evm-07"} | body, operator=operator)
    assert steps[-1].final
    return steps[-1].code, steps[-1].text


async def test_a_locked_board_obeys_its_holder_alone(lab: Lab) -> None:
    """CMD-4."""
    await lock(lab, use="busy", reason="nightly", **{"for": "2h"})
    code, text = await refusal(lab, {"action": "off"}, "ops2")
    assert code is Refusal.LOCKED
    assert "evm-07 is locked by ops1 (busy: nightly) until 2023-11-15 00:14 UTC" in text
    assert lab.relay.transitions == []
    assert (await lab.send(b"off", board="evm-07"))[-1].state is State.SUCCEEDED


async def test_the_ports_of_a_locked_board_obey_its_holder_alone(lab: Lab) -> None:
    """CMD-4: a port is no way around the lock, and neither is restore."""
    await lock(lab)
    for action in ("off", "restore", "accept"):
        body = {"action": action, "board": None, "relay": "eth-1", "port": 3}
        code, _ = await refusal(lab, {k: v for k, v in body.items() if v is not None} | {}, "ops2")
        assert code in {Refusal.LOCKED, Refusal.INVALID}
    assert lab.relay.transitions == []


async def test_a_lock_ends_at_its_deadline(lab: Lab) -> None:
    await lock(lab, **{"for": "10m"})
    lab.clock.advance(601)
    assert (await lab.send(b"off", board="evm-07", operator="ops2"))[-1].state is State.SUCCEEDED
    await lab.until(lambda: bool(lab.locks[-1][2]))
    assert lab.locks[-1][2] == "its time was up"


async def test_locking_again_extends(lab: Lab) -> None:
    first = await lock(lab, **{"for": "10m"})
    lab.clock.advance(300)
    assert await lock(lab, **{"for": "10m"}) == first
    lab.clock.advance(590)
    assert (await refusal(lab, {"action": "off"}, "ops2"))[0] is Refusal.LOCKED


async def test_a_stale_holder_cannot_act(lab: Lab) -> None:
    """CMD-4: fencing by equality; the id of an ended lock is worth nothing, whoever names it."""
    old = await lock(lab, fenced=True, **{"for": "1m"})
    lab.clock.advance(61)
    assert (await refusal(lab, {"action": "off", "lock": old}, "ops1"))[0] is Refusal.NOT_LOCKED
    new = await lock(lab, fenced=True)
    assert new != old
    assert (await refusal(lab, {"action": "off", "lock": old}, "ops1"))[0] is Refusal.LOCKED
    assert lab.relay.transitions == []


async def test_a_fenced_lock_needs_its_id_even_from_its_owner(lab: Lab) -> None:
    """CMD-4: two jobs of one service do not share a board by accident."""
    id_ = await lock(lab, fenced=True)
    code, text = await refusal(lab, {"action": "off"}, "ops1")
    assert (code, "name the lock's id" in text) == (Refusal.LOCKED, True)
    code, _ = await refusal(lab, {"action": "lock"}, "ops1")
    assert code is Refusal.LOCKED
    steps = await lab.send({"action": "off", "board": "evm-07", "lock": id_})
    assert steps[-1].state is State.SUCCEEDED


async def test_a_fenced_lock_does_not_grow_out_of_an_open_one(lab: Lab) -> None:
    """CMD-4: who asks for a fence and finds his own open lock is told, and is not left without a fence."""
    await lock(lab)
    code, text = await refusal(lab, {"action": "lock", "fenced": True}, "ops1")
    assert (code, "without a fence; unlock it first" in text) == (Refusal.LOCKED, True)


async def test_a_board_that_somebody_is_switching_is_not_locked_under_his_hands(lab: Lab) -> None:
    lab.relay.gate = asyncio.Event()
    lab.submit(b"off", board="evm-07", operator="ops2")
    await lab.until(lambda: len(lab.steps) == 2)
    lab.submit(b"lock", board="evm-07")
    await lab.until(lambda: len(lab.steps) == 3)
    assert lab.steps[-1].code is Refusal.BUSY
    lab.relay.gate.set()
    await lab.until(lambda: lab.steps[-1].state is State.SUCCEEDED)


async def test_nobody_else_locks_or_unlocks_it(lab: Lab) -> None:
    id_ = await lock(lab)
    assert (await refusal(lab, {"action": "lock"}, "ops2"))[0] is Refusal.LOCKED
    assert (await refusal(lab, {"action": "unlock"}, "ops2"))[0] is Refusal.LOCKED
    assert (await refusal(lab, {"action": "unlock", "lock": id_}, "ops2"))[0] is Refusal.LOCKED
    steps = await lab.send(b"unlock", board="evm-07")
    assert steps[-1].text == "evm-07 is free"
    assert lab.locks[-1][2] == "released by ops1"


async def test_force_needs_a_reason_and_leaves_a_trace(lab: Lab) -> None:
    await lock(lab)
    code, text = await refusal(lab, {"action": "unlock", "force": True}, "ops2")
    assert (code, text) == (Refusal.INVALID, "refused: force needs a reason")
    steps = await lab.send(
        {"action": "unlock", "board": "evm-07", "force": True, "reason": "ops1 is on leave"}, operator="ops2"
    )
    assert steps[-1].text == "evm-07 is free; the lock of ops1 (busy) was ended by force"
    assert lab.locks[-1][2] == "released by force by ops2: ops1 is on leave"


async def test_only_admins_force_where_there_are_admins(tmp_path: Path) -> None:
    body = {"action": "unlock", "force": True, "reason": "gone home"}
    async with open_lab(tmp_path, lab_toml=ADMINS) as lab:
        await lock(lab)
        assert (await refusal(lab, body, "ops2"))[0] is Refusal.FORBIDDEN
        assert (await lab.send({"board": "evm-07"} | body, operator="chief"))[-1].state is State.SUCCEEDED


@pytest.mark.parametrize("time", ["0s", "9h"])
async def test_a_lock_is_not_longer_than_the_board_allows(lab: Lab, time: str) -> None:
    code, text = await refusal(lab, {"action": "lock", "for": time}, "ops1")
    assert code is Refusal.INVALID
    assert "at most 8 h at a time (max_lock)" in text


async def test_unlocking_a_free_board_is_no_fault(lab: Lab) -> None:
    assert (await lab.send(b"unlock", board="evm-07"))[-1].text == "evm-07 was not locked"


async def test_locks_outlive_the_process(tmp_path: Path) -> None:
    """CMD-4."""
    relay = relay_with(FakeClock())
    async with open_lab(tmp_path, relay) as lab:
        id_ = await lock(lab, fenced=True)
    async with open_lab(tmp_path, relay, sure=False) as lab:
        await lab.until(lambda: not lab.desk.locks.unsure)
        assert (await refusal(lab, {"action": "off"}, "ops2"))[0] is Refusal.LOCKED
        held = lab.desk.locks.of("evm-07")
        assert held
        assert held.id == id_


async def test_after_a_lost_memory_everything_is_locked_until_the_mirror_has_told(tmp_path: Path) -> None:
    """CMD-4."""
    async with open_lab(tmp_path, sure=False) as lab:
        code, text = await refusal(lab, {"action": "off"}, "ops1")
        assert (code, "its memory was lost" in text) == (Refusal.LOCKED, True)
        now = lab.clock.wall()
        mirrored = Lock(id="ab" * 16, owner="ci-1", since=now, until=now + 3_600_000_000)
        await lab.desk.locks.mirrored("evm-07", mirrored)
        await lab.desk.locks.settled()
        assert (await refusal(lab, {"action": "off"}, "ops1"))[0] is Refusal.LOCKED
        assert lab.relay.transitions == []
        steps = await lab.send({"action": "off", "board": "evm-08", "id": "other"})
        assert steps[-1].state is State.SUCCEEDED, "what the mirror does not name is free"


async def test_after_a_lost_memory_a_person_can_say_that_a_board_is_free(tmp_path: Path) -> None:
    """CMD-4: without a broker too."""
    async with open_lab(tmp_path, sure=False) as lab:
        await lab.send({"action": "unlock", "board": "evm-07", "force": True, "reason": "I asked around"})
        assert (await lab.send(b"off", board="evm-07"))[-1].state is State.SUCCEEDED
        assert (await lab.send(b"off", board="evm-08"))[-1].code is Refusal.LOCKED


async def test_a_restart_before_the_mirror_was_read_forgets_no_doubt(tmp_path: Path) -> None:
    """CMD-4."""
    relay = relay_with(FakeClock())
    for _ in range(2):
        async with open_lab(tmp_path, relay, sure=False) as lab:
            assert (await lab.send(b"off", board="evm-07"))[-1].code is Refusal.LOCKED
        relay.clock.advance(60)
    assert relay.transitions == []


async def test_a_lock_that_was_read_back_outlives_the_process(tmp_path: Path) -> None:
    """CMD-4."""
    relay = relay_with(FakeClock())
    async with open_lab(tmp_path, relay, sure=False) as lab:
        now = lab.clock.wall()
        await lab.desk.locks.mirrored(
            "evm-07", Lock(id="ab" * 16, owner="ci-1", since=now, until=now + 10**10)
        )
        await lab.desk.locks.settled()
    async with open_lab(tmp_path, relay) as lab:
        assert (await lab.send(b"off", board="evm-07"))[-1].code is Refusal.LOCKED


async def test_a_damaged_memory_counts_as_lost(tmp_path: Path) -> None:
    """CMD-4: no crash loop, and no free board that somebody holds."""
    (tmp_path / "control.db").write_bytes(b"this is no database at all, but long enough to be one" * 100)
    async with open_lab(tmp_path, sure=False) as lab:
        assert (await lab.send(b"off", board="evm-07"))[-1].code is Refusal.LOCKED
    aside = tmp_path.glob("control.db.corrupt-*")  # noqa: ASYNC240 - a temporary directory
    assert len(list(aside)) == 1


async def test_the_deadline_is_the_servers(tmp_path: Path) -> None:
    async with open_lab(tmp_path, server_offset=3600.0) as lab:
        await lock(lab, **{"for": "1h"})
        held = lab.desk.locks.of("evm-07")
        assert held
        assert held.until == lab.clock.wall() + 2 * 3_600_000_000


async def test_all_off_spares_what_others_hold_unless_forced(lab: Lab) -> None:
    await lock(lab, operator="ops2")
    steps = await lab.send({"action": "all-off", "reason": "maintenance"})
    assert lab.relay.ports[3] is Power.ON
    assert "2 ports are off; left alone: evm-07 is locked by ops2 (busy) until" in steps[-1].text
    await lab.send({"action": "all-off", "reason": "smoke", "force": True})
    assert lab.relay.ports[3] is Power.OFF


async def test_a_board_in_use_without_a_lock_is_refused_unless_forced(lab: Lab) -> None:
    lab.bench.user = "its console is busy: process 77 has locked ttyUSB0"
    code, text = await refusal(lab, {"action": "cycle"}, "ops1")
    assert (code, "process 77" in text) == (Refusal.IN_USE, True)
    steps = await lab.send({"action": "cycle", "board": "evm-07", "force": True, "reason": "hung"})
    assert steps[-1].state is State.SUCCEEDED


async def test_what_is_known_of_a_board_is_set_under_its_lock(lab: Lab) -> None:
    id_ = await lock(lab, use="updating-sdk", fenced=True)
    assert (await refusal(lab, {"action": "set", "sdk_version": "10.1"}, "ops2"))[0] is Refusal.LOCKED
    steps = await lab.send({"action": "set", "board": "evm-07", "sdk_version": "10.1", "lock": id_})
    assert steps[-1].facts == {"sdk_version": "10.1"}
    assert (await lab.send(b"set", board="evm-08"))[-1].code is Refusal.INVALID


async def test_a_relay_in_maintenance_is_not_switched(lab: Lab) -> None:
    lab.relay.maintenance = "anna: screw loose"
    for action in ("on", "off", "reset"):
        steps = await lab.send(action.encode(), board="evm-07")
        assert (steps[-1].code, steps[-1].text) == (
            Refusal.MAINTENANCE, "refused: eth-1 is in maintenance: anna: screw loose",
        )  # fmt: skip
    assert lab.relay.transitions == []


async def test_a_contested_board_is_not_obeyed(lab: Lab) -> None:
    lab.desk.admission.contested["evm-07"] = "pc-02"
    steps = await lab.send(b"off", board="evm-07")
    assert steps[-1].text == "refused: evm-07 belongs to pc-02, which declared it first"


async def test_a_draining_agent_takes_nothing_but_off(lab: Lab) -> None:
    steps = await lab.send(b"drain")
    assert steps[-1].text == "drained"
    assert (await lab.send(b"on", board="evm-08"))[-1].code is Refusal.DRAINING
    assert (await lab.send(b"off", board="evm-07"))[-1].state is State.SUCCEEDED


async def test_report_and_probe_answer_in_words(lab: Lab) -> None:
    assert (await lab.send(b"report"))[-1].text == "told the state of 3 boards and 5 ports"
    assert (await lab.send(b"probe", board="evm-07"))[-1].text == "evm-07: silent, ssh closed"
