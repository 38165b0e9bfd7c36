"""What every store says to hellos, what it calls current, and what it forgets of streams that are done with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.maintenance import Maintenance
from boardherd_collector.settings import RetentionSettings, RollupSettings
from boardherd_collector.stores.base import Greeting, Outcome, Store
from boardherd_shared.messages import HostFacts, StreamInfo
from boardherd_shared.records import Power, Verdict
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
)

MINUTE, DAY = 60 * SECOND, 86400 * SECOND
OTHER = "b" * 32
EVER, NEVER = 2**62, SECOND
"""Moments after and before everything: streams are dated by the clock of the machine that runs these tests."""


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, request, tmp_path) as store:
        await store.sync_inventory(lab(), NOW)
        yield store


def greeting(agent: str = "pc-01", **asked: list[tuple[int, int]]) -> Greeting:
    """Return a hello that asks about streams, which are named by one letter."""
    ranges = {letter * 32: spans for letter, spans in asked.items()}
    return Greeting(agent, hello(agent, up=NOW - BOOTED), NOW, ranges)


async def test_many_hellos_are_answered_each_with_what_its_own_streams_lack(store: Store) -> None:
    """DEL-1: as the ledger has it after every commit that has returned, losses included."""
    await store.commit([received(1, host()), received(4, loss(2, 2))])
    await store.commit([received(1, host(), agent="pc-02", stream=OTHER)])
    first, second = await store.greet(
        [greeting("pc-01", a=[(1, 6)], b=[(1, 2)], c=[(3, 3)]), greeting("pc-02", a=[(1, 1)], b=[(1, 2)])]
    )
    assert first.missing == {STREAM: ((3, 3), (5, 6)), OTHER: ((1, 2),), "c" * 32: ((3, 3),)}
    assert second.missing == {STREAM: ((1, 1),), OTHER: ((2, 2),)}
    await store.commit([received(3, host())])
    (again,) = await store.greet([greeting("pc-01", a=[(1, 6)])])
    assert again.missing == {STREAM: ((5, 6),)}


async def test_the_first_clock_of_a_boot_holds_whoever_says_hello_beside_it(store: Store) -> None:
    for offset in (0, MINUTE):
        answers = await store.greet(
            [
                Greeting(agent, hello(agent, boot="same", up=NOW - BOOTED - offset - place), NOW)
                for place, agent in enumerate(("pc-01", "pc-02"))
            ]
        )
        assert [answer.clock for answer in answers] == [BOOTED, BOOTED + 1]
    clocks = {pc.agent: pc.clock for pc in (await store.snapshot()).pcs}
    assert clocks == {"pc-01": BOOTED, "pc-02": BOOTED + 1}


async def test_a_hello_that_no_database_keeps_costs_its_neighbours_nothing(store: Store) -> None:
    """SEC-2: it is answered all the same, so that its agent can deliver."""
    await store.commit([received(1, host())])
    sound = greeting("pc-01", a=[(1, 2)])
    poison = replace(sound, hello=sound.hello.model_copy(update={"boot": "\ud800"}))  # in no encoding
    answers = await store.greet(
        [greeting("x-1"), poison, *(greeting(f"x-{number}") for number in range(2, 6)), greeting("pc-02")]
    )
    assert [bool(answer.refused) for answer in answers] == [False, True, False, False, False, False, False]
    assert (answers[1].missing, answers[1].clock) == ({STREAM: ((2, 2),)}, BOOTED)
    said = {pc.agent for pc in (await store.snapshot()).pcs if pc.hello is not None}
    assert said == {"pc-02", *(f"x-{number}" for number in range(1, 6))}


async def test_hellos_of_one_round_may_claim_one_address_and_one_name(store: Store) -> None:
    facts = HostFacts(hostname="twin", ip_address="10.1.1.1")
    answers = await store.greet(
        [Greeting(agent, hello(agent, host=facts), NOW) for agent in ("pc-01", "pc-02")]
    )
    assert [answer.refused for answer in answers] == ["", ""]
    assert all(pc.heard_at == NOW for pc in (await store.snapshot()).pcs)


async def test_nobody_to_greet_is_no_fault(store: Store) -> None:
    assert await store.greet([]) == []


@pytest.mark.parametrize("together", [False, True])
async def test_a_record_from_the_future_is_current_no_longer_than_until_the_next(
    store: Store, together: bool
) -> None:
    """A clock that is ahead and that nobody has corrected must not hold the present for as long as it is ahead.

    In history each record keeps the time that it has.
    """
    ahead, later = NOW + 9 * MINUTE, NOW + 10 * SECOND
    future = host(ahead, cpu_percent=99), board(ahead, Verdict.SILENT), relay(ahead, Power.OFF)
    present = host(later, cpu_percent=7), board(later), relay(later)
    envelopes = [received(1, *future, received_at=NOW), received(2, *present, received_at=later)]
    for group in [envelopes] if together else [[envelope] for envelope in envelopes]:
        await store.commit(group)
    snapshot = await store.snapshot()
    sample = next(pc.sample for pc in snapshot.pcs if pc.agent == "pc-01")
    assert sample is not None
    assert (sample.cpu_percent, sample.at) == (7, later)
    assert (snapshot.boards[0].record.verdict, snapshot.boards[0].record.at) == (Verdict.ALIVE, later)
    assert (snapshot.ports[0].record.observed, snapshot.ports[0].record.at) == (Power.ON, later)
    history = [row.timestamp for row in await store.host_history("pc-01", 0)]
    assert history == [later / SECOND, ahead / SECOND]


async def test_what_is_late_is_no_news_however_late_it_comes(store: Store) -> None:
    """Only a time in the future gives way: what a backlog tells of the past never replaces the present."""
    await store.commit([received(2, host(NOW, cpu_percent=7), board(NOW), received_at=NOW)])
    old = NOW - MINUTE
    await store.commit([received(1, host(old), board(old, Verdict.SILENT), received_at=NOW + MINUTE)])
    snapshot = await store.snapshot()
    assert [pc.sample.cpu_percent for pc in snapshot.pcs if pc.sample] == [7]
    assert snapshot.boards[0].record.verdict is Verdict.ALIVE


async def _pruned(store: Store, before: int, limit: int = 2) -> int:
    gone = 0
    while some := await store.prune_digests(before, limit):
        assert some <= limit
        gone += some
    return gone


async def test_of_a_stream_that_is_done_with_only_the_ledger_stays(store: Store) -> None:
    """DEL-1: a copy of its spool may come at any time, and nothing of it is stored twice or called lost."""
    envelopes = [received(seq, event(text=f"number {seq}")) for seq in range(1, 6)]
    await store.commit(envelopes)
    assert await _pruned(store, NEVER) == 0
    assert await _pruned(store, EVER) == 5
    late = [received(seq, event(text=f"number {seq}"), received_at=NOW + 29 * DAY) for seq in range(1, 7)]
    (answer,) = await store.greet([greeting(a=[(1, 6)])])
    assert answer.missing == {STREAM: ((6, 6),)}
    assert (await store.commit(late)).outcomes == [Outcome.DUPLICATE] * 5 + [Outcome.COMMITTED]
    assert (await store.counts()).rows["events"] == 6
    assert await store.losses() == []
    assert (await store.commit([received(7, host(), agent="pc-02")])).outcomes == [Outcome.CONFLICT]


async def test_the_digests_of_a_stream_with_holes_stay_until_its_pc_is_retired(store: Store) -> None:
    await store.commit([received(1, host()), received(3, host())])
    await store.commit([received(1, host(), agent="pc-02", stream=OTHER)])
    assert await _pruned(store, EVER) == 1
    changed = received(3, event(text="other content"))
    assert (await store.commit([changed])).outcomes == [Outcome.CONFLICT]
    smaller = LAB.replace("pc.pc-01 = {", "pc.pc-03 = {").replace('pc = "pc-01"', 'pc = "pc-03"')
    await store.sync_inventory(lab(smaller), NOW)
    assert await _pruned(store, EVER) == 2
    assert await store.missing("pc-01", STREAM, [(1, 4)]) == ((2, 2), (4, 4))


async def test_a_stream_that_is_in_use_again_has_digests_again(store: Store) -> None:
    """DEL-1: a PC that was off for long goes on under its stream; a clone of it is noticed as before."""
    await store.commit([received(1, host())])
    assert await _pruned(store, EVER) == 1
    assert (await store.commit([received(2, host())])).outcomes == [Outcome.COMMITTED]
    assert (await store.commit([received(2, event())])).outcomes == [Outcome.CONFLICT]


async def test_upkeep_forgets_digests_with_the_age_of_raw_records(store: Store) -> None:
    await store.commit([received(1, host()), received(2, event())])
    health = Health()
    for component in (STORE, BROKER):
        health.set(component, ok=True, text="there")
    upkeep = Maintenance(
        store, health, RetentionSettings(), RollupSettings(), now=lambda: EVER / SECOND / 1000, pause_s=0
    )
    await upkeep.once()
    assert await store.prune_digests(EVER, 10) == 0
    assert await store.missing("pc-01", STREAM, [(1, 3)]) == ((3, 3),)


async def test_what_an_agent_says_of_itself_is_kept_as_it_said_it(store: Store) -> None:
    said = hello(streams=(StreamInfo(stream=STREAM, last=3),), up=NOW - BOOTED)
    assert await greet(store, "pc-01", said, NOW) == BOOTED
    assert (await store.snapshot()).pcs[0].hello == said
