"""The spool on a disk that fails in every way it can be made to."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_agent.delivery.files import SpoolBusyError
from boardherd_agent.delivery.store import Limits, SpoolStore
from support.delivery import Database, HandClock, event, host

MIB = 1024 * 1024
SMALL = Limits(max_bytes=16 * MIB, ballast_bytes=256 * 1024)


def opened(directory: Path, clock: HandClock | None = None, limits: Limits = SMALL) -> SpoolStore:
    return SpoolStore(directory, agent="pc-01", clock=clock or HandClock(), limits=limits, machine="m")


def hello(spool: SpoolStore, database: Database) -> None:
    """Have the spool hear what the database lacks."""
    spool.resume({info.stream: database.missing(info) for info in spool.describe()})


def drain(spool: SpoolStore, database: Database) -> None:
    while envelope := spool.oldest(()):
        database.take(envelope.payload)
        assert spool.acknowledge([envelope.key])


def everything(directory: Path) -> Database:
    """Return what a database gets from the spool in ``directory``."""
    database = Database()
    spool = opened(directory)
    drain(spool, database)
    spool.close()
    return database


@contextlib.contextmanager
def mounted(place: Path, megabytes: int) -> Iterator[Path]:
    """Have a file system of a few MiB inside the block."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root on Linux can mount a tmpfs to fill")
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", place], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that the log of a spool alone can fill."""
    with mounted(tmp_path / "disk", 4) as place:
        yield place


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a spool, its log and its ballast."""
    with mounted(tmp_path / "disk", 24) as place:
        yield place


def test_a_second_agent_is_refused_in_words(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(SpoolBusyError, match=rf"another agent uses this spool \(process {os.getpid()}\)"):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


APPENDER = """
import sys
from pathlib import Path
from support.delivery import HandClock, event, host
from boardherd_agent.delivery.store import Limits, SpoolStore
spool = SpoolStore(Path(sys.argv[1]), agent="pc-01", clock=HandClock(), limits=Limits(ballast_bytes=0), machine="m")
number = int(sys.argv[2])
while True:
    spool.append("events", [event(f"t{number}", padding=300)])
    sys.stdout.write(f"t{number}\\n")
    sys.stdout.flush()
    number += 1
    if number % 7 == 0 and (envelope := spool.oldest(())):
        spool.acknowledge([envelope.key])
"""


def test_kill_9_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    """DEL-1: what append returned for is there after the process was killed in the middle of its work."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    accepted: list[str] = []
    wait = random.Random(7)
    for life in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", APPENDER, tmp_path, str(life * 1_000_000)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert process.stdout
        accepted += [process.stdout.readline().strip() for _ in range(wait.randint(5, 60))]
        process.send_signal(signal.SIGKILL)
        accepted += process.stdout.read().split()  # said before it died, so accepted too
        process.stdout.close()
        process.wait(10)
    assert accepted[0]
    spool = opened(tmp_path)
    (info,) = spool.describe()
    database = Database()
    spool.resume({info.stream: info.retained})
    drain(spool, database)
    assert info.retained == ((1, info.last),), "numbers without a gap"
    stored = database.tags()
    assert [tag for tag in accepted if stored[tag] != 1] == []
    assert sum(stored.values()) <= len(accepted) + 4, "one unconfirmed record a life at most"
    spool.close()


