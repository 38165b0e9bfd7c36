"""What every store answers about boards, ports and PCs, and how it rolls up, on every store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd_collector.fleet_view import REFRESH_S, STALE_INTERVALS
from boardherd_collector.freshness import LEAST_S
from boardherd_collector.rollups import HOUR, STEPS, hour_of
from boardherd_collector.stores.base import BoardFilter, Store
from boardherd_shared.command import State
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import Blame, Health, Verdict
from support.stores import KINDS, greet, opened
from support.telemetry import NOW, SECOND, board, event, hello, host, lab, received, step

MINUTE, DAY = 60 * SECOND, 86400 * SECOND
H = hour_of(NOW)
FOREVER = 0
"""A window that every hour lies in."""


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request.param, request, tmp_path) as store:
        await store.sync_inventory(lab(), NOW)
        yield store


def database_does_it(store: Store) -> None:
    """Skip what a database with policies of its own does in its own time; its own tests are about that."""
    if store.upkeep.startswith("TimescaleDB rolls samples up"):
        pytest.skip("continuous aggregates and their policies do this, see test_timescale_objects.py")


async def commit(store: Store, seq: int, *records: Any, at: int = NOW, **header: Any) -> None:
    result = await store.commit([received(seq, *records, received_at=at, **header)])
    assert result.dead_letters == 0


async def roll_up(store: Store, window_from: int = FOREVER) -> int:
    done = 0
    while True:
        result = await store.roll_up(window_from, 0.0)
        done += result.hours
        if result.left == 0:
            return done


async def hours(store: Store, name: str = "evm-07", since: int = H, until: int = H + HOUR) -> list[float]:
    (row,) = [row for row in await store.report(since, until) if row.board == name]
    return [row.alive_h, row.dead_h, row.off_h, row.other_h]


async def test_samples_are_rolled_up_by_five_minutes_hours_and_days(store: Store) -> None:
    day = H - H % DAY
    samples = [
        host(day + HOUR + minute * MINUTE, cpu_percent=float(minute), disk_used=minute * 10**9)
        for minute in range(12)
    ]
    next_hour = host(day + 2 * HOUR, cpu_percent=100, status=Health.CRITICAL)
    await commit(store, 1, *samples, next_hour, at=day + 3 * HOUR)
    await commit(store, 1, host(day + HOUR), agent="pc-02", stream="b" * 32, at=day + 3 * HOUR)
    await roll_up(store)
    five = await store.host_trend("pc-01", 0, "5m")
    assert [(row.timestamp - (day + HOUR) / SECOND, row.samples) for row in five] == [
        (0, 5),
        (300, 5),
        (600, 2),
        (3600, 1),
    ]
    assert five[1].gauges["cpu_percent"].model_dump() == {"avg": 7, "min": 5, "max": 9}
    assert five[1].gauges["disk_used_gb"].max == 9
    assert five[0].tops["memory_total_gb"] == 16
    one, two = await store.host_trend("pc-01", 0, "1h")
    assert (one.samples, one.healthy, one.critical, two.critical) == (12, 12, 0, 1)
    assert one.gauges["cpu_percent"].model_dump() == {"avg": 5.5, "min": 0, "max": 11}
    (whole,) = await store.host_trend("pc-01", 0, "1d")
    assert (whole.timestamp, whole.samples) == (day / SECOND, 13)
    assert whole.gauges["cpu_percent"].avg == pytest.approx((5.5 * 12 + 100) / 13)
    assert [row.timestamp for row in await store.host_trend("pc-01", day + HOUR + 1, "1h")] == [
        day / SECOND + 7200
    ]
    assert len(await store.host_trend("pc-01", 0, "5m", limit=1)) == 1
    assert await store.host_trend("pc-77", 0, "5m") == []


async def test_a_late_record_makes_its_rollup_anew(store: Store) -> None:
    await commit(store, 1, host(H, cpu_percent=10))
    await roll_up(store)
    await commit(store, 2, host(H + SECOND, cpu_percent=30))
    await roll_up(store)
    (row,) = await store.host_trend("pc-01", 0, "1h")
    assert (row.samples, row.gauges["cpu_percent"].avg) == (2, 20)


async def test_a_rollup_is_never_lost_with_the_rows_it_was_made_of(store: Store) -> None:
    """Neither when they are deleted, nor when a record comes for their hour after that."""
    old = H - 20 * DAY
    await commit(store, 1, *[host(old + second * SECOND) for second in range(5)], board(old))
    await roll_up(store)
    while await store.prune(H - 10 * DAY, 3):
        pass
    assert (await store.counts()).rows["pc_stats"] == 0
    await commit(store, 2, host(old + MINUTE), board(old + MINUTE, Verdict.SILENT), host(old - HOUR))
    await roll_up(store, window_from=H - 10 * DAY)
    rows = await store.host_trend("pc-01", 0, "1h")
    assert [(row.timestamp, row.samples) for row in rows] == [((old - HOUR) / SECOND, 1), (old / SECOND, 5)]
    assert [row.samples for row in await store.host_trend("pc-01", 0, "5m")] == [1, 5]
    assert await hours(store, since=old, until=old + HOUR) == pytest.approx([0.05, 0, 0, 0])


async def test_rolling_up_goes_on_where_it_stopped(store: Store) -> None:
    await commit(store, 1, *[board(H - number * HOUR, change=False) for number in range(5)])
    first = await store.roll_up(FOREVER, 0.0)
    assert (first.hours, first.left) == (1, 4)
    assert (await store.roll_up(FOREVER, 60.0)).left == 0
    assert (await store.roll_up(FOREVER, 60.0)).hours == 0
    assert await hours(store, since=H - 4 * HOUR) == pytest.approx([0.25, 0, 0, 0])


async def test_five_minute_rollups_are_deleted_by_age_and_in_slices(store: Store) -> None:
    database_does_it(store)
    await commit(store, 1, *[host(H - number * 5 * MINUTE) for number in range(5)])
    await roll_up(store)
    before = H - 2 * STEPS["5m"]
    assert [await store.prune_rollups(before, 1) for _ in range(3)] == [1, 1, 0]
    assert len(await store.host_trend("pc-01", 0, "5m")) == 3
    assert sum(row.samples for row in await store.host_trend("pc-01", 0, "1h")) == 5


async def test_hours_by_verdict_outlive_the_history_they_were_made_of(store: Store) -> None:
    """On every store, whoever rolls samples up."""
    old = H - 20 * DAY
    await commit(store, 1, board(old))
    await roll_up(store)
    while await store.prune(H - 10 * DAY, 3):
        pass
    await commit(store, 2, board(old + MINUTE, Verdict.SILENT))
    await roll_up(store, window_from=H - 10 * DAY)
    assert await hours(store, since=old, until=old + HOUR) == pytest.approx([0.05, 0, 0, 0])


async def test_verdicts_count_by_the_hour_as_long_as_they_are_confirmed(store: Store) -> None:
    """An hour of an agent that speaks is full; one that falls silent leaves the rest to nobody."""
    first = [board(H)] + [board(H + minute * MINUTE, change=False) for minute in range(1, 60)]
    second = [
        board(H + HOUR + minute * MINUTE, Verdict.SILENT, change=minute == 10) for minute in range(10, 20)
    ]
    await commit(store, 1, *first, at=H + HOUR)
    await commit(store, 2, *second, at=H + 2 * HOUR)
    await roll_up(store)
    assert await hours(store) == [1, 0, 0, 0]
    # 59 min past counts for two more minutes; 10 min past to 19 min past, and two more.
    assert await hours(store, since=H + HOUR, until=H + 2 * HOUR) == pytest.approx(
        [120 / 3600, 720 / 3600, 0, 0]
    )
    assert await hours(store, since=H, until=H + 2 * HOUR) == pytest.approx([1 + 120 / 3600, 0.2, 0, 0])
    assert await hours(store, "evm-08") == [0, 0, 0, 0]


async def test_late_verdicts_change_the_hours_that_rest_on_them(store: Store) -> None:
    """The order in which records arrive does not matter: newest first is how agents send."""
    minutes = [board(H + HOUR + minute * MINUTE, Verdict.ALIVE, change=False) for minute in range(60)]
    await commit(store, 2, *minutes, at=H + 2 * HOUR)
    await roll_up(store)
    assert await hours(store, since=H + HOUR, until=H + 2 * HOUR) == [1, 0, 0, 0]
    off = board(H + 30 * MINUTE, Verdict.POWERED_OFF), board(H + HOUR + 15 * MINUTE, Verdict.ALIVE)
    await commit(store, 1, *off, at=H + 2 * HOUR)
    await roll_up(store)
    late = await hours(store, since=H, until=H + 2 * HOUR)
    keyframe = await store.board_history("evm-07", 0)
    assert late == pytest.approx([1, 0, 0.05, 0])
    assert [row.verdict for row in keyframe] == [Verdict.POWERED_OFF, Verdict.ALIVE, Verdict.ALIVE]


async def test_a_late_change_counts_until_the_next_entry_in_a_later_hour(store: Store) -> None:
    begin = H + 10 * MINUTE
    minutes = [board(begin + minute * MINUTE, change=minute == 0) for minute in range(110)]
    await commit(store, 2, *minutes, at=H + 2 * HOUR)
    await roll_up(store)
    assert await hours(store, since=H, until=H + 2 * HOUR) == pytest.approx([110 / 60, 0, 0, 0])
    await commit(store, 1, board(H + 50 * MINUTE, Verdict.SILENT), at=H + 2 * HOUR)
    await roll_up(store)
    # The keyframe of 10 min past says anew that it was alive.
    assert await hours(store) == pytest.approx([40 / 60, 10 / 60, 0, 0])
    assert await hours(store, since=H + HOUR, until=H + 2 * HOUR) == pytest.approx([50 / 60, 10 / 60, 0, 0])


async def test_a_foreign_verdict_counts_nowhere_and_stays_in_history(store: Store) -> None:
    """SEC-1: it neither changes the hours nor takes the place of the owner's next entry."""
    await commit(store, 1, board(H))
    foreign = [board(H + minute * MINUTE, Verdict.SILENT) for minute in (1, 2)]
    await commit(store, 1, *foreign, agent="pc-02", stream="b" * 32)
    await commit(store, 2, board(H + 61 * MINUTE, change=False), at=H + 2 * HOUR)
    await roll_up(store)
    assert await hours(store, since=H, until=H + 2 * HOUR) == pytest.approx([0.1, 0, 0, 0])
    told = [(row.pc, row.contested, row.change) for row in await store.board_history("evm-07", 0)]
    assert told == [
        ("pc-01", False, True),
        ("pc-02", True, True),
        ("pc-02", True, True),
        ("pc-01", False, False),
    ]


