"""What every store keeps of wiring, boots, console words, port states and uses, on every store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.stores.base import BoardFilter, Store
from boardherd_shared.locks import Lock
from boardherd_shared.records import BootTimes, Power, Wiring
from support.stores import KINDS, greet, opened
from support.telemetry import BOOTED, NOW, SECOND, board, event, hello, lab, received, relay

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, request, tmp_path) as store:
        await store.sync_inventory(lab(), NOW)
        yield store


async def commit(store: Store, seq: int, *records: Any, **header: Any) -> None:
    assert (await store.commit([received(seq, *records, **header)])).dead_letters == 0


async def test_the_wiring_of_a_board_and_a_slow_boot_are_known_as_they_were_told_last(store: Store) -> None:
    suspect = Wiring(state="suspect", at=NOW - MINUTE, text="evm-08 fell silent instead")
    await commit(store, 1, board(wiring=Wiring(state="proved", at=NOW - HOUR)))
    await commit(store, 2, board(NOW + 1, wiring=suspect, slow="login took 41 s, usually 19 s"))
    await commit(store, 3, board(NOW - 5, wiring=None))  # an older word changes nothing
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert (row.wiring, row.wiring_text) == ("suspect", "evm-08 fell silent instead")
    assert row.wiring_at == (NOW - MINUTE) / SECOND
    assert row.slow == "login took 41 s, usually 19 s"
    (now,) = (await store.snapshot()).boards
    assert now.record.wiring == suspect
    (other,) = await store.boards(BoardFilter(board="evm-08"))
    assert (other.wiring, other.wiring_at, other.slow) == (None, None, None)


async def test_what_agents_of_before_send_is_taken_as_it_is(store: Store) -> None:
    """They know neither of wiring nor of words; and what nobody knows yet is passed over."""
    old = board().model_dump(mode="json", exclude_none=True) | {"mood": "good"}
    boot = event(event="boot", boot=BootTimes(ping_s=14.2)).model_dump(mode="json", exclude_none=True)
    await commit(store, 1, old, boot, relay())
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert (row.wiring, row.slow) == (None, None)
    (told,) = await store.boots("evm-07")
    assert told.times == BootTimes(ping_s=14.2)
    (happened,) = await store.events()
    assert happened.words == ()


async def test_a_boot_comes_back_with_every_stage_and_what_was_slow(store: Store) -> None:
    times = BootTimes(console_s=1.9, spl_s=2.1, uboot_s=3.5, login_s=41, slow="login took 41 s, usually 19 s")
    await commit(store, 1, event(event="boot", boot=times))
    (row,) = await store.boots("evm-07")
    assert row.times == times


async def test_the_last_words_of_a_console_come_with_their_event(store: Store) -> None:
    words = ("[    1.2] VFS: Unable to mount root fs", 'Kernel panic - not syncing: "VFS" \u2013 end')
    await commit(store, 1, event(words=words), event(NOW + 1))
    later, panic = await store.events("board/evm-07")
    assert panic.words == words
    assert later.words == ()


async def test_events_may_be_asked_for_from_a_time_on(store: Store) -> None:
    await commit(store, 1, *[event(NOW + number * SECOND, text=str(number)) for number in range(4)])
    rows = await store.events(since=NOW + 2 * SECOND)
    assert [row.text for row in rows] == ["3", "2"]
    assert [row.text for row in await store.events("board/evm-07", 1, NOW + 2 * SECOND)] == ["3"]
    assert await store.events("pc/pc-01", since=NOW + 9 * SECOND) == []


async def test_a_port_keeps_when_its_wiring_was_proved(store: Store) -> None:
    await commit(store, 1, relay(proved_at=NOW - HOUR))
    (now,) = (await store.snapshot()).ports
    assert now.record.proved_at == NOW - HOUR


async def test_times_of_proof_move_with_a_corrected_clock(store: Store) -> None:
    early = NOW - 10 * HOUR  # what the PC believed when it was NOW
    await greet(store, "pc-01", hello(boot="boot-1", wall=early, up=NOW - BOOTED), NOW)
    proved = Wiring(state="proved", at=early - MINUTE)
    told = board(early, wiring=proved).model_copy(update={"up": NOW - BOOTED})
    port = relay(early, proved_at=early - MINUTE).model_copy(update={"up": NOW - BOOTED})
    await commit(store, 1, told, port)
    snapshot = await store.snapshot()
    assert snapshot.boards[0].record.wiring == Wiring(state="proved", at=NOW - MINUTE)
    assert snapshot.ports[0].record.proved_at == NOW - MINUTE


async def test_the_states_of_ports_come_with_the_one_that_held(store: Store) -> None:
    states = [
        relay(NOW - 3 * HOUR, Power.OFF),
        relay(NOW - 2 * HOUR, Power.ON, asked=Power.ON, switched_at=NOW - 2 * HOUR, switched_by="ops1"),
        relay(NOW - HOUR, Power.OFF, asked=Power.ON, reason="switched by somebody else"),
        relay(NOW - HOUR, Power.ON, port=4),
        relay(NOW - HOUR, Power.ON, port=5),
    ]
    await commit(store, 1, *states)
    rows = await store.port_history([("eth-1", 3), ("eth-1", 4)], NOW - 90 * MINUTE)
    told = [(row.port, row.observed, row.drift) for row in rows]
    assert told[0] == (3, Power.ON, False)
    assert sorted(told[1:]) == [(3, Power.OFF, True), (4, Power.ON, False)]
    assert (rows[0].relay, rows[0].pc, rows[0].switched_by) == ("eth-1", "pc-01", "ops1")
    assert rows[0].switched_at == (NOW - 2 * HOUR) / SECOND
    assert [row.port for row in await store.port_history([("eth-1", 5)], 0)] == [5]
    assert await store.port_history([("eth-9", 3)], 0) == []
    assert await store.port_history([], 0) == []
    assert len(await store.port_history([("eth-1", 3)], 0, limit=2)) == 2


async def test_who_used_a_board_is_told_with_its_end(store: Store) -> None:
    now = round(time.time() * SECOND)
    over = Lock(id="1" * 32, owner="ci", use="busy", since=now - 3 * HOUR, until=now - HOUR)
    holds = Lock(id="2" * 32, owner="ops1", use="updating-sdk", since=now - HOUR, until=now + HOUR)
    await commit(
        store,
        1,
        event(now - 3 * HOUR, event="lock", lock=over),
        event(now - 2 * HOUR, event="lock", lock=over, lock_ended="released by ci"),
        event(now - HOUR, event="lock", lock=holds),
        received_at=now,
    )
    first, second = await store.usage("evm-07", 0)
    assert (first.who, first.purpose, first.end_reported) == ("ci", "busy", True)
    assert (first.started_at, first.ended_at) == ((now - 3 * HOUR) / SECOND, (now - 2 * HOUR) / SECOND)
    assert (second.who, second.ended_at, second.deadline) == ("ops1", None, (now + HOUR) / SECOND)
    assert [row.who for row in await store.usage("evm-07", now - 90 * MINUTE)] == ["ops1"]
    assert [row.who for row in await store.usage("evm-07", 0, limit=1)] == ["ops1"]
    assert await store.usage("evm-08", 0) == []


async def test_a_use_of_whose_end_nobody_spoke_ended_with_its_deadline(store: Store) -> None:
    now = round(time.time() * SECOND)
    lock = Lock(id="1" * 32, owner="ci", use="busy", since=now - 3 * HOUR, until=now - HOUR)
    await commit(store, 1, event(now - 3 * HOUR, event="lock", lock=lock), received_at=now)
    (row,) = await store.usage("evm-07", 0)
    assert (row.ended_at, row.end_reported) == ((now - HOUR) / SECOND, False)
    assert await store.usage("evm-07", now - HOUR) == []
