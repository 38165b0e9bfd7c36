"""Records that were taken into memory because the disk could not be written, and how they get back to it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boardherd_agent.delivery.envelopes import Key, Spooled
from boardherd_agent.delivery.store import Limits, SpoolStore
from boardherd_shared.messages import StreamInfo
from support.delivery import Database, HandClock, event

MIB = 1024 * 1024
LIMITS = Limits(max_bytes=16 * MIB, ballast_bytes=0)


class Pc:
    """A spool whose disk fails and works again at will, and the central database."""

    def __init__(self, place: Path, limits: Limits = LIMITS) -> None:
        self.place = place
        self.limits = limits
        self.clock = HandClock()
        self.database = Database()
        self.start()

    def start(self) -> None:
        self.spool = SpoolStore(self.place, agent="pc-01", clock=self.clock, limits=self.limits, machine="m")

    def write(self, *tags: str, padding: int = 0) -> None:
        for tag in tags:
            self.spool.append("events", [event(tag, self.clock, padding=padding)])

    def disk(self) -> sqlite3.Connection:
        assert self.spool._disk
        return self.spool._disk._db

    def disk_fails(self) -> None:
        """Have SQLite refuse every change from now on, as it does on a disk that went read-only."""
        self.disk().execute("PRAGMA query_only = ON")

    def disk_works(self) -> None:
        self.disk().execute("PRAGMA query_only = OFF")

    def disk_has_room_for(self, pages: int) -> None:
        """Have SQLite find the disk full after so many pages more."""
        (used,) = self.disk().execute("PRAGMA page_count").fetchone()
        self.disk().execute(f"PRAGMA max_page_count = {used + pages}")

    def time_passes(self, seconds: float = 11) -> None:
        self.clock.advance(seconds)
        self.spool.tidy()

    def hello(self) -> None:
        self.spool.resume({info.stream: self.database.missing(info) for info in self.spool.describe()})

    def deliver(self) -> None:
        while envelope := self.spool.oldest(()):
            self.database.take(envelope.payload)
            assert self.spool.acknowledge([envelope.key])

    def settle(self) -> None:
        """Say hello, and send what there is."""
        self.hello()
        self.deliver()

    def die(self) -> None:
        """End as after SIGKILL: nothing is taken anywhere any more."""
        for database in self.spool._databases():
            database.close()
        self.spool._lock.release()

    def streams(self) -> list[tuple[int, bool]]:
        return [(info.last, info.volatile) for info in self.spool.describe()]

    def tags(self) -> dict[str, int]:
        return dict(self.database.tags())


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[Pc]:
    """A PC with an empty spool."""
    pc = Pc(tmp_path / "spool")
    yield pc
    pc.die()


def everything_is_accounted_for(pc: Pc) -> None:
    """Check that every number of every stream is stored or declared lost."""
    pc.settle()
    assert [pc.database.missing(info) for info in pc.spool.describe()] == [[] for _ in pc.spool.describe()]
    assert max(pc.tags().values(), default=1) == 1, "stored twice"


def test_what_was_in_memory_is_on_the_disk_as_soon_as_that_can_be_written(pc: Pc) -> None:
    """DEL-1: the same bytes under the same numbers, which outlive a process that is killed."""
    pc.write("a")
    pc.disk_fails()
    pc.write("b", "c")
    in_memory = [pc.spool.load(key) for key in keys_of(pc.spool.describe()[-1])]
    assert pc.streams()[-1] == (3, True)
    pc.disk_works()
    pc.clock.advance(11)
    pc.write("d")
    assert pc.streams() == [(3, False), (3, False)]
    assert [pc.spool.load(envelope.key) for envelope in in_memory if envelope] == in_memory
    pc.die()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert pc.database.learned() == []
    pc.spool.close()


def keys_of(info: StreamInfo) -> list[Key]:
    return [Key(info.stream, seq) for first, last in info.retained for seq in range(first, last + 1)]


def test_what_is_on_its_way_when_it_moves_is_stored_once(pc: Pc) -> None:
    """DEL-1: sent from memory, acknowledged on the disk; or sent again from there, and known already."""
    pc.disk_fails()
    pc.write("a", "b", "c")
    sent: list[Spooled] = []
    while envelope := pc.spool.oldest([one.key for one in sent]):
        sent.append(envelope)
    pc.database.take(sent[0].payload)
    assert pc.spool.acknowledge([sent[0].key])
    for one in sent[1:]:
        pc.database.take(one.payload)
    pc.disk_works()
    pc.time_passes()
    pc.write("d")
    assert not any(info.volatile for info in pc.spool.describe())
    assert pc.spool.acknowledge([sent[1].key]), "the answer comes when it has moved"
    assert pc.spool.figures().acknowledged == 2
    pc.die()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "b": 1, "c": 1, "d": 1}
    pc.spool.close()


def test_new_numbers_are_never_those_of_the_stream_that_moved(pc: Pc) -> None:
    """DEL-1: the disk goes on with its own stream, and the next stand-in begins another one."""
    (own,) = pc.spool.describe()
    for tag in "ab":
        pc.disk_fails()
        pc.write(tag)
        pc.disk_works()
        pc.clock.advance(11)
        pc.write(f"{tag} after")
    assert pc.spool.describe()[-1].stream == own.stream
    assert len({info.stream for info in pc.spool.describe()}) == 3
    pc.spool.close()
    pc.start()
    (key,) = pc.spool.append("events", [event("c")])
    assert key.stream == own.stream
    everything_is_accounted_for(pc)
    pc.spool.close()


def test_a_stop_takes_it_to_the_disk(pc: Pc) -> None:
    """DEL-1: before the disk was tried again by itself."""
    pc.disk_fails()
    pc.write("a", "b")
    pc.disk_works()
    pc.spool.close()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "b": 1}
    assert pc.database.learned() == []
    pc.spool.close()


def test_a_stop_tries_once_more_to_find_a_disk(tmp_path: Path) -> None:
    """DEL-1: a directory that could not be made at the start can be made at the end."""
    obstacle = tmp_path / "spool"
    obstacle.write_text("in the way")
    pc = Pc(obstacle / "deeper")
    pc.write("a")
    obstacle.unlink()
    pc.spool.close()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1}
    pc.spool.close()


def test_a_stop_leaves_a_disk_alone_that_another_agent_has_taken(tmp_path: Path) -> None:
    """DEL-1: one file, one writer, to the very end."""
    obstacle = tmp_path / "spool"
    obstacle.write_text("in the way")
    pc, other = Pc(obstacle / "deeper"), Pc.__new__(Pc)
    pc.write("a")
    obstacle.unlink()
    other.__init__(obstacle / "deeper")  # type: ignore[misc]
    other.write("b")
    pc.spool.close()
    everything_is_accounted_for(other)
    assert other.tags() == {"b": 1}
    other.spool.close()


@pytest.mark.parametrize("ending", [SpoolStore.close, None], ids=["stopped", "killed"])
def test_what_dies_in_memory_is_declared_lost_though_nobody_heard_of_it(
    pc: Pc, ending: Callable[[SpoolStore], None] | None
) -> None:
    """DEL-1: the note beside the spool, which even a full disk takes, says how far it had come."""
    pc.write("a")
    pc.disk_fails()
    pc.write("b", "c")
    lost = pc.spool.describe()[-1].stream
    if ending:
        ending(pc.spool)
    else:
        pc.die()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1}
    assert [(o.stream, o.first, o.last) for o in pc.database.learned()] == [(lost, 1, 3)]
    assert any(b"or they were in memory only" in payload for payload in pc.database.stored.values())
    pc.spool.close()


def test_what_was_stored_out_of_memory_before_the_end_is_not_called_lost(pc: Pc) -> None:
    """DEL-1: which of the numbers are lost is for the database to say."""
    pc.disk_fails()
    pc.write("a")
    pc.deliver()
    pc.write("b")
    pc.die()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1}
    assert [(o.first, o.last) for o in pc.database.learned()] == [(3, 3)]
    pc.spool.close()


def test_what_lives_in_memory_is_not_missed_when_the_disk_is_found(tmp_path: Path) -> None:
    """DEL-1: the note names a stream that is alive; nothing of it is given up or called forgotten."""
    obstacle = tmp_path / "spool"
    obstacle.mkdir()
    (obstacle / "spool.db").mkdir()  # no file can be there, but the note can
    pc = Pc(obstacle)
    pc.write("a")
    assert (obstacle / "spool.tally").exists()
    (obstacle / "spool.db").rmdir()
    pc.time_passes()
    pc.write("b")
    assert not any(info.volatile for info in pc.spool.describe())
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "b": 1}
    assert not any(b"forgotten" in payload for payload in pc.database.stored.values())
    pc.spool.close()


def test_what_was_drained_out_of_memory_is_not_carried_to_the_disk(pc: Pc) -> None:
    pc.disk_fails()
    pc.write("a")
    pc.deliver()
    pc.disk_works()
    pc.clock.advance(11)
    pc.write("b")
    assert [last for last, _ in pc.streams()] == [2]
    pc.spool.close()


def test_age_and_order_move_too(pc: Pc) -> None:
    """An hour in memory counts as an hour."""
    pc.write("a")
    pc.deliver()
    pc.disk_fails()
    pc.write("b")
    pc.clock.advance(3600)
    pc.write("c")
    pc.disk_works()
    pc.time_passes()
    pc.write("d")
    assert pc.spool.figures().oldest_age_s == pytest.approx(3611)
    pc.spool.close()
    pc.limits = Limits(max_bytes=16 * MIB, ballast_bytes=0, max_age_s=3000)
    pc.start()
    pc.spool.tidy()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "c": 1, "d": 1}
    assert any("older than" in loss.reason for loss in pc.database.learned())
    pc.spool.close()


def test_what_was_put_aside_stays_aside_and_is_tried_again_at_the_next_start(pc: Pc) -> None:
    pc.disk_fails()
    (key,) = pc.spool.append("events", [event("a")])
    pc.spool.park(key)
    pc.disk_works()
    pc.time_passes()
    pc.write("b")
    figures = pc.spool.figures()
    assert (figures.parked, figures.pending) == (1, 3)
    pc.spool.close()
    pc.start()
    everything_is_accounted_for(pc)
    assert pc.tags() == {"a": 1, "b": 1}
    pc.spool.close()


def test_losses_that_memory_had_to_tell_of_are_told_again_when_their_bearer_is_lost(tmp_path: Path) -> None:
    """DEL-1, DEL-4: what memory gave up for want of space is known after the move as before, by exact count."""
    pc = Pc(tmp_path, Limits(max_bytes=MIB, ballast_bytes=0, memory_bytes=256 * 1024))
    pc.disk_fails()
    for n in range(120):
        pc.spool.append("events", [event(f"t{n}-{m}", pc.clock, padding=500) for m in range(6)])
    assert pc.spool.figures().lost
    pc.disk_works()
    pc.clock.advance(11)
    pc.write("after")
    pc.disk_works()
    for n in range(300):  # enough to push out what came from memory, and what tells of its losses
        pc.spool.append("events", [event(f"u{n}-{m}", pc.clock, padding=500) for m in range(6)])
    everything_is_accounted_for(pc)
    stored = pc.database.tags()
    own = 2  # in memory, and back again
    assert sum(
        o.records for o in pc.database.learned()
    ) == 120 * 6 + 300 * 6 + 1 + own - stored.total() - sum(
        b"kept in memory" in payload or b"can be written again" in payload
        for payload in pc.database.stored.values()
    )
    pc.spool.close()


def test_the_bound_holds_while_memory_comes_home(tmp_path: Path) -> None:
    """DEL-4: a full spool gives up its oldest for what comes, and its files stay within 32 MiB of the bound."""
    pc = Pc(tmp_path, Limits(max_bytes=24 * MIB, ballast_bytes=0))
    untagged = event("", pc.clock, padding=500).model_copy(update={"event": "fault"})
    records = [untagged] * 350

    def append_up_to(size: int) -> None:
        while pc.spool.figures().bytes < size:
            pc.spool.append("events", records)

    append_up_to(23 * MIB)
    pc.disk_fails()
    append_up_to((23 + 12) * MIB)
    pc.disk_works()
    pc.clock.advance(11)
    pc.spool.append("events", records)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= (24 + 32) * MIB
    assert not any(info.volatile for info in pc.spool.describe())
    assert pc.spool.figures().bytes <= 24 * MIB + MIB
    lost = pc.spool.figures().lost
    everything_is_accounted_for(pc)
    assert sum(o.last - o.first + 1 for o in pc.database.learned()) == lost > 0
    assert sum(o.records for o in pc.database.learned()) == 350 * lost
    pc.spool.close()


def test_a_move_that_fails_half_way_has_not_begun(pc: Pc) -> None:
    """DEL-1: all of it or nothing; a disk that takes new records and not the old ones keeps taking them."""
    pc.disk_fails()
    pc.write(*[f"t{n}" for n in range(50)], padding=500)
    pc.disk_works()
    pc.disk_has_room_for(6)
    pc.time_passes()
    pc.write("after")
    assert [info.volatile for info in pc.spool.describe()] == [False, True]
    assert not pc.spool.figures().volatile
    pc.time_passes()
    assert pc.spool.figures().pending == 50 + 1 + 2
    pc.disk_has_room_for(1000)
    pc.time_passes()
    assert [info.volatile for info in pc.spool.describe()] == [False, False]
    everything_is_accounted_for(pc)
    assert pc.tags() == {f"t{n}": 1 for n in range(50)} | {"after": 1}
    pc.spool.close()


def test_a_stop_saves_as_much_as_there_is_room_for(pc: Pc) -> None:
    """DEL-1: the oldest are given up, and the disk gets their losses with the rest, by exact count."""
    pc.disk_fails()
    for n in range(100):
        pc.spool.append("events", [event(f"t{n}-{m}", padding=500) for m in range(4)])
    pc.disk_works()
    pc.disk_has_room_for(60)
    pc.spool.close()
    pc.start()
    everything_is_accounted_for(pc)
    stored = pc.database.tags()
    assert 40 < stored.total() < 400
    assert stored["t99-3"] == 1, "the newest are kept"
    (loss,) = pc.database.learned()
    assert loss.reason == "there was no room on the disk"
    assert loss.records == 400 - stored.total() + 1, "one of them told that records are in memory"
    pc.spool.close()


def test_the_collector_is_told_at_once_that_nothing_is_in_memory_any_more(pc: Pc) -> None:
    """DEL-1: else it would take the stream for lost if a next start found no disk."""
    pc.disk_fails()
    pc.write("a")
    told = pc.spool.news()
    pc.disk_works()
    pc.clock.advance(11)
    pc.write("b")
    assert pc.spool.news() != told
    pc.spool.close()


def test_a_spool_that_is_damaged_while_records_are_in_memory(pc: Pc) -> None:
    """DEL-1: two faults at once."""
    pc.write(*[f"t{n}" for n in range(20)])
    pc.disk_fails()
    pc.write("a", "b")
    pc.disk_works()
    pc.disk().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    file = pc.place / "spool.db"
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    with file.open("r+b") as opened:
        opened.write(data)
    pc.disk().execute("PRAGMA shrink_memory")
    pc.clock.advance(11)
    pc.write("after")
    with contextlib.suppress(AssertionError):
        pc.time_passes()
    pc.write("later")
    pc.time_passes()
    assert not any(info.volatile for info in pc.spool.describe())
    everything_is_accounted_for(pc)
    tags = pc.tags()
    assert (tags["a"], tags["b"], tags["after"], tags["later"]) == (1, 1, 1, 1)
    pc.spool.close()