async def test_the_history_of_a_board_begins_with_what_held(store: Store) -> None:
    changes = [Verdict.ALIVE, Verdict.SILENT, Verdict.POWERED_OFF, Verdict.BOOTING]
    records = [board(H + place * MINUTE, verdict, reason=verdict) for place, verdict in enumerate(changes)]
    await commit(store, 1, *records)

    async def since(at: int, limit: int = 10) -> list[str]:
        return [row.verdict.value for row in await store.board_history("evm-07", at, limit)]

    assert await since(H + 90 * SECOND) == ["silent", "powered_off", "booting"]
    assert await since(H + 90 * SECOND, 2) == ["powered_off", "booting"]
    assert await since(H - HOUR) == ["alive", "silent", "powered_off", "booting"]
    assert await since(H + DAY) == ["booting"]
    assert await store.board_history("evm-77", 0) == []


async def test_free_boards_are_found_by_what_they_can_do(store: Store) -> None:
    now = round(time.time() * SECOND)
    await commit(store, 1, host(now), board(now), board(now, name="evm-08"), at=now)

    async def found(**wanted: Any) -> list[str]:
        return [row.id for row in await store.boards(BoardFilter(**wanted))]

    assert await found(available=True) == ["evm-07"]
    assert await found(available=True, platform="j721e", capabilities=("CAMERA",)) == ["evm-07"]
    assert await found(capabilities=("CAMERA", "CMD")) == ["evm-07"]
    assert await found(capabilities=("CAMERA", "SOUND")) == []
    assert await found(available=True, platform="am62x") == []
    assert await found(test_farm="RTOS") == ["evm-08"]
    assert await found(pc="pc-01") == ["evm-07"]
    assert await found() == ["evm-07", "evm-08"]
    assert await found(locked=True) == []


