"""D24, D28, D29: spools that are cut, overwritten, emptied, cloned, rolled back, or of another release."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from boardherd_agent.delivery.store import SpoolStore
from boardherd_shared.messages import Envelope, decode, digest
from boardherd_shared.records import EventRecord
from faults.disks import PAGE, cut, scribble, zero
from faults.spools import Pc
from support.delivery import Database, event

SEEDS = range(40)
CAPTURES = Path(__file__).parent / "captures"
"""Spools as text, each written by the release that it names first."""
ENVELOPES = 60
IN_THE_LOG = 12
TOLD = ("the spool was damaged", "the spool has forgotten", "lost envelope")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Pc:
    """A spool as a killed process leaves it: main file and log, some envelopes acknowledged, most not."""
    pc = Pc(tmp_path_factory.mktemp("template"), Database())
    store = pc.open()
    pc.write(store, ENVELOPES)
    pc.deliver(store, 10)
    store._disk._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[union-attr]
    pc.write(store, IN_THE_LOG)
    killed = tmp_path_factory.mktemp("killed")
    for file in pc.place.iterdir():
        shutil.copy(file, killed)
    store.close()
    assert (killed / "spool.db-wal").stat().st_size > 20 * PAGE
    left = Pc(killed, pc.database)
    left.accepted = pc.accepted
    return left


@pytest.fixture
def pc(template: Pc, tmp_path: Path) -> Pc:
    """A copy of the template to be damaged."""
    return template.copy(tmp_path / "state")


def trial(pc: Pc) -> None:
    """Start on what is there, go on working, deliver everything, and settle the balance."""
    store = pc.open()
    pc.write(store, 5)
    pc.meet(store)
    assert not store.figures().volatile
    store.close()
    assert pc.unaccounted() == []
    assert pc.doubled() == {}
    again = pc.open()
    assert (again.figures().pending, again.figures().trouble) == (0, "")
    again.close()


def test_an_undamaged_copy_loses_nothing(pc: Pc) -> None:
    """DEL-1: the trial itself is right: without damage every record is stored, and none is reported as lost."""
    trial(pc)
    assert set(pc.database.tags()) >= set(pc.accepted)
    assert pc.database.learned() == []


def test_a_spool_cut_at_every_4_kib(pc: Pc, tmp_path: Path) -> None:
    """DEL-1, D24: whatever is left of the file, what is not stored is reported as lost, with its range."""
    _every(pc, tmp_path, "spool.db", cut)


def test_a_log_cut_at_every_4_kib(pc: Pc, tmp_path: Path) -> None:
    """DEL-1, D24: SQLite opens such a log without complaint, as if the newest commits had never been."""
    _every(pc, tmp_path, "spool.db-wal", cut)


def test_a_lost_block_at_every_4_kib(pc: Pc, tmp_path: Path) -> None:
    """DEL-1, D24: blocks that read as zeros, the first page with the header among them."""
    _every(pc, tmp_path, "spool.db", lambda path, at: zero(path, at, PAGE))


def _every(pc: Pc, tmp_path: Path, name: str, damage: Callable[[Path, int], None]) -> None:
    """Damage the file ``name`` of a fresh copy at every 4 KiB, and try each."""
    bad: list[str] = []
    for at in range(0, (pc.place / name).stat().st_size, PAGE):
        one = pc.copy(tmp_path / f"{name}-{at}")
        damage(one.place / name, at)
        try:
            trial(one)
        except AssertionError as error:
            bad.append(
                f"{name} at {at}: {len(one.unaccounted())} unaccounted, {one.doubled()}: {error!s:.200}"
            )
        shutil.rmtree(one.place)
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("what", ["spool.db", "spool.db-wal", "both"])
def test_an_empty_file(pc: Pc, what: str) -> None:
    """DEL-1, D24: zero length, as after a power cut on some file systems."""
    for name in ("spool.db", "spool.db-wal") if what == "both" else (what,):
        cut(pc.place / name, 0)
    trial(pc)
    assert pc.said(*TOLD)


@pytest.mark.parametrize("what", ["spool.db", "spool.db-wal", "both"])
def test_a_file_that_is_gone(pc: Pc, what: str) -> None:
    """DEL-1, D24: somebody tidied up."""
    for name in ("spool.db", "spool.db-wal") if what == "both" else (what,):
        (pc.place / name).unlink()
    trial(pc)
    assert pc.said(*TOLD)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_bytes(pc: Pc, seed: int) -> None:
    """DEL-1, D24: noise somewhere in one of the files; the seed names the case."""
    rng = random.Random(seed)
    path = pc.place / rng.choice(["spool.db", "spool.db-wal"])
    for _ in range(rng.choice([1, 1, 3, 10])):
        scribble(path, rng.randrange(path.stat().st_size), rng.choice([1, 16, 512, PAGE]), rng)
    trial(pc)


def test_a_rolled_back_snapshot_costs_no_record_that_is_written_afterwards(pc: Pc, tmp_path: Path) -> None:
    """DEL-1, D28: numbers are given out twice; the database refuses the second use, and the agent changes streams."""
    store = pc.open()
    pc.deliver(store)
    store.close()
    snapshot = tmp_path / "snapshot"
    shutil.copytree(pc.place, snapshot)
    store = pc.open()
    pc.write(store, 10)
    pc.deliver(store)
    store.close()
    shutil.rmtree(pc.place)
    shutil.copytree(snapshot, pc.place)
    refusing = _Refusing(pc)
    store = pc.open()
    pc.write(store, 20)
    refusing.deliver(store)
    store.close()
    assert refusing.refused
    assert {tag for tag in pc.accepted if not pc.database.tags()[tag]} == set()
    assert pc.doubled() == {}


def test_a_cloned_machine_does_not_eat_the_records_of_its_original(pc: Pc, tmp_path: Path) -> None:
    """DEL-1, D28: both go on from the same spool with other records; every record of both is stored."""
    clone = pc.copy(tmp_path / "clone")
    clone.database = pc.database
    refusing = _Refusing(pc)
    for machine in (pc, clone):
        store = machine.open()
        before = len(machine.accepted)
        for number in range(20):
            tag = f"{machine.place.name} {number}"
            store.append("events", [event(tag, machine.clock)])
        assert len(machine.accepted) == before
        refusing.deliver(store)
        store.close()
    tags = pc.database.tags()
    assert all(tags[f"{machine.place.name} {number}"] == 1 for machine in (pc, clone) for number in range(20))
    assert pc.unaccounted() == []
    assert pc.doubled() == {}


NEWER = (
    "ALTER TABLE envelopes ADD COLUMN urgency INTEGER NOT NULL DEFAULT 3",
    "CREATE TABLE routes (stream TEXT PRIMARY KEY, broker TEXT NOT NULL)",
    "INSERT INTO routes SELECT stream, 'north' FROM streams",
    "PRAGMA user_version = 2",
)
OLDER = (
    "DROP TRIGGER envelope_in",
    "DROP TRIGGER envelope_out",
    "DROP TRIGGER envelope_moved",
    "DROP TABLE totals",
    "DROP TABLE losses",
    "PRAGMA user_version = 0",
)


@pytest.mark.parametrize("changes", [NEWER, OLDER], ids=["newer", "older"])
def test_a_spool_of_another_release(pc: Pc, changes: tuple[str, ...]) -> None:
    """DEL-1, D29: a backlog left by an agent that was up- or downgraded; kept aside, and every record stored."""
    with closing(sqlite3.connect(pc.place / "spool.db", isolation_level=None)) as db:
        for change in changes:
            db.execute(change)
    trial(pc)
    assert set(pc.database.tags()) >= set(pc.accepted)
    assert pc.database.learned() == []
    assert pc.said("it is no spool of version 1")
    assert list((pc.place / "quarantine").glob("spool-*.db"))


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("spool-*.sql")), ids=lambda path: path.stem)
def test_a_spool_as_an_earlier_release_left_it(capture: Path, tmp_path: Path) -> None:
    """DEL-1, D29: whatever becomes of the format, what a released agent has written is understood for ever."""
    pc = Pc(tmp_path / "state", Database())
    pc.place.mkdir()
    with closing(sqlite3.connect(pc.place / "spool.db")) as db:
        db.executescript(capture.read_text())
        for number, state, payload in db.execute("SELECT seq, state, payload FROM envelopes").fetchall():
            envelope = decode(Envelope, payload)
            pc.accepted[envelope.records[0].subject] = envelope.stream, number  # type: ignore[union-attr]
            if state == "acknowledged":
                pc.database.take(payload)
    assert len(pc.accepted) > len(pc.database.stored) > 0
    trial(pc)
    assert set(pc.database.tags()) >= set(pc.accepted)
    assert pc.database.learned() == []


class _Refusing:
    """A database that refuses a number whose content it knows to be another."""

    def __init__(self, pc: Pc) -> None:
        self._database = pc.database
        self.refused: Counter[str] = Counter()

    def deliver(self, store: SpoolStore) -> None:
        while envelope := store.oldest([]):
            known = self._database.stored.get((envelope.key.stream, envelope.key.seq))
            if known in {None, envelope.payload}:
                self._database.take(envelope.payload)
                store.acknowledge([envelope.key])
            else:
                self.refused[store.refuse(envelope.key, digest(envelope.payload), "conflict")] += 1


def test_the_witness_can_tell(pc: Pc) -> None:
    """The balance of this file notices a record that vanishes and one that is stored twice."""
    store = pc.open()
    pc.deliver(store)
    store.close()
    stream, seq = pc.accepted["record 70"]
    body = pc.database.stored.pop((stream, seq))
    assert pc.unaccounted() == ["record 70"]
    pc.database.stored[stream, 10_000] = pc.database.stored[stream, 10_001] = body
    assert pc.doubled() == {"record 70": 2}
    assert isinstance(event("x"), EventRecord)
