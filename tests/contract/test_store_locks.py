"""What every store keeps of locks, uses, orders of people and commands that nobody answered."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.marks import Mark, Marks, Order
from boardherd_collector.stores.answers import BoardRow
from boardherd_collector.stores.base import BoardFilter, Store, Unanswered
from boardherd_shared.command import CommandStep, State
from boardherd_shared.locks import Lock
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import EventRecord
from support.stores import KINDS, opened
from support.telemetry import LAB, SECOND, board, event, host, lab, received, step

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, request, tmp_path) as store:
        await store.sync_inventory(lab(), now())
        yield store


def now() -> int:
    return round(time.time() * SECOND)


def lock(id_: str = ONE, since: int = 0, until: int = 0, **values: Any) -> Lock:
    owner = values.pop("owner", "ops1")
    return Lock(id=id_, owner=owner, since=since, until=until or since + HOUR, **values)


def taken(at: int, held: Lock) -> EventRecord:
    return event(at, event="lock", text="locked", lock=held)


def ended(at: int, held: Lock) -> EventRecord:
    return event(at, event="lock", text="ended", lock=held, lock_ended="released by ops1")


SEQ = itertools.count(1)


async def commit(store: Store, *records: Any, at: int | None = None, agent: str = "pc-01") -> None:
    stream = ("a" if agent == "pc-01" else "b") * 32
    envelope = received(next(SEQ), *records, received_at=at or now(), agent=agent, stream=stream)
    result = await store.commit([envelope])
    assert result.dead_letters == 0, await store.dead_letters()


async def of(store: Store, name: str = "evm-07") -> BoardRow:
    (row,) = await store.boards(BoardFilter(board=name))
    return row


async def used(store: Store, since: int, until: int) -> float:
    """Return for how many seconds evm-07 was in use."""
    (row,) = [row for row in await store.report(since, until) if row.board == "evm-07"]
    return round(row.used_h * 3600, 3)


async def test_a_lock_makes_a_board_busy_until_it_ends(store: Store) -> None:
    """Who has it until when is known at once, it is not available, and it is again when the lock has ended."""
    t = now()
    await commit(store, host(t - MINUTE), board(t - MINUTE))
    assert [row.id for row in await store.boards(BoardFilter(available=True))] == ["evm-07"]
    held = lock(since=t - 30 * SECOND, use="updating-sdk")
    await commit(store, taken(t - 30 * SECOND, held), board(t - 30 * SECOND, lock=held))
    row = await of(store)
    assert (row.status, row.is_locked, row.can_execute_test) == (BoardStatus.UPDATING_SDK, True, False)
    assert (row.lock_owner, row.lock_purpose) == ("ops1", "updating-sdk")
    assert row.lock_deadline == held.until / SECOND
    assert [row.id for row in await store.boards(BoardFilter(locked=True))] == ["evm-07"]
    assert await store.boards(BoardFilter(available=True)) == []
    (summary,) = [row for row in await store.summary("platform") if row.name == "j721e"]
    assert (summary.locked, summary.updating_sdk, summary.available) == (1, 1, 0)
    await commit(store, ended(t, held))
    row = await of(store)
    assert (row.status, row.is_locked, row.lock_owner, row.can_execute_test) == (
        BoardStatus.IDLE, False, None, True,
    )  # fmt: skip
    assert row.last_used_at == t / SECOND
    assert await used(store, t - HOUR, t + HOUR) == 30.0


async def test_a_lock_ends_with_its_deadline_though_nobody_says_so(store: Store) -> None:
    t = now()
    held = lock(since=t - HOUR, until=t - MINUTE, use="nightly")
    await commit(store, host(t), taken(t - HOUR, held), board(t - 2 * MINUTE, lock=held))
    row = await of(store)
    assert (row.status, row.is_locked, row.can_execute_test) == (BoardStatus.IDLE, False, True)
    assert await used(store, t - 2 * HOUR, t) == 3600 - 60


@pytest.mark.parametrize("order", range(24), ids=str)
async def test_the_order_in_which_words_come_changes_nothing(store: Store, order: int) -> None:
    """A use is opened by the first sight of its lock, and ends when it truly ended: late, doubled, newest first."""
    t = now() - 10 * MINUTE
    first, later = lock(since=t, until=t + 5 * MINUTE), lock(TWO, since=t + 4 * MINUTE, owner="ci")
    words = [
        taken(t, first),
        taken(t + MINUTE, first.model_copy(update={"until": t + 8 * MINUTE})),
        ended(t + 3 * MINUTE, first),
        taken(t + 4 * MINUTE, later),
    ]
    for word in list(itertools.permutations(words))[order]:
        await commit(store, word)
        await commit(store, word)
    row = await of(store)
    assert (row.is_locked, row.lock_owner) == (True, "ci")
    assert await used(store, t - HOUR, t + 4 * MINUTE) == 180.0
    assert await used(store, t - HOUR, t + 5 * MINUTE) == 240.0


async def test_where_the_end_was_lost_the_verdicts_tell_it(store: Store) -> None:
    """The records about a board carry its lock: that it is free is the latest that a use can have ended."""
    t = now() - 10 * MINUTE
    held = lock(since=t)
    await commit(store, board(t + SECOND, lock=held))
    assert (await of(store)).lock_owner == "ops1"
    await commit(store, board(t + MINUTE, change=False))
    assert not (await of(store)).is_locked
    assert await used(store, t - HOUR, t + HOUR) == 60.0
    await commit(store, ended(t + 30 * SECOND, held))
    assert await used(store, t - HOUR, t + HOUR) == 30.0
    await commit(store, board(t + 20 * SECOND, lock=held))
    assert not (await of(store)).is_locked


async def test_only_who_controls_a_board_says_who_has_it(store: Store) -> None:
    t = now()
    await commit(store, taken(t, lock(since=t, owner="mallory")), agent="pc-02")
    await commit(
        store, step(State.SUCCEEDED, t, action="set", agent="pc-02", facts={"note": "mine"}), agent="pc-02"
    )
    row = await of(store)
    assert (row.is_locked, row.notes) == (False, None)


async def test_what_is_set_is_written_down_by_time(store: Store) -> None:
    t = now()
    facts = {"sdk_version": "9.2", "note": "camera is loose"}
    await commit(store, step(State.SUCCEEDED, t, action="set", id_="s-2", facts=facts))
    await commit(
        store, step(State.SUCCEEDED, t - MINUTE, action="set", id_="s-1", facts={"sdk_version": "9.1"})
    )
    await commit(store, step(State.REFUSED, t, action="set", id_="s-3", facts={"note": "no"}))
    await commit(store, step(State.SUCCEEDED, t - SECOND, id_="c-9"))
    row = await of(store)
    assert (row.sdk_version, row.notes, row.last_sdk_update_at) == ("9.2", "camera is loose", t / SECOND)
    assert row.last_used_at == (t - SECOND) / SECOND


async def test_a_fault_is_an_error_until_it_goes(store: Store) -> None:
    t = now() - MINUTE
    why = "evm-07 was power-cycled 10 times within an hour without coming alive"
    await commit(store, host(t), board(t, fault=why), board(t + SECOND, fault=why))
    row = await of(store)
    assert (row.status, row.error_reason, row.error_since, row.is_healthy) == (
        BoardStatus.ERROR, why, t / SECOND, False,
    )  # fmt: skip
    await commit(store, board(t + 2 * SECOND))
    row = await of(store)
    assert (row.status, row.error_reason) == (BoardStatus.IDLE, None)


async def test_lines_come_from_the_inventory(store: Store) -> None:
    """And who pulsed one is told by its port."""
    wired = lab(LAB.replace('power = ["eth-1:3"]', 'power = ["eth-1:3"]\nlines.reset = "eth-1:5"'))
    await store.sync_inventory(wired, now())
    await store.sync_inventory(wired, now())
    await commit(store, step(State.SUCCEEDED, now(), action="reset", target="line/evm-07/reset"))
    (row,) = await store.switches("eth-1", 5)
    assert (row.target, row.action) == ("line/evm-07/reset", "reset")
    assert await store.switches("eth-1", 3) == []


# Orders


def order(
    id_: str = "o-1", thing: Any = ("board", "evm-07"), marks: Marks | None = None, **values: Any
) -> Order:
    action = values.pop("action", "deactivate")
    said = CommandStep(
        id=id_, state=State.SUCCEEDED, action=action, target="/".join(thing), agent="collector",
        operator="ops-lead", at=now() / SECOND, text=f"{action} done",
    )  # fmt: skip
    return Order(id_, f"ops-lead {action}", now(), said, thing, marks or Marks(), **values)


async def test_an_order_is_carried_out_once(store: Store) -> None:
    decision = Mark(now(), "ops-lead", "burnt")
    first = order(marks=Marks(deactivated=decision), shown_name="J721E_EVM #7")
    assert await store.administer(first) is None
    again = await store.administer(replace(order(), marks=Marks()))
    assert again is not None
    assert (again.fingerprint, again.step) == (first.fingerprint, first.step)
    row = await of(store)
    assert (row.status, row.deactivated_by, row.deactivated_reason) == (
        BoardStatus.DEACTIVATED, "ops-lead", "burnt",
    )  # fmt: skip
    assert row.name == "J721E_EVM #7"
    assert (await store.snapshot()).marks == {("board", "evm-07"): Marks(deactivated=decision)}
    (kept,) = await store.commands("board/evm-07")
    assert (kept.pc, kept.state, kept.operator) == ("collector", State.SUCCEEDED, "ops-lead")
    (told,) = await store.events("board/evm-07")
    assert (told.pc, told.event, told.command) == ("collector", "command", "o-1")
    assert (await store.snapshot()).commands["collector", "succeeded"] == 1


async def test_names_and_notes_and_maintenance_outlive_a_change_of_the_inventory(store: Store) -> None:
    resting = Mark(now(), "ops-lead", "new fuse")
    decided = {
        ("pc", "pc-01"): Marks(maintenance=resting, name="The first", notes="loud"),
        ("relay", "eth-1"): Marks(maintenance=resting, name="Upper"),
        ("board", "evm-08"): Marks(name="Spare", notes="no camera"),
        ("pc", "pc-77"): Marks(retired=resting),
    }
    for number, (thing, marks) in enumerate(decided.items()):
        assert await store.administer(order(f"o-{number}", thing, marks, shown_name=marks.name)) is None
    t = now()
    await commit(store, host(t), board(t))
    assert not (await of(store)).can_execute_test
    await store.sync_inventory(lab(LAB.replace('rack = "r1"', 'rack = "r2"')), now())
    assert (await store.snapshot()).marks == decided
    spare = await of(store, "evm-08")
    assert (spare.name, spare.notes) == ("Spare", "no camera")


# Commands that nobody answers


def unanswered(id_: str = "c-1", *, named: bool = True, agent: str = "pc-01", at: int = 0) -> Unanswered:
    said = CommandStep(
        id=id_, state=State.UNANSWERED, action="cycle", target="board/evm-07", agent=agent,
        operator="ops1", at=(at or now()) / SECOND, text="unanswered: pc-01 is offline for 2 h",
    )  # fmt: skip
    return Unanswered(said, named, (at or now()) - 35 * SECOND)


async def test_open_commands_are_kept_until_they_are_answered_or_closed(store: Store) -> None:
    await store.note_open([("c-2", 2, '{"id": "c-2"}'), ("c-1", 1, '{"id": "c-1"}'), ("c-3", 3, "{}")], [])
    await store.note_open([], ["c-3", "c-0"])
    assert [text[8:11] for text in await store.open_commands()] == ["c-1", "c-2"]
    assert (await store.close_unanswered([unanswered()])).unanswered == (True,)
    assert len(await store.open_commands()) == 1


@pytest.mark.parametrize("agent", ["pc-01", "pc-77", "collector"])
async def test_what_an_agent_says_later_replaces_that_nobody_answered(store: Store, agent: str) -> None:
    await commit(store, host(now()))
    pc = "pc-01" if agent == "pc-01" else "collector"
    closed = await store.close_unanswered([unanswered(agent=agent), unanswered(agent=agent)])
    assert (closed.unanswered, dict(closed.finished)) == ((True, True), {(pc, "unanswered"): 1})
    (row,) = await store.commands()
    assert (row.pc, row.state, row.operator) == (pc, State.UNANSWERED, "ops1")
    assert [told.text for told in await store.events()] == ["ops1: unanswered: pc-01 is offline for 2 h"]
    assert await store.switches("eth-1", 3) == []
    result = await store.commit(
        [
            received(
                next(SEQ), step(State.ACCEPTED, now()), step(State.SUCCEEDED, now() + 1), received_at=now()
            )
        ]
    )
    assert result.finished == {("pc-01", "succeeded"): 1}
    (row,) = await store.commands()
    assert (row.pc, row.state) == ("pc-01", State.SUCCEEDED)
    assert (await store.close_unanswered([unanswered()])).unanswered == (False,)
    assert [row.state for row in await store.commands()] == [State.SUCCEEDED]


async def test_a_command_without_an_id_is_told_by_what_it_asks_for(store: Store) -> None:
    t = now()
    assert (await store.close_unanswered([unanswered("mine", named=False, at=t)])).unanswered == (True,)
    other = {"id_": "x-1", "operator": "ops2"}
    await commit(store, step(State.SUCCEEDED, t - 30 * SECOND, **other))
    assert {row.id for row in await store.commands()} == {"mine", "x-1"}
    await commit(store, step(State.SUCCEEDED, t - 30 * SECOND, id_="agents-own"))
    assert {row.id for row in await store.commands()} == {"agents-own", "x-1"}
    assert (await store.close_unanswered([unanswered("mine", named=False, at=t)])).unanswered == (False,)
    much_later = unanswered("new", named=False, at=t + HOUR)
    assert (await store.close_unanswered([much_later])).unanswered == (True,)