async def test_everything_about_a_board_is_told(store: Store) -> None:
    now = round(time.time() * SECOND)
    since = now - MINUTE
    await commit(
        store, 1, host(now), board(now, reason="ssh answers").model_copy(update={"since": since}), at=now
    )
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert (row.name, row.platform, row.test_farm, row.test_pc) == ("J721E_EVM #7", "j721e", "HLOS", "pc-01")
    assert (row.relay, row.relay_number, row.capabilities) == ("eth-1", 3, ("CAMERA", "CMD"))
    assert (row.status, row.verdict, row.is_alive, row.is_healthy) == (
        BoardStatus.IDLE,
        Verdict.ALIVE,
        True,
        True,
    )
    assert (row.can_execute_test, row.is_locked, row.device_type) == (True, False, "EVM")
    assert (row.since, row.last_heartbeat_at, row.reason) == (since / SECOND, now / SECOND, "ssh answers")
    (other,) = await store.boards(BoardFilter(board="evm-08"))
    assert (other.status, other.verdict, other.blame, other.since) == (
        BoardStatus.OFFLINE,
        Verdict.UNKNOWN,
        None,
        None,
    )


async def test_dead_boards_are_told_with_the_part_to_blame(store: Store) -> None:
    """One that nobody confirms any more is its agent's fault; one switched off on purpose is nobody's."""
    now = round(time.time() * SECOND)

    def since(minutes: int, verdict: Verdict, blame: Blame, name: str, at: int = now) -> Any:
        record = board(at, verdict, name=name, blame=blame)
        return record.model_copy(update={"since": now - minutes * MINUTE})

    await commit(
        store,
        1,
        since(90, Verdict.SILENT, Blame.BOARD, "evm-07"),
        since(90, Verdict.POWERED_OFF, Blame.NOBODY, "evm-off"),
        since(30, Verdict.SILENT, Blame.RELAY, "evm-new"),
        since(300, Verdict.ALIVE, Blame.NOBODY, "evm-gone", at=now - 2 * HOUR),
        since(300, Verdict.ALIVE, Blame.NOBODY, "evm-well"),
        at=now,
    )

    async def dead(seconds: float) -> dict[str, str | None]:
        return {row.id: row.blame for row in await store.boards(BoardFilter(dead_for_s=seconds))}

    assert await dead(3600) == {"evm-07": "board", "evm-gone": "agent"}
    assert await dead(60) == {"evm-07": "board", "evm-gone": "agent", "evm-new": "relay"}
    assert await dead(10 * 3600) == {}
    (gone,) = await store.boards(BoardFilter(board="evm-gone"))
    assert (gone.verdict, gone.since) == (Verdict.UNKNOWN, (now - 2 * HOUR + 3 * MINUTE) / SECOND)


