"""The spool under every order of events: nothing vanishes without a word, nothing is stored twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from boardherd_agent.delivery.database import SpoolDatabase
from boardherd_agent.delivery.envelopes import Spooled
from boardherd_agent.delivery.store import Limits, SpoolStore
from boardherd_shared.messages import Envelope, decode, digest
from boardherd_shared.records import EventRecord, HostRecord, Record
from support.delivery import Database, HandClock, event, host

BOUND = 256 * 1024
NOT_HELD = "the spool no longer holds them"
FAST_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where syncing costs nothing: this is about order and content, and thousands of files are made."""
ROWS = (
    "SELECT envelopes.id, streams.stream, seq, payload FROM envelopes"
    " JOIN streams ON streams.id = envelopes.stream WHERE envelopes.id > ? ORDER BY envelopes.id"
)
WORK_SPACE = 128 * 1024
"""What one operation of this test may add before the bound is looked at again."""


class Conservation(RuleBasedStateMachine):
    """A spool and a database with a lossy line between them.

    With restarts, kills, clones, restored backups, damaged files, and a disk that cannot be written for a while.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory(prefix="boardherd-spool-", dir=FAST_DISK)
        self.directory = Path(self.scratch.name)
        self.clock = HandClock()
        self.machine = 1
        self.spool = self.opened()
        self.database = Database()
        self.sent: list[Spooled] = []
        self.accepted = 0
        self.contents: dict[tuple[str, int], list[Record]] = {}
        self.payloads: dict[tuple[str, int], bytes] = {}
        self.copy: bytes | None = None
        self.unwritten: set[tuple[str, int]] = set()
        """Refused as somebody else's while no disk could be written."""
        self.nobody_knows: set[tuple[str, int]] = set()
        """The same, and then the file was damaged: nobody is left who knows that the number was ours, so no loss
        can be told. A gap of the product, and the only one that this test allows."""
        self.last: dict[str, int] = {}
        self.seen = 0
        self.seen_in_memory: tuple[SpoolDatabase | None, int] = (None, 0)

    def opened(self) -> SpoolStore:
        self.writable = True
        limits = Limits(max_bytes=BOUND, max_age_s=3600, ballast_bytes=0, memory_bytes=BOUND)
        return SpoolStore(
            self.directory, agent="pc-01", clock=self.clock, limits=limits, machine=f"m{self.machine}"
        )

    @rule(count=st.integers(1, 60))
    def samples(self, count: int) -> None:
        self.spool.append("samples", [host(self.accepted + n, self.clock) for n in range(count)])
        self.accepted += count

    @rule(count=st.integers(1, 60))
    def events(self, count: int) -> None:
        tags = range(self.accepted, self.accepted + count)
        self.spool.append("events", [event(str(tag), self.clock, padding=300) for tag in tags])
        self.accepted += count

    @rule(newest=st.booleans(), times=st.integers(1, 10))
    def send(self, newest: bool, times: int) -> None:
        for _ in range(times):
            busy = [envelope.key for envelope in self.sent]
            envelope = self.spool.newest(busy) if newest else self.spool.oldest(busy)
            if envelope:
                self.sent.append(envelope)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), ack_lost=st.booleans())
    def store(self, data: st.DataObject, ack_lost: bool) -> None:
        envelope = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        self.database.take(envelope.payload)
        if not ack_lost:
            self.spool.acknowledge([envelope.key])

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def conflict(self, data: st.DataObject) -> None:
        envelope = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        if envelope.key not in self.database.stored:
            self.database.foreign.add(envelope.key)
            self.spool.refuse(envelope.key, digest(envelope.payload), "conflict")
            if not self.writable:
                self.unwritten.add(envelope.key)

    @precondition(lambda self: self.sent)
    @rule()
    def park(self) -> None:
        self.spool.park(self.sent.pop().key)

    @rule()
    def hello(self) -> None:
        self.spool.resume({info.stream: self.database.missing(info) for info in self.spool.describe()})

    @rule(seconds=st.integers(1, 2000))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.spool.tidy()

    @rule(reboot=st.booleans(), moved=st.booleans())
    def restart(self, reboot: bool, moved: bool) -> None:
        self.spool.close()
        self.sent.clear()
        if reboot:
            self.clock = HandClock(boot=self.clock.boot + "+", now=1_000_000)
        self.machine += moved
        self.spool = self.opened()

    @rule()
    def the_disk_fails(self) -> None:
        """Have SQLite refuse every change, as on a disk that went read-only; until the next start at most."""
        self._allow_changes(allowed=False)

    @rule()
    def the_disk_works_again(self) -> None:
        self._allow_changes(allowed=True)
        self.clock.advance(11)
        self.spool.tidy()

    def _allow_changes(self, *, allowed: bool) -> None:
        assert self.spool._disk
        self.writable = allowed
        self.spool._disk._db.execute(f"PRAGMA query_only = {not allowed:d}")

    @rule()
    def kill(self) -> None:
        """End as after SIGKILL: what is only in memory is gone."""
        for database in self.spool._databases():
            database.close()
        self.spool._lock.release()
        self.sent.clear()
        self.spool = self.opened()

    @rule()
    def back_up(self) -> None:
        self.spool.close()
        self.copy = (self.directory / "spool.db").read_bytes()
        self.restart(reboot=False, moved=False)

    @rule(
        damage=st.sampled_from(["deleted", "empty", "cut", "scratched", "an older copy"]),
        at=st.integers(0, 63),
    )
    def the_file_is_damaged(self, damage: str, at: int) -> None:
        self.spool.close()
        file = self.directory / "spool.db"
        data = file.read_bytes()
        place = len(data) // 4096 * at // 64 * 4096
        match damage:
            case "deleted":
                file.unlink()
            case "empty":
                file.write_bytes(b"")
            case "cut":
                file.write_bytes(data[:place])
            case "scratched":
                file.write_bytes(data[:place] + b"\xa5" * 4096 + data[place + 4096 :])
            case _:
                file.write_bytes(self.copy or data)
        self.nobody_knows |= self.unwritten
        self.sent.clear()
        self.spool = self.opened()
        self.seen = 0

    @invariant()
    def numbers_have_no_gaps(self) -> None:
        """Learn which records each new envelope carries; a number that was skipped or reused shows here."""
        memory, seen = self.seen_in_memory
        if self.spool._memory is not memory:
            seen = 0
        seen = self._learn(self.spool._memory, seen)
        self.seen_in_memory = self.spool._memory, seen
        self.seen = self._learn(self.spool._disk, self.seen)

    def _learn(self, database: SpoolDatabase | None, seen: int) -> int:
        rows = database._db.execute(ROWS, (seen,)).fetchall() if database else []
        for row, stream, seq, payload in rows:
            key = (stream, seq)
            seen = row
            if key in self.payloads:  # seen before the file was damaged, or in memory
                assert self.payloads[key] == payload, "a number was given twice"
                continue
            self.payloads[key] = payload
            assert seq == self.last.get(stream, 0) + 1, "a number was skipped"
            self.contents[key] = [r for r in decode(Envelope, payload).records if not is_loss(r)]
            self.last[stream] = seq
        return seen

    @invariant()
    def the_bound_holds(self) -> None:
        """DEL-4."""
        for database in self.spool._databases():
            assert database.totals().size <= BOUND + WORK_SPACE

    @invariant()
    def the_figures_are_true(self) -> None:
        count: Counter[str] = Counter()
        for database in self.spool._databases():
            rows = database._db.execute("SELECT state, count(*) FROM envelopes GROUP BY state").fetchall()
            count.update(dict(rows))
        figures = self.spool.figures()
        assert figures.pending == count["pending"]
        assert figures.acknowledged == count["acknowledged"]
        assert figures.parked == count["parked"]

    def teardown(self) -> None:
        try:
            self._settle()
        finally:
            self.spool.close()
            self.scratch.cleanup()

    def _settle(self) -> None:
        """DEL-1: when all has been sent, each record is stored once or its envelope declared lost, by exact count."""
        self.restart(reboot=False, moved=False)
        self.hello()
        while envelope := self.spool.oldest(()):
            self.database.take(envelope.payload)
            self.spool.acknowledge([envelope.key])
        self.numbers_have_no_gaps()
        assert self.spool.figures().parked == 0
        stored = self.database.tags()
        assert max(stored.values(), default=1) == 1, "stored twice"
        told = {
            n for o in self.database.learned() for n in ((o.stream, s) for s in range(o.first, o.last + 1))
        }
        home = {tag_of(record): key for key, records in self.contents.items() for record in records}
        for tag in map(str, range(self.accepted)):
            known = tag in stored or home[tag] in told or home[tag] in self.nobody_knows
            assert known, f"{tag} vanished without a word"
        for loss in self.database.learned():
            if loss.reason == NOT_HELD:
                assert loss.records == 0, "nobody can have counted them"
                continue
            carried = [self.contents[loss.stream, seq] for seq in range(loss.first, loss.last + 1)]
            assert loss.records == sum(map(len, carried)), "a loss is not counted exactly"


def is_loss(record: Record) -> bool:
    return isinstance(record, EventRecord) and record.event == "loss"


def tag_of(record: Record) -> str:
    return str(record.thread_count) if isinstance(record, HostRecord) else getattr(record, "subject", "")


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
