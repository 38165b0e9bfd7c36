"""D24, D28: what becomes of the records when the spool's files are cut, overwritten, emptied, cloned or rolled back."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from boardherd_agent.delivery.ranges import contains
from boardherd_agent.delivery.store import Limits, SpoolStore
from boardherd_shared.records import EventRecord
from faults.disks import PAGE, cut, scribble, zero
from support.delivery import Database, HandClock, event

SEEDS = range(40)
ENVELOPES = 60
IN_THE_LOG = 12
LIMITS = Limits(max_bytes=8 * 1024**2, ballast_bytes=0)
Key = tuple[str, int]


@dataclass
class Pc:
    """An agent's spool and the central database, without anything in between; and who has seen what."""

    place: Path
    database: Database

    def __post_init__(self) -> None:
        self.clock = HandClock()
        self.accepted: dict[str, Key] = {}

    def open(self) -> SpoolStore:
        return SpoolStore(self.place, agent="pc-01", clock=self.clock, limits=LIMITS, machine="m")

    def write(self, store: SpoolStore, count: int) -> None:
        """Have the spool accept events, one in an envelope, of very different sizes."""
        for _ in range(count):
            tag = f"record {len(self.accepted)}"
            keys = store.append("events", [event(tag, self.clock, padding=37 * len(self.accepted) % 500)])
            self.accepted[tag] = keys[0]
            self.clock.advance(1)

    def deliver(self, store: SpoolStore, count: int = 10**6) -> None:
        """Send what is pending to the database, and tell the spool."""
        told: set[Key] = set()
        while len(told) < count and (envelope := store.oldest([])):
            told.add(envelope.key)
            self.database.take(envelope.payload)
            store.acknowledge([envelope.key])

    def meet(self, store: SpoolStore) -> None:
        """Say hello, answer it as the collector does, and send what that calls for."""
        told = self.database.learned()
        missing: dict[str, list[tuple[int, int]]] = {}
        for info in store.describe():
            lost = [(loss.first, loss.last) for loss in told if loss.stream == info.stream]
            missing[info.stream] = [
                (seq, seq)
                for seq in range(1, info.last + 1)
                if (info.stream, seq) not in self.database.stored and not contains(lost, seq)
            ]
        store.resume(missing)
        self.deliver(store)

    def unaccounted(self) -> list[str]:
        """Return the records that are neither stored nor within a range that was reported as lost."""
        tags = self.database.tags()
        told = self.database.learned()
        return [
            tag
            for tag, (stream, seq) in self.accepted.items()
            if not tags[tag] and not any(t.stream == stream and t.first <= seq <= t.last for t in told)
        ]

    def doubled(self) -> dict[str, int]:
        """Return the records that were stored more than once."""
        return {tag: times for tag, times in self.database.tags().items() if times > 1}


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
    return _copy(template, tmp_path / "state")


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


def reported(pc: Pc) -> bool:
    """Tell whether the database knows that something happened to the spool."""
    words = ("the spool was damaged", "the spool has forgotten", "lost envelope")
    return any(word.encode() in payload for payload in pc.database.stored.values() for word in words)


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
        one = _copy(pc, tmp_path / f"{name}-{at}")
        damage(one.place / name, at)
        try:
            trial(one)
        except AssertionError as error:
            bad.append(
                f"{name} at {at}: {len(one.unaccounted())} unaccounted, {one.doubled()}: {error!s:.200}"
            )
        shutil.rmtree(one.place)
    assert not bad, "\n".join(bad)


def _copy(pc: Pc, place: Path) -> Pc:
    shutil.copytree(pc.place, place)
    one = Pc(place, Database(dict(pc.database.stored)))
    one.accepted = dict(pc.accepted)
    one.clock.advance(1000)
    return one


@pytest.mark.parametrize("what", ["spool.db", "spool.db-wal", "both"])
def test_an_empty_file(pc: Pc, what: str) -> None:
    """DEL-1, D24: zero length, as after a power cut on some file systems."""
    for name in ("spool.db", "spool.db-wal") if what == "both" else (what,):
        cut(pc.place / name, 0)
    trial(pc)
    assert reported(pc)


@pytest.mark.parametrize("what", ["spool.db", "spool.db-wal", "both"])
def test_a_file_that_is_gone(pc: Pc, what: str) -> None:
    """DEL-1, D24: somebody tidied up."""
    for name in ("spool.db", "spool.db-wal") if what == "both" else (what,):
        (pc.place / name).unlink()
    trial(pc)
    assert reported(pc)


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
    clone = _copy(pc, tmp_path / "clone")
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


class _Refusing:
    """A database that refuses a number whose content it knows to be another."""

    def __init__(self, pc: Pc) -> None:
        self._database = pc.database
        self.refused: Counter[str] = Counter()

    def deliver(self, store: SpoolStore) -> None:
        from boardherd_shared.messages import digest

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