@pytest.mark.parametrize(
    ("interval", "ago", "alive"),
    [
        (None, 25, True),
        (None, 40, False),
        (60.0, 40, True),
        (60.0, 170, True),
        (1.0, 1, True),
        (1.0, 10, False),
    ],
)
async def test_the_word_of_an_agent_counts_by_its_own_interval(
    store: Store, interval: float | None, ago: int, alive: bool
) -> None:
    """Three of the intervals that its hello names; of an agent that has not said, ten seconds each."""
    heard = round(time.time() * SECOND) - ago * SECOND
    if interval is not None:
        await greet(store, "pc-01", hello(boot="boot-0", sample_interval_s=interval), heard)
    await commit(store, 1, host(heard), board(heard), at=heard)
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert (row.is_alive, row.can_execute_test) == (alive, alive)
    if not alive:
        silent_at = heard / SECOND + max(STALE_INTERVALS * (interval or 10), LEAST_S)
        assert (row.verdict, row.blame, row.since) == (Verdict.UNKNOWN, Blame.AGENT, silent_at)
        assert row.reason == "its agent is silent"


async def test_a_verdict_counts_for_three_minutes_however_seldom_its_agent_samples(store: Store) -> None:
    now = round(time.time() * SECOND)
    told, confirmed_s = now - 4 * MINUTE, STALE_INTERVALS * REFRESH_S
    await greet(store, "pc-01", hello(boot="boot-0", sample_interval_s=600.0), told)
    await commit(store, 1, host(told), board(told), at=told)
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert (row.verdict, row.since) == (Verdict.UNKNOWN, told / SECOND + confirmed_s)
    assert row.reason == "not confirmed for 3 min and more"
    await commit(store, 2, board(now, change=False), at=now)
    (row,) = await store.boards(BoardFilter(board="evm-07"))
    assert row.verdict is Verdict.ALIVE


