"""What every store promises, on every store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boardherd_collector.stores.base import DIGESTS_KEPT, MAX_UNDECLARED, Outcome, Store, StoreError
from boardherd_shared.command import State
from boardherd_shared.messages import HostFacts, StreamInfo
from boardherd_shared.records import BootTimes, Power, Verdict
from support.stores import KINDS, greet, opened
from support.telemetry import (
    BOOTED,
    LAB,
    NOW,
    SECOND,
    STREAM,
    board,
    event,
    hello,
    host,
    lab,
    loss,
    received,
    relay,
    step,
)

MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
OTHER = "b" * 32


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, request, tmp_path) as store:
        await store.sync_inventory(lab(), NOW)
        yield store


async def commit(store: Store, *envelopes: object) -> list[Outcome]:
    return (await store.commit(envelopes)).outcomes  # type: ignore[arg-type]


async def test_an_envelope_is_stored_once_however_often_it_comes(store: Store) -> None:
    """DEL-1: again in the same group, or later, it is a duplicate."""
    first = received(1, host(), event())
    assert await commit(store, first, first) == [Outcome.COMMITTED, Outcome.DUPLICATE]
    assert await commit(store, first) == [Outcome.DUPLICATE]
    counts = await store.counts()
    assert (counts.rows["pc_stats"], counts.rows["events"]) == (1, 1)
    assert counts.streams[0].envelopes == 1
    assert counts.streams[0].records == {"host": 1, "board": 0, "relay": 0, "event": 1}


async def test_a_number_with_other_content_is_a_conflict_and_changes_nothing(store: Store) -> None:
    """DEL-1: a cloned PC cannot make real data vanish as a duplicate."""
    assert await commit(store, received(1, host(NOW))) == [Outcome.COMMITTED]
    other = received(1, host(NOW + SECOND))
    assert await commit(store, other, received(2, host())) == [Outcome.CONFLICT, Outcome.COMMITTED]
    assert (await store.counts()).rows["pc_stats"] == 2


async def test_a_stream_belongs_to_the_agent_that_began_it(store: Store) -> None:
    """SEC-1: another agent can neither fill its numbers nor declare them lost nor have them called stored."""
    await commit(store, received(1, host()))
    thief = received(2, host(), agent="pc-02")
    assert await commit(store, thief) == [Outcome.CONFLICT]
    assert await commit(store, received(1, loss(2, 9), agent="pc-02", stream=OTHER)) == [Outcome.COMMITTED]
    assert [letter.reason for letter in await store.dead_letters()] == [
        "the stream that it speaks of belongs to pc-01"
    ]
    assert await store.missing("pc-01", STREAM, [(1, 9)]) == ((2, 9),)
    assert await store.missing("pc-02", STREAM, [(1, 9)]) == ((1, 9),)


async def test_only_the_newest_digests_are_kept(store: Store) -> None:
    envelopes = [received(seq, event(text=f"number {seq}")) for seq in range(1, DIGESTS_KEPT + 2)]
    await store.commit(envelopes)
    old, new = received(1, event(text="other")), received(2, event(text="other"))
    assert await commit(store, old, new) == [Outcome.DUPLICATE, Outcome.CONFLICT]


async def test_missing_is_what_is_neither_stored_nor_lost(store: Store) -> None:
    await commit(store, *[received(seq, host()) for seq in (1, 2, 5)], received(6, loss(3, 3)))
    assert await store.missing("pc-01", STREAM, [(1, 3), (2, 8)]) == ((4, 4), (7, 8))
    assert await store.missing("pc-01", OTHER, [(3, 4), (1, 2)]) == ((1, 4),)


async def test_the_first_writer_of_a_number_wins(store: Store) -> None:
    """DEL-1: nothing is both stored and lost."""
    await commit(store, received(1, host()), received(5, loss(1, 4)))
    (lost,) = await store.losses()
    assert (lost.first, lost.last, lost.envelopes, lost.reason) == (1, 4, 3, "no space")
    assert await commit(store, received(2, host())) == [Outcome.DUPLICATE]
    counts = await store.counts()
    assert counts.rows["pc_stats"] == 1
    assert (counts.streams[0].watermark, counts.streams[0].lost_envelopes) == (5, 3)


async def test_a_loss_in_the_same_group_as_its_data_loses_nothing(store: Store) -> None:
    await commit(store, received(2, loss(1, 1)), received(1, host()))
    assert await store.losses() == []
    assert (await store.counts()).rows["pc_stats"] == 1


async def test_a_bad_record_does_not_cost_its_neighbours(store: Store) -> None:
    """DEL-1 (D19): it goes to the dead letters with its place and reason."""
    bad = {"kind": "host", "at": NOW, "up": 1, "status": "HEALTHY", "cpu_percent": 250}
    assert await commit(store, received(1, host(), bad, event())) == [Outcome.COMMITTED]
    (letter,) = await store.dead_letters()
    assert (letter.pc, letter.seq, letter.position) == ("pc-01", 1, 1)
    assert "cpu_percent" in letter.reason
    assert '"cpu_percent": 250' in letter.payload
    counts = await store.counts()
    assert (counts.rows["pc_stats"], counts.rows["events"], counts.streams[0].dead_letters) == (1, 1, 1)


async def test_a_time_beyond_reason_is_set_aside(store: Store) -> None:
    past, future = host(NOW - 31 * DAY), host(NOW + HOUR)
    await commit(store, received(1, past, host(), future))
    assert (await store.counts()).rows["pc_stats"] == 1
    assert sorted(letter.reason for letter in await store.dead_letters()) == [
        "its time lies more than 10 min in the future",
        "its time lies more than 30 days in the past",
    ]


async def test_a_clock_that_was_learned_by_a_wrong_one_is_learned_again(store: Store) -> None:
    """DEL-1 (T04): the collector's own clock was an hour ahead, or an hour behind, when it met the boot."""
    for wrong in (HOUR, -HOUR):
        boot = f"boot-{wrong}"
        assert await greet(store, "pc-01", hello(up=NOW - BOOTED, boot=boot), NOW + wrong) == BOOTED + wrong
        assert await greet(store, "pc-01", hello(up=NOW - BOOTED, boot=boot), NOW) == BOOTED


