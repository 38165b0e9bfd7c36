"""Hellos compared with the ledger: what is asked for, and what is settled because nobody can send it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from boardherd_collector.counters import Counters
from boardherd_collector.fleet import Fleet
from boardherd_collector.greeting import MAX_RANGES, Greeter, Heard, capped
from boardherd_collector.quota import StreamQuota
from boardherd_collector.stores.base import Commit, Greeted, Greeting, Received, StoreError
from boardherd_collector.stores.memory import MemoryStore
from boardherd_shared.messages import Range, StreamInfo, digest
from support.telemetry import NOW, SECOND, STREAM, hello, host, lab, loss, received

T = NOW / SECOND
MEMORY, DISK = "b" * 32, "d" * 32


def volatile(last: int, *retained: Range) -> StreamInfo:
    return StreamInfo(stream=MEMORY, retained=retained, last=last, volatile=True)


def on_disk(stream: str = DISK, last: int = 0, *retained: Range) -> StreamInfo:
    return StreamInfo(stream=stream, retained=retained, last=last)


class ForgetfulStore(MemoryStore):
    """Fails to keep hellos, or counts what is asked of it."""

    deaf = False

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[int] = []
        self.groups: list[int] = []

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        if self.deaf:
            raise StoreError("connection lost")
        self.rounds.append(len(greetings))
        return await super().greet(greetings)

    async def commit(self, group: Sequence[Received]) -> Commit:
        self.groups.append(len(group))
        return await super().commit(group)


class Rig:
    """A greeter before a store that outlives it."""

    def __init__(self, store: ForgetfulStore) -> None:
        self.store = store
        self.counters = Counters()
        self.fleet = Fleet(lab())
        self.greeter = Greeter(store, self.fleet, self.counters, StreamQuota(), self.commit)

    async def commit(self, group: list[Received]) -> Commit:
        return await self.store.commit(group)

    async def say(
        self, *streams: StreamInfo, agent: str = "pc-01", **other: object
    ) -> dict[str, tuple[Range, ...]]:
        said = hello(agent, streams=streams, **other)  # type: ignore[arg-type]
        (missing,) = await self.greeter.answer([Heard(agent, said, T)])
        return missing

    async def stored(self, stream: str, *seqs: int, agent: str = "pc-01") -> None:
        await self.store.commit([received(seq, host(), agent=agent, stream=stream) for seq in seqs])

    async def lost(self) -> list[tuple[str, int, int, int]]:
        return [(row.stream, row.first, row.last, row.envelopes) for row in await self.store.losses()]


@pytest.fixture
async def rig() -> Rig:
    store = ForgetfulStore()
    await store.sync_inventory(lab(), NOW)
    return Rig(store)


async def test_what_was_in_memory_only_is_lost_with_its_agent(rig: Rig) -> None:
    """DEL-1: the next hello does not name the stream, and nobody can send the rest of it."""
    await rig.say(on_disk(), volatile(3, (1, 3)))
    await rig.say(on_disk(), volatile(9, (4, 9)))
    await rig.stored(MEMORY, 1, 2, 3, 5, 11)
    assert await rig.lost() == []
    await rig.say(on_disk())
    assert await rig.lost() == [(MEMORY, 4, 10, 6)]
    (row,) = await rig.store.losses()
    assert "memory only" in row.reason
    assert rig.counters.envelopes_lost == 6
    assert await rig.store.missing("pc-01", MEMORY, [(1, 11)]) == ()
    await rig.say(on_disk())
    assert len(await rig.lost()) == 1, "it is said once"
    (told,) = [row.text for row in await rig.store.events() if row.event == "loss"]
    assert told.startswith("what the database lacks of envelopes 4 to 10 of stream bbbbbbbb is lost")


async def test_a_drained_stream_in_memory_ends_without_a_word(rig: Rig) -> None:
    await rig.say(on_disk(), volatile(2))
    await rig.stored(MEMORY, 1, 2)
    await rig.say(on_disk())
    assert await rig.lost() == []
    assert rig.counters.envelopes_lost == 0


async def test_another_collector_process_remembers_which_streams_there_were(rig: Rig) -> None:
    """DEL-1: the database keeps the newest hello of each agent."""
    await rig.say(on_disk(), volatile(2, (1, 2)))
    await Rig(rig.store).say(on_disk())
    assert await rig.lost() == [(MEMORY, 1, 2, 2)]


async def test_a_failure_in_between_declares_nothing_twice(rig: Rig) -> None:
    await rig.say(on_disk(), volatile(2, (1, 2)))
    rig.store.deaf = True
    with pytest.raises(StoreError):
        await rig.say(on_disk())
    rig.store.deaf = False
    await rig.say(on_disk())
    assert await rig.lost() == [(MEMORY, 1, 2, 2)]


async def test_a_stream_on_disk_is_gone_only_when_the_disk_is_there_without_it(rig: Rig) -> None:
    """DEL-1: a disk that cannot be opened today has everything tomorrow; one that was replaced has not."""
    await rig.say(on_disk(last=5))
    await rig.stored(DISK, 1)
    await rig.say(volatile(1, (1, 1)))
    assert await rig.lost() == []
    await rig.say(on_disk(last=5), volatile(1, (1, 1)))
    await rig.stored(MEMORY, 1)
    await rig.say(on_disk("e" * 32))
    assert await rig.lost() == [(DISK, 2, 5, 4)]
    assert "no longer has the spool" in (await rig.store.losses())[0].reason


async def test_losses_of_several_agents_and_times_do_not_get_into_each_others_way(rig: Rig) -> None:
    for agent, memory in (("pc-01", "1" * 32), ("pc-02", "2" * 32), ("pc-01", "3" * 32)):
        await rig.say(on_disk(), StreamInfo(stream=memory, last=2, volatile=True), agent=agent)
        await rig.say(on_disk(), agent=agent)
    assert sorted(stream[0] for stream, *_ in await rig.lost()) == ["1", "2", "3"]


async def test_a_round_of_hellos_costs_one_transaction_and_its_losses_another(rig: Rig) -> None:
    agents = [f"x-{number}" for number in range(20)]
    for agent in agents:
        rig.fleet.hello(agent, hello(agent), T, live=True)
        await rig.say(
            on_disk(), StreamInfo(stream=digest(agent.encode()), last=2, volatile=True), agent=agent
        )
    rig.store.rounds.clear()
    round_ = [Heard(agent, hello(agent, streams=(on_disk(last=3),)), T) for agent in agents]
    answers = await rig.greeter.answer(round_)
    assert answers == [{DISK: ((1, 3),)}] * 20
    assert (rig.store.rounds, rig.store.groups) == ([20], [20])
    assert len(await rig.lost()) == 20


async def test_a_hello_that_the_database_refuses_is_answered_and_counted(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-2, OPS-1."""
    poison = hello(streams=(on_disk(last=3),)).model_copy(update={"boot": "\ud800"})
    sound = hello("pc-02", streams=(on_disk("e" * 32, last=1),))
    answers = await rig.greeter.answer([Heard("pc-01", poison, T), Heard("pc-02", sound, T)])
    assert answers == [{DISK: ((1, 3),)}, {"e" * 32: ((1, 1),)}]
    assert rig.counters.rejected == {"hello": 1}
    assert "the database refuses a hello" in capsys.readouterr().out