async def test_an_absurd_interval_does_no_harm(store: Store) -> None:
    """SEC-2: no arithmetic of the database fails over what an agent says of itself."""
    now = round(time.time() * SECOND)
    for interval in (1e300, 1e-300):
        await greet(store, "pc-01", hello(boot="boot-0", sample_interval_s=interval), now)
        await commit(store, 1, host(now), board(now), at=now)
        (row,) = await store.boards(BoardFilter(board="evm-07"))
        assert row.is_alive


async def test_who_switched_a_port_is_told_with_the_reason(store: Store) -> None:
    def ended(id_: str, target: str, at: int, state: State = State.SUCCEEDED, **values: Any) -> Any:
        return step(state, at, id_=id_, target=target, **values)

    await commit(
        store,
        1,
        ended("c-1", "board/evm-07", H, operator="ci", reason="nightly", on_behalf_of="maria"),
        ended("c-2", "relay/eth-1/3", H + 1, operator="ops1", reason="stuck"),
        ended("c-3", "relay/eth-1/4", H + 2),
        ended("c-4", "board/evm-08", H + 3),
        ended("c-5", "board/evm-07", H + 4, state=State.REFUSED),
        ended("c-6", "relay/eth-1/33", H + 5),
        ended("c-7", "board/evm-07", H + 6, state=State.FAILED),
    )
    rows = await store.switches("eth-1", 3)
    assert [row.id for row in rows] == ["c-7", "c-2", "c-1"]
    assert (rows[2].operator, rows[2].reason, rows[2].on_behalf_of) == ("ci", "nightly", "maria")
    assert [row.id for row in await store.switches("eth-1", 3, limit=1)] == ["c-7"]
    assert await store.switches("eth-9", 3) == []


async def test_power_cycles_are_counted_with_their_success(store: Store) -> None:
    ends = [State.SUCCEEDED, State.FAILED, State.SUCCEEDED, State.REFUSED, State.INTERRUPTED, State.ACCEPTED]
    steps = [step(state, H + place, id_=f"c-{place}") for place, state in enumerate(ends)]
    other = step(State.SUCCEEDED, H, id_="o-1", action="off"), step(State.SUCCEEDED, H - DAY, id_="o-2")
    await commit(store, 1, *steps, *other)
    (row, idle) = await store.report(H - HOUR, H + HOUR)
    assert (row.board, row.cycles, row.cycles_succeeded) == ("evm-07", 4, 2)
    assert (row.pc, row.platform, row.test_farm) == ("pc-01", "j721e", "HLOS")
    assert (idle.board, idle.cycles) == ("evm-08", 0)


async def test_boards_are_summed_up_by_farm_and_by_platform(store: Store) -> None:
    now = round(time.time() * SECOND)
    await commit(store, 1, host(now), board(now), at=now)
    farms = await store.summary("test_farm")
    assert [(row.name, row.boards, row.alive, row.available, row.offline) for row in farms] == [
        ("HLOS", 1, 1, 1, 0),
        ("RTOS", 1, 0, 0, 1),
    ]
    assert [row.name for row in await store.summary("platform")] == ["am62x", "j721e"]


async def test_a_disk_that_fills_is_told_with_the_day(store: Store) -> None:
    """One GB an hour, 100 GB left: full in 100 hours."""

    def at(hour: int, used: float, free: float) -> Any:
        return host(H - hour * HOUR, disk_used=round(used * 1e9), disk_free=round(free * 1e9))

    await commit(store, 1, *[at(hour, 400 - hour, 100 + hour) for hour in range(48)])
    await commit(store, 1, *[at(hour, 300, 200) for hour in range(48)], agent="pc-02", stream="b" * 32)
    await roll_up(store)
    (row,) = await store.disks(7 * 86400, H - 7 * DAY)
    assert (row.pc, row.free_gb) == ("pc-01", 100)
    assert row.gb_per_day == pytest.approx(24)
    assert row.full_at == pytest.approx(H / SECOND + 100 * 3600)
    assert await store.disks(3 * 86400, H - 7 * DAY) == []
    assert await store.disks(7 * 86400, H - HOUR) == [], "two points make no line to believe"


async def test_nothing_was_deleted_so_nothing_is_forgotten(store: Store) -> None:
    await commit(store, 1, host(), event())
    assert await store.forget_deleted(100) == 0
    assert (await store.counts()).rows["pc_stats"] == 1