async def test_an_offset_that_leads_out_of_bounds_is_not_believed(store: Store) -> None:
    """DEL-1 (T04): what came before the next hello keeps the time of its own clock, and is no dead letter."""
    await greet(store, "pc-01", hello(up=NOW - BOOTED), NOW + HOUR)
    await commit(store, received(1, host(NOW + SECOND)))
    assert [row.timestamp for row in await store.host_history("pc-01", 0)] == [NOW / SECOND + 1]
    assert await store.dead_letters() == []


async def test_a_wrong_clock_is_corrected_by_what_was_learned_first(store: Store) -> None:
    """A resent record gets the same time: a hello that comes late changes nothing."""
    assert await greet(store, "pc-01", hello(up=NOW - BOOTED), NOW) == BOOTED
    assert await greet(store, "pc-01", hello(up=NOW - BOOTED - 30 * SECOND), NOW) == BOOTED
    wrong = host(NOW).model_copy(update={"at": 1_000_000})
    near = host(NOW + 20 * SECOND).model_copy(update={"at": NOW + 23 * SECOND})
    await commit(store, received(1, wrong, near), received(2, host(NOW + 40 * SECOND), boot="boot-0"))
    times = [row.timestamp for row in await store.host_history("pc-01", 0)]
    assert times == [NOW / SECOND, NOW / SECOND + 23, NOW / SECOND + 40]


async def test_every_time_in_a_corrected_record_moves_with_it(store: Store) -> None:
    await greet(store, "pc-01", hello(up=NOW - BOOTED), NOW)
    off_by = 400 * DAY
    wrong = relay(NOW, switched_at=NOW - 5 * SECOND).model_copy(
        update={"at": NOW - off_by, "since": NOW - off_by - SECOND, "switched_at": NOW - off_by - 5 * SECOND}
    )
    await commit(store, received(1, wrong))
    (port,) = (await store.snapshot()).ports
    assert (port.record.at, port.record.since) == (NOW, NOW - SECOND)
    assert port.record.switched_at == NOW - 5 * SECOND


async def test_refreshes_keep_the_state_fresh_and_history_small(store: Store) -> None:
    """History keeps changes and an hourly keyframe."""
    await commit(store, received(1, board(NOW), relay(NOW)))
    for minute in range(1, 125):
        at = NOW + minute * MINUTE
        records = board(at, change=False), relay(at, change=False)
        await commit(store, received(minute + 1, *records, received_at=at))
    counts = await store.counts()
    assert (counts.rows["board_liveness"], counts.rows["relay_states"]) == (3, 3)
    assert (counts.streams[0].records["board"], counts.streams[0].records["relay"]) == (125, 125)
    snapshot = await store.snapshot()
    assert snapshot.boards[0].record.at == snapshot.ports[0].record.at == NOW + 124 * MINUTE


async def test_late_records_do_not_overwrite_newer_state(store: Store) -> None:
    await commit(store, received(9, host(NOW), board(NOW), relay(NOW)))
    old = NOW - HOUR
    late = host(old, cpu_percent=99), board(old, Verdict.SILENT), relay(old, Power.OFF)
    await commit(store, received(1, *late))
    snapshot = await store.snapshot()
    assert snapshot.boards[0].record.verdict is Verdict.ALIVE
    assert snapshot.ports[0].record.observed is Power.ON
    sample = next(pc.sample for pc in snapshot.pcs if pc.agent == "pc-01")
    assert sample is not None
    assert sample.cpu_percent == 12.5
    rows = (await store.counts()).rows
    assert (rows["pc_stats"], rows["board_liveness"], rows["relay_states"]) == (2, 2, 2)