DAMAGES = {
    "header": lambda data: b"garbage!" * 2 + data[16:],
    "first page": lambda data: os.urandom(4096) + data[4096:],
    "middle": lambda data: data[: len(data) // 2] + os.urandom(8192) + data[len(data) // 2 + 8192 :],
    "truncated": lambda data: data[: len(data) // 3],
    "empty": lambda data: b"",
    "random": lambda data: os.urandom(len(data)),
    "not ours": lambda data: b"hello, I am a text file\n" * 300,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_spool_is_put_aside_and_work_goes_on(tmp_path: Path, damage: str) -> None:
    """DEL-1: what can be read is saved, the rest is declared lost if its range is known, and it is said."""
    spool = opened(tmp_path)
    (old,) = spool.describe()
    for n in range(300):
        spool.append("events", [event(f"t{n}", padding=400)])
    spool.close()
    file = tmp_path / "spool.db"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))

    spool = opened(tmp_path)
    spool.append("events", [event("after")])
    assert spool.describe()[-1].stream != old.stream
    assert not spool.figures().volatile
    database = Database()
    assert spool.news(), "hello has to be said about it"
    hello(spool, database)
    assert not spool.news()
    drain(spool, database)
    tags = database.tags()
    assert tags["after"] == 1
    assert max(tags.values()) == 1
    assert any(b"the spool was damaged" in payload for payload in database.stored.values())
    saved = {seq for stream, seq in database.stored if stream == old.stream}
    if damage in {"middle", "truncated"}:
        assert saved, "whole pages were readable"
    assert database.missing(old.model_copy(update={"last": 300})) == []
    assert len(list((tmp_path / "quarantine").glob("*.db"))) == 1
    spool.close()
    assert everything(tmp_path).stored == {}, "the next start finds a sound spool"


def test_what_was_stored_long_before_the_damage_is_not_called_lost(tmp_path: Path) -> None:
    """DEL-1: which of the unreadable numbers are lost is for the database to say."""
    spool = opened(tmp_path)
    (old,) = spool.describe()
    database = Database()
    for n in range(30):
        spool.append("events", [event(f"t{n}")])
        if n == 19:
            drain(spool, database)
    spool.close()
    (tmp_path / "spool.db").write_bytes(b"")
    spool = opened(tmp_path)
    hello(spool, database)
    drain(spool, database)
    spool.tidy()
    assert [(o.stream, o.first, o.last) for o in database.learned()] == [(old.stream, 21, 30)]
    assert spool.figures().lost == 10
    spool.close()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_log_that_lost_its_tail_is_noticed(tmp_path: Path, quarters: int) -> None:
    """DEL-1: SQLite opens it without complaint, and has forgotten what it had promised."""
    program = APPENDER.replace("while True", "while number < 40").replace("number % 7 == 0 and", "False and")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    kill = "import os; os.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", program + kill, tmp_path, "0"]
    subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
    log = tmp_path / "spool.db-wal"
    assert log.stat().st_size > 40 * 4096
    os.truncate(log, log.stat().st_size * quarters // 4)
    spool = opened(tmp_path)
    told = spool.describe()
    database = Database()
    hello(spool, database)
    drain(spool, database)
    tags = database.tags()
    assert 0 < sum(tags[f"t{n}"] for n in range(40)) < 40
    assert [database.missing(info) for info in told] == [[] for _ in told]
    assert told[0].last > 40, "no number is given out twice"
    assert any(b"has forgotten" in payload for payload in database.stored.values())
    assert spool.figures().lost == sum(o.last - o.first + 1 for o in database.learned()) > 0
    spool.close()


def test_a_spool_that_was_deleted_is_missed(tmp_path: Path) -> None:
    """DEL-1: what was in it is declared lost as far as the database lacks it."""
    spool = opened(tmp_path)
    (old,) = spool.describe()
    for n in range(5):
        spool.append("events", [event(f"t{n}")])
    spool.close()
    (tmp_path / "spool.db").unlink()
    spool = opened(tmp_path)
    assert (spool.describe()[0].stream, spool.describe()[0].last) == (old.stream, 5)
    database = Database()
    hello(spool, database)
    drain(spool, database)
    assert [(o.stream, o.first, o.last) for o in database.learned()] == [(old.stream, 1, 5)]
    spool.tidy()
    assert len(spool.describe()) == 2, "it is named as long as its loss is kept"
    spool.close()


@pytest.mark.parametrize("note", [b"", b"00000000 {}", b"{}", b"\xff" * 4096, b"44136fa3 [1]"])
def test_a_damaged_tally_is_passed_over(tmp_path: Path, note: bytes) -> None:
    spool = opened(tmp_path)
    spool.append("events", [event("a")])
    spool.close()
    tally = tmp_path / "spool.tally"
    right = tally.read_bytes()
    tally.write_bytes(note)
    spool = opened(tmp_path)
    assert [info.last for info in spool.describe()] == [1]
    spool.close()
    assert tally.read_bytes() == right


@pytest.mark.parametrize("what", ["the file", "the directory", "another file in its place"])
def test_a_file_that_is_taken_away_while_in_use_is_begun_anew(tmp_path: Path, what: str) -> None:
    """DEL-1: it can be read as long as it is open, and is carried over before anything is written to it."""
    place = tmp_path / "spool"
    spool = opened(place)
    database = Database()
    for n in range(20):
        spool.append("events", [event(f"t{n}", padding=300)])
    first = spool.oldest(())
    assert first
    database.take(first.payload)
    spool.acknowledge([first.key])
    match what:
        case "the file":
            (place / "spool.db").unlink()
        case "the directory":
            shutil.rmtree(place)
        case _:
            shutil.copy(place / "spool.db", tmp_path / "copy")
            (tmp_path / "copy").rename(place / "spool.db")
    spool.append("events", [event("after")])
    assert not spool.figures().volatile
    with pytest.raises(SpoolBusyError):
        opened(place)
    for name in ("spool.db", "spool.db-wal", "spool.tally"):  # as a kill would leave it
        (tmp_path / "killed").mkdir(exist_ok=True)
        shutil.copy(place / name, tmp_path / "killed")
    spool.close()
    again = opened(tmp_path / "killed")
    hello(again, database)
    drain(again, database)
    assert database.tags() == {f"t{n}": 1 for n in range(20)} | {"after": 1}
    assert database.learned() == []
    assert any(b"was taken away while in use" in payload for payload in database.stored.values())
    again.close()


def test_a_directory_that_is_taken_away_and_cannot_be_made_again(tmp_path: Path) -> None:
    """DEL-1, OPS-1: records go to memory and it is said, and they are home when there is a place again."""
    place, clock = tmp_path / "deeper" / "spool", HandClock()
    spool = opened(place, clock)
    spool.append("events", [event("before")])
    shutil.rmtree(tmp_path / "deeper")
    (tmp_path / "deeper").write_text("in the way")
    spool.append("events", [event("meanwhile")])
    assert spool.figures().volatile
    assert "Not a directory" in spool.figures().trouble
    (tmp_path / "deeper").unlink()
    clock.advance(11)
    spool.append("events", [event("after")])
    assert not spool.figures().volatile
    spool.close()
    database = Database()
    spool = opened(place, clock)
    hello(spool, database)
    drain(spool, database)
    assert database.tags() == {"before": 1, "meanwhile": 1, "after": 1}
    assert database.learned() == []
    spool.close()


WRONG = [
    "UPDATE streams SET stream = CAST(x'ff00' AS TEXT)",
    "UPDATE streams SET last = 'x'",
    "UPDATE envelopes SET seq = -1 WHERE id = 2",
    "UPDATE envelopes SET oldest = 'x' WHERE id = 2",
    "UPDATE envelopes SET records = -1 WHERE id = 2",
    "UPDATE meta SET value = 'x' WHERE key = 'running_time'",
    "UPDATE totals SET envelopes = 'x'",
]


@pytest.mark.parametrize("change", WRONG)
def test_rows_that_make_no_sense_are_damage_too(tmp_path: Path, change: str) -> None:
    """DEL-1: SQLite does not look at values; what can be proved by its digest is saved all the same."""
    spool = opened(tmp_path)
    for n in range(5):
        spool.append("events", [event(f"t{n}")])
    spool.close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        db.execute(change)
    spool = opened(tmp_path)
    spool.append("events", [event("after")])
    database = Database()
    hello(spool, database)
    drain(spool, database)
    assert database.tags() == {f"t{n}": 1 for n in range(5)} | {"after": 1}
    assert database.learned() == []
    spool.close()
    opened(tmp_path).close()
    assert len(list((tmp_path / "quarantine").glob("*.db"))) == 1, "what was saved makes sense"


@pytest.mark.parametrize("digest", ["''", "CAST(x'ff41' AS TEXT)", "x'00'", "7"])
def test_a_damaged_digest_costs_its_envelope_and_no_other(tmp_path: Path, digest: str) -> None:
    spool = opened(tmp_path)
    for n in range(5):
        spool.append("events", [event(f"t{n}")])
    spool.close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as db, db:
        db.execute(f"UPDATE envelopes SET digest = {digest} WHERE id = 3")
    spool = opened(tmp_path)
    database = Database()
    drain(spool, database)
    assert database.tags() == {"t0": 1, "t1": 1, "t3": 1, "t4": 1}
    assert [(o.first, o.last, o.records) for o in database.learned()] == [(3, 3, 1)]
    spool.close()


def test_the_quarantine_keeps_the_newest_two(tmp_path: Path) -> None:
    for n in range(4):
        spool = opened(tmp_path)
        spool.append("events", [event("a")])
        spool.close()
        (tmp_path / "spool.db").write_bytes(b"damage %d" % n * 100)
    opened(tmp_path).close()
    kept = sorted((tmp_path / "quarantine").glob("*.db"))
    assert [path.read_bytes()[:8] for path in kept] == [b"damage 2", b"damage 3"]


def test_damage_found_while_running_is_put_aside_too(tmp_path: Path) -> None:
    """DEL-1: the spool does not crash and does not stop."""
    spool = opened(tmp_path)
    for n in range(200):
        spool.append("events", [event(f"t{n}", padding=400)])
    assert spool._disk
    spool._disk._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    data = bytearray((tmp_path / "spool.db").read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    with (tmp_path / "spool.db").open("r+b") as file:
        file.write(data)
    spool._disk._db.execute("PRAGMA shrink_memory")
    spool.append("events", [event("after")])
    database = Database()
    drain(spool, database)
    spool.append("events", [event("later")])
    drain(spool, database)
    assert database.tags()["after"] == database.tags()["later"] == 1
    assert not spool.figures().volatile
    spool.close()


@pytest.mark.parametrize("place", ["a-file/spool", "/proc/spool"])
def test_without_a_writable_directory_records_are_kept_in_memory_and_it_is_said(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "a-file").write_text("in the way")
    clock = HandClock()
    spool = opened(tmp_path / place, clock)
    assert spool.figures().volatile
    assert spool.figures().trouble
    spool.append("events", [event("a")])
    assert [info.volatile for info in spool.describe()] == [True]
    database = Database()
    drain(spool, database)
    assert database.tags() == {"a": 1}
    clock.advance(60)
    spool.tidy()
    spool.close()


def test_a_read_only_disk_is_survived_and_left_for_the_disk_when_it_is_back(tiny_disk: Path) -> None:
    clock = HandClock()
    spool = opened(tiny_disk, clock)
    spool.append("events", [event("before")])
    spool.close()
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    spool = opened(tiny_disk, clock)
    spool.append("events", [event("meanwhile")])
    assert spool.figures().volatile
    subprocess.run(["mount", "-o", "remount,rw", tiny_disk], check=True)
    clock.advance(60)
    spool.tidy()
    assert [info.volatile for info in spool.describe()] == [False, False], "what was in memory is on the disk"
    spool.append("events", [event("after")])
    assert not spool.figures().volatile
    database = Database()
    drain(spool, database)
    assert database.tags() == {"before": 1, "meanwhile": 1, "after": 1}
    assert spool.accepted() == {"event": 2 + 2}, "in memory, and back again, was reported"
    assert sum(b"kept in memory" in payload for payload in database.stored.values()) == 1
    spool.close()


def fill(filler: Path) -> None:
    """Take all that is left of a disk."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def fill_until_in_memory(spool: SpoolStore, filler: Path, accepted: int) -> int:
    """Fill the disk and go on writing until records are in memory; return how many there are then."""
    fill(filler)
    while not spool.figures().volatile:
        spool.append("events", [event(f"t{accepted}", padding=500)])
        accepted += 1
        assert accepted < 20_000, "the disk is never full"
    return accepted


def test_a_disk_filled_by_somebody_else(tiny_disk: Path) -> None:
    """DEL-1: the reserve lets the spool drain, records go to memory meanwhile, and back when there is room."""
    clock = HandClock()
    spool = opened(tiny_disk / "spool", clock)
    assert (tiny_disk / "spool" / "spool.ballast").exists()
    accepted = 0
    for n in range(100):
        spool.append("events", [event(f"t{n}", padding=500)])
        accepted += 1
    filler = tiny_disk / "filler"
    accepted = fill_until_in_memory(spool, filler, accepted)
    assert (tiny_disk / "spool" / "spool.ballast").exists(), "the reserve is for draining"
    for _ in range(10):
        spool.append("events", [event(f"t{accepted}")])
        accepted += 1
    database = Database()
    for _ in range(accepted // 2):
        envelope = spool.oldest(())
        assert envelope
        database.take(envelope.payload)
        assert spool.acknowledge([envelope.key]), "a full disk must not stop the draining"
    filler.unlink()
    clock.advance(60)
    spool.tidy()
    spool.append("events", [event(f"t{accepted}")])
    accepted += 1
    assert not spool.figures().volatile
    drain(spool, database)
    assert database.tags() == {f"t{n}": 1 for n in range(accepted)}
    spool.tidy()
    assert (tiny_disk / "spool" / "spool.ballast").exists()
    spool.close()


def test_a_start_on_a_full_disk_uses_the_reserve_to_drain_and_gets_back_by_that(small_disk: Path) -> None:
    """DEL-1: what is acknowledged makes room, so that the disk can be written again without anybody's help."""
    place = small_disk / "spool"
    limits = Limits(max_bytes=16 * MIB, ballast_bytes=5 * MIB)
    spool = opened(place, limits=limits)
    for n in range(0, 14_000, 100):
        spool.append("events", [event(f"t{m}", padding=500) for m in range(n, n + 100)])
    spool.close()
    assert (place / "spool.ballast").exists()
    fill(small_disk / "filler")
    clock = HandClock()
    spool = opened(place, clock, limits)
    assert (spool.figures().pending, spool.figures().volatile) == (140, True)
    assert not (place / "spool.ballast").exists()
    spool.append("events", [event("meanwhile")])
    database = Database()
    drain(spool, database)
    clock.advance(60)
    spool.tidy()
    assert (place / "spool.ballast").exists()
    spool.append("events", [event("after")])
    assert not spool.figures().volatile
    drain(spool, database)
    assert database.tags() == {f"t{n}": 1 for n in range(14_000)} | {"meanwhile": 1, "after": 1}
    spool.close()


def test_a_stop_on_a_full_disk_saves_what_the_reserve_has_room_for(small_disk: Path) -> None:
    """DEL-1: what goes from memory to the disk is stored, the rest is declared lost, by exact count."""
    place = small_disk / "spool"
    limits = Limits(max_bytes=16 * MIB, ballast_bytes=2 * MIB)
    spool = opened(place, limits=limits)
    written = fill_until_in_memory(spool, small_disk / "filler", 0)
    total = written + 3000
    for n in range(written, total):
        spool.append("events", [event(f"t{n}", padding=500)])
    spool.close()
    assert (place / "spool.ballast").stat().st_size == 2 * MIB // 8, "enough to open the spool again"
    (small_disk / "filler").unlink()
    database = Database()
    spool = opened(place, limits=limits)
    drain(spool, database)
    tags = database.tags()
    saved = sum(tags[f"t{n}"] for n in range(written, total))
    assert 200 < saved < 2500
    assert all(tags[f"t{n}"] == 1 for n in range(written - 1)), "what was on the disk stays there"
    assert {o.reason for o in database.learned()} == {"there was no room on the disk"}
    # One of those lost is the spool's own, that records are kept in memory.
    assert sum(o.records for o in database.learned()) == total + 1 - tags.total()
    hello(spool, database)
    assert [database.missing(info) for info in spool.describe()] == [[], []]
    spool.close()


def test_the_figures_are_what_the_tables_say(tmp_path: Path) -> None:
    clock = HandClock()
    spool = opened(tmp_path, clock)
    keys = [spool.append("samples", [host(n)])[0] for n in range(10)]
    spool.acknowledge(keys[:3])
    spool.park(keys[3])
    clock.advance(30)
    figures = spool.figures()
    assert (figures.pending, figures.acknowledged, figures.parked) == (6, 3, 1)
    assert figures.oldest_age_s == pytest.approx(30)
    assert figures.bytes > 0
    spool.close()
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        counted = dict(raw.execute("SELECT state, count(*) FROM envelopes GROUP BY state"))
    raw.close()
    assert counted == {"pending": 6, "acknowledged": 3, "parked": 1}