async def test_what_the_agent_gave_out_and_nobody_has_is_asked_for_too(rig: Rig) -> None:
    """DEL-1: only the agent knows the reason, and declares it lost."""
    await rig.stored(STREAM, 1, 2, 8)
    missing = await rig.say(on_disk(STREAM, 10, (7, 9)))
    assert missing == {STREAM: ((3, 7), (9, 10))}


async def test_of_one_stream_too_many_only_what_is_held_is_asked_for(rig: Rig) -> None:
    streams = [on_disk(f"{number:032x}", 9, (8, 9)) for number in range(20)]
    missing = await rig.say(*streams)
    assert list(missing.values()) == [((1, 9),)] * 16 + [((8, 9),)] * 4


async def test_a_loss_that_was_told_is_not_asked_for(rig: Rig) -> None:
    await rig.store.commit([received(9, loss(1, 8))])
    assert await rig.say(on_disk(STREAM, 9, (9, 9))) == {STREAM: ()}


async def test_a_wrong_clock_is_logged_once_per_change(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    """OPS-1."""
    for wall in (NOW, 0, 0, NOW + 3600 * SECOND, NOW + SECOND, NOW):
        await rig.say(on_disk(), wall=wall)
    log = capsys.readouterr().out
    assert log.count("the clock of a test PC is off, its times are corrected") == 1
    assert log.count("the clock of a test PC is right again") == 1


@pytest.mark.parametrize("count", [MAX_RANGES, MAX_RANGES + 1, 3 * MAX_RANGES])
def test_a_capped_resume_asks_for_what_is_held_rather_than_for_what_is_gone(count: int) -> None:
    """DEL-1: what is stored and evicted would be called lost if it were asked for."""
    ranges = [(10 * place, 10 * place) for place in range(1, count + 1)]
    held = [(1, 10 * (count // 2) + 3), (10 * (count // 2) + 8, 10 * count + 9)]
    short = capped(ranges, held)
    assert len(short) == min(count, MAX_RANGES)
    gap = held[0][1] + 1
    assert not any(first <= gap <= last for first, last in short)


async def test_an_agent_cannot_open_streams_without_end() -> None:
    """SEC-2, SEC-3: each stream is a row for ever."""
    quota = StreamQuota(limit=3)
    assert quota.admit("a", {"1", "2"}, T)
    assert quota.admit("a", {"3"}, T)
    assert not quota.admit("a", {"4"}, T)
    assert quota.admit("a", {"1", "3"}, T)
    assert quota.admit("b", {"4"}, T), "each has its own"
    assert quota.admit("a", {"4"}, T + 86400), "tomorrow is another day"