async def test_only_the_owner_says_what_is_current(store: Store) -> None:
    """SEC-1: another PC's words about a board stay in history under its name, and change no state."""
    await commit(store, received(1, board(NOW), relay(NOW)))
    later = NOW + MINUTE
    foreign = board(later, Verdict.SILENT), relay(later, Power.OFF), board(later, name="evm-99")
    await commit(store, received(1, *foreign, agent="pc-02", stream=OTHER))
    await commit(store, received(2, board(later + SECOND, Verdict.SILENT, name="evm-99")))
    snapshot = await store.snapshot()
    told = {now.record.board: (now.agent, now.record.verdict) for now in snapshot.boards}
    assert told == {"evm-07": ("pc-01", Verdict.ALIVE), "evm-99": ("pc-02", Verdict.ALIVE)}
    assert snapshot.ports[0].record.observed is Power.ON
    assert (await store.counts()).rows["board_liveness"] == 4


async def test_the_steps_of_a_command_make_one_life_in_any_order(store: Store) -> None:
    steps = [
        step(State.ACCEPTED, NOW),
        step(State.RUNNING, NOW + SECOND, before="on", phase="off"),
        step(State.RUNNING, NOW + 2 * SECOND, phase="dwell", times={"off": 1.0}),
        step(State.SUCCEEDED, NOW + 9 * SECOND, observed="on", times={"ssh": 7.0}),
    ]
    lives = []
    for trial in range(4):
        stream, id_ = f"{trial:032x}", f"c-{trial}"
        mixed = [record.model_copy(update={"command": record.command.model_copy(update={"id": id_})})
                 for record in steps if record.command]  # fmt: skip
        random.Random(trial).shuffle(mixed)
        for seq, record in enumerate(mixed, 1):
            await commit(store, received(seq, record, stream=stream))
        (life,) = [row for row in await store.commands("board/evm-07") if row.id == id_]
        lives.append(life.model_copy(update={"id": ""}))
    assert all(life == lives[0] for life in lives)
    assert lives[0].state is State.SUCCEEDED
    assert (lives[0].began_at, lives[0].changed_at) == (NOW / SECOND, NOW / SECOND + 9)
    assert (lives[0].before, lives[0].observed) == ("on", "on")
    assert lives[0].times == {"off": 1.0, "ssh": 7.0}
    assert (await store.snapshot()).commands == {("pc-01", "succeeded"): 4}


async def test_a_command_is_counted_as_finished_once(store: Store) -> None:
    first = await store.commit([received(1, step(State.ACCEPTED)), received(2, step(State.FAILED, NOW + 1))])
    again = await store.commit([received(3, step(State.INTERRUPTED, NOW + 2))])
    assert first.finished == {("pc-01", "failed"): 1}
    assert again.finished == {}


async def test_boots_and_events_are_found_by_what_they_are_about(store: Store) -> None:
    boot = event(event="boot", boot=BootTimes(console_s=1.9, ssh_s=19.8), text="evm-07 booted")
    port = event(subject="relay/eth-1/3", text="switched on")
    await commit(store, received(1, event(NOW - SECOND), boot, port, event(subject="board/evm-070")))
    (row,) = await store.boots("evm-07")
    assert row.times == BootTimes(console_s=1.9, ssh_s=19.8)
    assert await store.boots("evm-08") == []
    assert [found.text for found in await store.events("board/evm-07")] == [
        "evm-07 booted",
        "evm-07 is alive",
    ]
    assert [found.text for found in await store.events("relay/eth-1")] == ["switched on"]
    assert len(await store.events("pc/pc-01")) == 4
    assert await store.events("pc/pc-02") == []
    assert len(await store.events(limit=2)) == 2


async def test_samples_come_back_in_the_units_of_the_domain(store: Store) -> None:
    sample = host(
        memory_total=16_123_456_789,
        network_received=5_000_000,
        process_count=7,
        load_1m=0.5,
        spool_parked=3,
        spool_oldest_s=1.5,
        spool_volatile=True,
    )
    await commit(store, received(1, sample))
    (row,) = await store.host_history("pc-01", 0)
    assert (row.memory_total_gb, row.network_io_read_mb) == (16.123456789, 5.0)
    assert (row.process_count, row.load_1m, row.disk_total_gb) == (7, 0.5, None)
    assert (row.spool_parked, row.spool_oldest_s, row.spool_volatile) == (3, 1.5, True)


