"""The spool database against real SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardherd_agent.delivery import eviction
from boardherd_agent.delivery.database import SpoolDatabase
from boardherd_agent.delivery.envelopes import Key
from boardherd_shared.messages import MAX_PAYLOAD, Envelope, decode, digest
from boardherd_shared.records import EventRecord
from support.delivery import Database, HandClock, event, host

MIB = 1024 * 1024


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def spool(tmp_path: Path, clock: HandClock) -> Iterator[SpoolDatabase]:
    database = opened(tmp_path, clock)
    yield database
    database.close()


def opened(
    directory: Path, clock: HandClock, *, max_bytes: int = 64 * MIB, machine: str = "m"
) -> SpoolDatabase:
    return SpoolDatabase(
        directory / "spool.db", agent="pc-01", clock=clock, max_bytes=max_bytes, machine=machine
    )


def drain(spool: SpoolDatabase, database: Database) -> None:
    while envelope := spool.oldest(()):
        database.take(envelope.payload)
        spool.acknowledge([envelope.key])


def test_an_envelope_is_what_the_wire_contract_says(spool: SpoolDatabase, clock: HandClock) -> None:
    (key,) = spool.append("samples", [host(1), host(2)])
    spooled = spool.load(key)
    assert spooled
    envelope = decode(Envelope, spooled.payload)
    assert (envelope.agent, envelope.stream, envelope.seq) == ("pc-01", spool.stream, 1)
    assert (envelope.class_, envelope.boot) == ("samples", clock.boot)
    assert [r.thread_count for r in envelope.records if r.kind == "host"] == [1, 2]


def test_numbers_go_on_after_a_restart_and_are_never_given_twice(tmp_path: Path, clock: HandClock) -> None:
    """DEL-1: a number names one envelope for ever, even when the newest were evicted."""
    spool = opened(tmp_path, clock)
    first = [spool.append("events", [event("a")])[0].seq for _ in range(3)]
    spool.acknowledge([Key(spool.stream, 3)])
    spool.shed()
    stream = spool.stream
    spool.close()
    spool = opened(tmp_path, clock)
    assert spool.stream == stream
    assert first == [1, 2, 3]
    assert spool.append("events", [event("b")]) == [Key(stream, 4)]
    spool.close()


def test_too_much_for_one_envelope_is_split(spool: SpoolDatabase) -> None:
    keys = spool.append("events", [event(f"{n}", padding=450) for n in range(3000)])
    seen = []
    for key in keys:
        spooled = spool.load(key)
        assert spooled
        assert len(spooled.payload) <= MAX_PAYLOAD
        seen += [r.subject for r in decode(Envelope, spooled.payload).records if isinstance(r, EventRecord)]
    assert seen == [f"{n}" for n in range(3000)]
    assert [key.seq for key in keys] == list(range(1, len(keys) + 1))


def test_order_of_sending_and_exclusion(spool: SpoolDatabase) -> None:
    keys = [spool.append("samples", [host(n)])[0] for n in range(4)]
    assert spool.oldest(()).key == keys[0]  # type: ignore[union-attr]
    assert spool.newest(()).key == keys[3]  # type: ignore[union-attr]
    assert spool.oldest(keys[:2]).key == keys[2]  # type: ignore[union-attr]
    assert spool.newest(keys[2:]).key == keys[1]  # type: ignore[union-attr]
    assert spool.oldest(keys) is None


def test_an_acknowledgement_counts_once_and_keeps_the_envelope(spool: SpoolDatabase) -> None:
    (key,) = spool.append("samples", [host(1)])
    assert spool.acknowledge([key, key, Key(spool.stream, 99), Key("0" * 32, 1)]) == 1
    assert spool.acknowledge([key]) == 0
    assert spool.totals().pending == 0
    assert spool.totals().acknowledged == 1
    assert spool.describe()[0].retained == ((1, 1),)


def test_a_restored_database_gets_its_envelopes_again(spool: SpoolDatabase) -> None:
    """DEL-1: what was acknowledged and is gone from the database is sent again."""
    keys = [spool.append("samples", [host(n)])[0] for n in range(5)]
    spool.acknowledge(keys)
    assert spool.resume(spool.stream, [(2, 3), (5, 2**60)]) == 3
    assert [spool.load(key) is not None for key in keys] == [False, True, True, False, True]


def test_what_neither_side_has_is_declared_lost_once(spool: SpoolDatabase) -> None:
    """DEL-1: acknowledged, evicted here, then lost there: reported with its range."""
    keys = [spool.append("samples", [host(n)])[0] for n in range(5)]
    spool.acknowledge(keys[:3])
    spool.shed()
    spool.resume(spool.stream, [(1, 5)])
    spool.resume(spool.stream, [(1, 5)])
    database = Database()
    drain(spool, database)
    assert [(o.first, o.last) for o in database.learned()] == [(1, 3)]


def test_a_wrong_fingerprint_refuses_nothing(spool: SpoolDatabase) -> None:
    (key,) = spool.append("events", [event("a")])
    assert spool.refuse(key, "0" * 64, "invalid") == "ignored"
    assert spool.totals().pending == 1


def test_a_refused_envelope_is_parked_and_unsupported_ones_are_tried_again_at_the_next_start(
    tmp_path: Path, clock: HandClock
) -> None:
    spool = opened(tmp_path, clock)
    keys = [spool.append("events", [event("a")])[0] for _ in range(3)]
    prints = [digest(spool.load(key).payload) for key in keys]  # type: ignore[union-attr]
    assert spool.refuse(keys[0], prints[0], "invalid") == "parked"
    assert spool.refuse(keys[1], prints[1], "unsupported") == "parked"
    spool.park(keys[2])
    assert (spool.totals().pending, spool.totals().parked) == (0, 3)
    spool.close()
    spool = opened(tmp_path, clock)
    assert (spool.totals().pending, spool.totals().parked) == (2, 1)
    spool.close()


def test_a_conflict_moves_the_records_to_a_new_stream(spool: SpoolDatabase) -> None:
    """DEL-1: a cloned spool loses nothing, because the number and not the record is taken."""
    taken, free = (spool.append("events", [event(tag)])[0] for tag in ("taken", "free"))
    old = spool.stream
    payload = spool.load(taken).payload  # type: ignore[union-attr]
    assert spool.refuse(taken, digest(payload), "conflict") == "rehomed"
    assert spool.stream != old
    assert spool.load(taken) is None
    assert spool.load(free)
    database = Database()
    drain(spool, database)
    assert database.tags() == {"taken": 1, "free": 1}
    assert spool.append("events", [event("later")])[0].stream == spool.stream
    spool.tidy(1e9)
    assert [info.stream for info in spool.describe()] == [old, spool.stream]


def test_a_spool_from_another_machine_goes_on_under_a_new_stream(tmp_path: Path, clock: HandClock) -> None:
    spool = opened(tmp_path, clock, machine="one")
    (key,) = spool.append("events", [event("a")])
    old = spool.stream
    spool.close()
    spool = opened(tmp_path, clock, machine="two")
    assert spool.stream != old
    assert spool.load(key)
    spool.close()
    spool = opened(tmp_path, clock, machine="two")
    assert len(spool.describe()) == 2
    spool.close()


def fill(spool: SpoolDatabase, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        spool.append("samples", [host(n)] * 20)


def test_the_bound_holds_and_acknowledged_envelopes_go_first(tmp_path: Path, clock: HandClock) -> None:
    """DEL-4: the files stay near the bound; nothing that is still needed goes while acknowledged ones are there."""
    spool = opened(tmp_path, clock, max_bytes=2 * MIB)
    for n in range(2000):
        (key,) = spool.append("samples", [host(n)] * 20)
        spool.acknowledge([key])
        assert spool.totals().size <= 2 * MIB
    assert spool.totals().acknowledged > 100
    database = Database()
    drain(spool, database)
    assert not database.learned()
    files = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert files < 2 * MIB + 16 * MIB
    spool.close()


def test_a_full_spool_evicts_the_oldest_samples_and_says_which(tmp_path: Path, clock: HandClock) -> None:
    """DEL-1, DEL-4: what is evicted unsent is declared lost, with exact counts."""
    spool = opened(tmp_path, clock, max_bytes=1 * MIB)
    for n in range(50):
        spool.append("events", [event(f"keep-{n}")])
        fill(spool, 20, n * 20)
    assert spool.totals().size <= 1 * MIB
    database = Database()
    drain(spool, database)
    tags = database.tags()
    assert all(tags[f"keep-{n}"] == 1 for n in range(50)), "events went before samples"
    lost = sum(o.records for o in database.learned())
    stored = sum(count for tag, count in tags.items() if not tag.startswith("keep"))
    assert lost > 0
    assert stored + lost == 50 * 20 * 20
    spool.close()


def test_a_flood_of_events_does_not_push_out_the_samples(tmp_path: Path, clock: HandClock) -> None:
    """DEL-1: each class pays for itself, and losses are declared even when the bearer of an older loss goes."""
    spool = opened(tmp_path, clock, max_bytes=1 * MIB)
    fill(spool, 10)
    for n in range(3000):
        spool.append("events", [event(f"e{n}", padding=500)])
    database = Database()
    drain(spool, database)
    tags = database.tags()
    assert all(tags[f"{n}"] == 20 for n in range(10))
    events = sum(count for tag, count in tags.items() if tag.startswith("e"))
    assert 0 < events < 3000
    assert events + sum(o.records for o in database.learned()) == 3000
    spool.close()


def test_age_counts_running_time_and_not_the_wall_clock(tmp_path: Path, clock: HandClock) -> None:
    spool = opened(tmp_path, clock)
    spool.append("samples", [host(1)])
    clock.advance(3600)
    spool.append("samples", [host(2)])
    spool.close()
    clock = HandClock(boot="boot-2", now=5_000_000)  # a reboot: time since boot starts again
    spool = opened(tmp_path, clock)
    spool.tidy(3600 + 60)
    assert spool.totals().pending == 2
    clock.advance(120)
    spool.tidy(3600 + 60)
    database = Database()
    drain(spool, database)
    assert database.tags() == {"2": 1}
    assert [(o.first, o.last, o.records) for o in database.learned()] == [(1, 1, 1)]
    spool.close()


def test_an_envelope_damaged_on_the_disk_is_declared_lost_and_not_sent(
    tmp_path: Path, clock: HandClock
) -> None:
    """DEL-1: the digest is checked before anything is sent."""
    spool = opened(tmp_path, clock)
    keys = [spool.append("events", [event(tag)])[0] for tag in ("a", "b", "c")]
    spool.close()
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        raw.execute("UPDATE envelopes SET payload = replace(payload, 'lifecycle', 'lifecyclf') WHERE seq = 2")
    raw.close()
    spool = opened(tmp_path, clock)
    assert spool.load(keys[1]) is None
    database = Database()
    drain(spool, database)
    assert database.tags() == {"a": 1, "c": 1}
    assert [(o.first, o.last, o.records) for o in database.learned()] == [(2, 2, 1)]
    spool.close()


def test_a_spool_with_many_holes_describes_itself_in_bounded_space(spool: SpoolDatabase) -> None:
    keys = [spool.append("samples", [host(n)])[0] for n in range(1000)]
    spool.acknowledge(keys[::2])
    spool.shed()
    (info,) = spool.describe()
    assert len(info.retained) == 200
    assert info.last == 1000
    assert all(any(a <= key.seq <= b for a, b in info.retained) for key in keys[1::2])


def test_a_failed_write_leaves_no_trace(tmp_path: Path, clock: HandClock) -> None:
    """DEL-1: no number is used up by an envelope that was not written."""
    spool = opened(tmp_path, clock)
    spool.append("events", [event("a")])
    spool._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        spool.append("events", [event(str(n), padding=500) for n in range(1000)])
    spool._db.execute("PRAGMA max_page_count = 100000")
    assert spool.accepted == {"event": 1}
    assert spool.append("events", [event("b")])[0].seq == 2
    spool.close()


def test_the_connection_is_set_up_for_durability(spool: SpoolDatabase) -> None:
    """DEL-1: written through to the disk with each commit, by one connection only."""
    ask = lambda name: spool._db.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: E731
    assert (ask("journal_mode"), ask("synchronous"), ask("auto_vacuum")) == ("wal", 2, 2)
    assert ask("locking_mode") == "exclusive"


def test_what_is_shed_goes_back_to_the_file_system(tmp_path: Path, clock: HandClock) -> None:
    """DEL-4: all of it, and by way of a log that does not grow with it."""
    spool = opened(tmp_path, clock)
    keys = [spool.append("events", [event("a", padding=500)] * 300)[0] for _ in range(40)]
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert (tmp_path / "spool.db").stat().st_size > 6 * MIB
    spool.acknowledge(keys[:20])
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    spool._db.execute("PRAGMA wal_autocheckpoint = 0")
    with spool._transaction():
        eviction.delete(spool._db, eviction.acknowledged(spool._db))
    assert (tmp_path / "spool.db-wal").stat().st_size < MIB, "deleted pages are not written once more"
    spool.acknowledge(keys)
    spool.shed()
    assert (tmp_path / "spool.db").stat().st_size < MIB // 2
    spool.close()