async def test_history_gives_the_newest_samples_in_order(store: Store) -> None:
    await commit(store, received(1, *[host(NOW - second * SECOND) for second in (3, 1, 2, 0)]))
    rows = await store.host_history("pc-01", NOW - 2 * SECOND, limit=2)
    assert [row.timestamp for row in rows] == [NOW / SECOND - 1, NOW / SECOND]


async def test_the_snapshot_tells_what_agents_said_of_themselves(store: Store) -> None:
    streams = (StreamInfo(stream=STREAM, last=3),)
    said = hello(streams=streams, versions={"boardherd": "0.1.0"}, up=NOW - BOOTED)
    await greet(store, "pc-01", said, NOW)
    await commit(store, received(1, host(), received_at=NOW + SECOND))
    first, second = (await store.snapshot()).pcs
    assert (first.agent, first.declared, first.hello, first.clock) == ("pc-01", True, said, BOOTED)
    assert first.heard_at == NOW + SECOND
    assert (second.agent, second.heard_at, second.hello, second.sample) == ("pc-02", None, None, None)


async def test_two_pcs_may_claim_one_address_and_one_name(store: Store) -> None:
    """Observed values never fail a write: the address moves to its newest reporter."""
    facts = HostFacts(hostname="twin", ip_address="10.1.1.1")
    for agent in ("pc-01", "pc-02", "pc-01"):
        await greet(store, agent, hello(agent, host=facts), NOW)
    assert all(pc.heard_at == NOW for pc in (await store.snapshot()).pcs)


async def test_there_is_a_bound_to_what_the_inventory_does_not_name(store: Store) -> None:
    """SEC-3: unknown agents, boards and relays cannot grow the tables without end."""
    strangers = [
        received(1, host(), agent=f"x-{number}", stream=f"{number:032x}")
        for number in range(MAX_UNDECLARED + 3)
    ]
    outcomes = await commit(store, *strangers)
    assert outcomes.count(Outcome.COMMITTED) == MAX_UNDECLARED
    assert outcomes.count(Outcome.INVALID) == 3
    records = [board(name=f"y-{number}") for number in range(MAX_UNDECLARED + 3)]
    assert await commit(store, received(1, *records, host())) == [Outcome.COMMITTED]
    assert len(await store.dead_letters()) == 3
    assert (await store.counts()).rows["board_liveness"] == MAX_UNDECLARED


async def test_pruning_goes_by_age_and_in_slices(store: Store) -> None:
    samples = [host(NOW - day * DAY) for day in range(5)]
    happened = [event(NOW - day * DAY) for day in range(5)]
    await commit(store, received(1, *samples, *happened))
    before = NOW - 2 * DAY
    assert [await store.prune(before, 1) for _ in range(3)] == [1, 1, 0]
    rows = (await store.counts()).rows
    assert (rows["pc_stats"], rows["events"]) == (3, 5)
    assert [await store.prune_audit(before, 1) for _ in range(3)] == [1, 1, 0]
    rows = (await store.counts()).rows
    assert (rows["pc_stats"], rows["events"]) == (3, 3)
    assert await commit(store, received(1, *samples, *happened)) == [Outcome.DUPLICATE]


async def test_what_happened_is_kept_apart_from_what_was_measured(store: Store) -> None:
    """Who switched a board, and how it booted, outlives the verdicts around it."""
    old = NOW - 20 * DAY
    measured = host(old), board(old), relay(old)
    booted = event(old, event="boot", boot=BootTimes(ssh_s=9.0))
    life = step(State.SUCCEEDED, old)
    await commit(
        store, received(2, *measured, booted, life, loss(1, 1)), received(3, step(State.ACCEPTED, NOW, "new"))
    )
    while await store.prune(NOW - 10 * DAY, 2):
        pass
    rows = (await store.counts()).rows
    assert (rows["pc_stats"], rows["board_liveness"], rows["relay_states"]) == (0, 0, 0)
    assert (rows["commands"], rows["boots"], rows["losses"], rows["events"]) == (2, 1, 1, 4)
    while await store.prune_audit(NOW - 10 * DAY, 2):
        pass
    rows = (await store.counts()).rows
    assert (rows["commands"], rows["boots"], rows["losses"], rows["events"]) == (1, 0, 1, 2)
    assert [command.id for command in await store.commands()] == ["new"]


async def test_the_database_of_another_site_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match='belongs to the site "lab", the inventory to "hq"'):
        await store.sync_inventory(lab(LAB.replace('"lab"', '"hq"', 1)), NOW)


async def test_it_works_after_it_was_opened_again(store: Store) -> None:
    await commit(store, received(1, host()))
    await store.reopen()
    assert await commit(store, received(1, host()), received(2, host())) == [
        Outcome.DUPLICATE,
        Outcome.COMMITTED,
    ]
