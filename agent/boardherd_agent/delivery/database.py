"""One spool database: envelopes of one or more streams, each operation one transaction.

Everything here is synchronous and meant for a single thread. Errors of SQLite pass through, and then the
transaction has left no trace. Sequence numbers of a stream have no gaps and are never given twice, because
the counter is stored in the same transaction as the envelope.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from boardherd_agent.delivery import eviction, holdings, schema
from boardherd_agent.delivery.envelopes import Class, Key, Spooled, StoredEnvelope, fault_event
from boardherd_agent.delivery.holdings import Totals
from boardherd_agent.delivery.ranges import Range, clip, coarsen, size, subtract
from boardherd_agent.delivery.writer import Writer
from boardherd_shared.clock import Clock
from boardherd_shared.failpoints import SPOOL_COMMITTED, SPOOL_WRITTEN, reach
from boardherd_shared.messages import Envelope, ProtocolError, StreamInfo, decode, digest
from boardherd_shared.records import LostRange, Record

MAX_RANGES = 200
"""Retained ranges that one stream's description may have; more holes are told in wider ranges."""
_MAX_SLAB = 8 * 1024 * 1024
_KEEP_FREE_PAGES = 512
_VACUUM_PAGES = 512
_VACUUM_STEPS = 32
_ADOPT_BYTES = 4 * 1024 * 1024
"""Payload that one transaction of a salvage carries: until it is committed all of it is in the log."""
_FULL = "the spool was full"
_NOWHERE = "the spool no longer holds them"

_DOUBT = "doubt/"
_AFTER = len(_DOUBT) + 1

Refusal = Literal["parked", "rehomed", "ignored"]


class SpoolDatabase:
    """Envelopes in SQLite, on disk or in memory."""

    def __init__(
        self,
        path: Path | None,
        *,
        agent: str,
        clock: Clock,
        max_bytes: int,
        machine: str = "",
        noted: Mapping[str, int] | None = None,
    ) -> None:
        """Open ``path`` (None: in memory), and make it if it is new; raises sqlite3.DatabaseError.

        Args:
            path: the database file.
            agent: id of the test PC, as it stands in envelopes.
            clock: times of records that the spool makes itself, and the age of envelopes.
            max_bytes: what may be kept; beyond it envelopes are evicted.
            machine: identity of the machine. A file from another one is a copy whose original may still be
                in use, so it goes on under a new stream.
            noted: how far each stream had come, by a note outside of the file. Numbers that the file does not
                know are not given out again, and stay in doubt until the collector was asked about them.
        """
        self.volatile = path is None
        self.accepted: Counter[str] = Counter()
        """Records written since it was opened, by kind, the spool's own events included."""
        self.lost = 0
        """Envelopes given up since it was opened, though the database did not have them."""
        self._given_up = 0  # in the present transaction
        self._max_bytes = max_bytes
        self._db = schema.connect(path, max_bytes)
        try:
            self._writer = Writer(self._db, agent, clock)
            self._wake_up(machine, noted or {})
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Write everything into the main file and close it."""
        self._db.close()

    @property
    def stream(self) -> str:
        """The stream that new envelopes get."""
        return self._writer.stream

    def has(self, stream: str) -> bool:
        """Tell whether this database gives out, or still holds, envelopes of ``stream``."""
        return stream in self._writer.streams

    def append(self, class_: Class, records: Sequence[Record]) -> list[Key]:
        """Write ``records`` and return the keys of their envelopes; they are on the disk when this returns.

        May evict older envelopes to stay within the bound; what was never stored is then declared lost in
        the same transaction.
        """
        with self._transaction():
            keys = self._writer.write(class_, records)
            self._writer.save_time()
            self._trim()
        return keys

    def acknowledge(self, keys: Iterable[Key]) -> int:
        """Note that the database has these envelopes; return for how many that was news."""
        with self._transaction():
            return sum(
                self._db.execute(
                    "UPDATE envelopes SET state = 'acknowledged', code = NULL"
                    " WHERE stream = ? AND seq = ? AND state <> 'acknowledged'",
                    self._place(key),
                ).rowcount
                for key in keys
            )

    def refuse(self, key: Key, fingerprint: str, code: str) -> Refusal:
        """Put an envelope aside that the database refuses, if it is the one with this fingerprint.

        A ``conflict`` means that somebody else used our stream and number (a cloned disk, a restored
        snapshot): new records go to a new stream from then on, and the records of this envelope with them.
        Nothing that might have been stored is written a second time.
        """
        row = self._db.execute(
            "SELECT id, payload FROM envelopes"
            " WHERE stream = ? AND seq = ? AND digest = ? AND state <> 'acknowledged'",
            (*self._place(key), fingerprint),
        ).fetchone()
        if row is None:
            return "ignored"
        with self._transaction():
            if code == "conflict" and (envelope := _readable(row[1])):
                self._rehome(row[0], key, envelope)
                return "rehomed"
            self._db.execute("UPDATE envelopes SET state = 'parked', code = ? WHERE id = ?", (code, row[0]))
            return "parked"

    def park(self, key: Key) -> None:
        """Put an envelope aside that is never acknowledged; it is tried again at the next start."""
        with self._transaction():
            self._db.execute(
                "UPDATE envelopes SET state = 'parked', code = 'unanswered'"
                " WHERE stream = ? AND seq = ? AND state = 'pending'",
                self._place(key),
            )

    def resume(self, stream: str, missing: Iterable[Range]) -> int:
        """Make those acknowledged envelopes pending again that the database turns out to lack.

        Returns how many. Numbers that were given out, are missing there and no longer held here are declared
        lost, and with that the stream is no longer in doubt. That an envelope is not missing does not make it
        acknowledged: after a disk was cloned, the number may be there with somebody else's records, and only
        sending it tells.
        """
        if not self.has(stream):
            return 0
        wanted = clip(missing, 1, self._writer.last(stream))
        with self._transaction():
            again = sum(
                self._db.execute(
                    "UPDATE envelopes SET state = 'pending' WHERE stream = ? AND state = 'acknowledged'"
                    " AND seq BETWEEN ? AND ?",
                    (self._writer.streams[stream], *span),
                ).rowcount
                for span in wanted
            )
            known = [*holdings.retained(self._db, stream), *holdings.declared(self._db, stream)]
            gone = subtract(wanted, known)
            self._writer.declare(_lost(stream, span, _NOWHERE) for span in gone)
            self._given_up += size(gone)
            self._db.execute("DELETE FROM meta WHERE key = ?", (_DOUBT + stream,))
        return again

    @property
    def doubts(self) -> tuple[str, ...]:
        """Streams of which numbers are gone that the database may lack: hello has to be said about them."""
        rows = self._db.execute("SELECT substr(key, ?) FROM meta WHERE key GLOB ?", (_AFTER, _DOUBT + "*"))
        return tuple(stream for (stream,) in rows)

    def envelopes(self) -> Iterator[StoredEnvelope]:
        """Yield all that is held, the oldest first, to be taken over by another database."""
        return holdings.envelopes(self._db, self._writer.running_time())

    def numbers(self) -> dict[str, int]:
        """Return the highest number given out by stream, the oldest stream first."""
        return holdings.numbers(self._db)

    def adopt(self, streams: Mapping[str, int], survivors: Iterator[StoredEnvelope]) -> int:
        """Take over what was saved of a damaged spool, and go on under a stream that is none of its.

        Args:
            streams: the highest number that each stream had given out.
            survivors: the envelopes that could be read.

        Returns:
            How many envelopes were taken over. The others may have been stored long ago or never, which the
            database knows; they stay in doubt until it was asked, and what it lacks is then declared lost.
        """
        saved = 0
        with self._transaction():
            self._doubt(streams)
            self._writer.rotate()
        while part := _slab(survivors):
            with self._transaction():
                if self._doubt(_highest(part)):
                    self._writer.rotate()
                saved += self._adopt(part)
        return saved

    def take_over(self, other: SpoolDatabase) -> int:
        """Take over all that ``other`` holds, all of it or nothing; return how many envelopes.

        They keep their streams, numbers and bytes, so that one which is on its way, or stored already, is known
        wherever it turns up. ``other`` is left as it is and must not be written any more.
        """
        with self._transaction():
            self._writer.enlist(other.numbers())
            return self._adopt(other.envelopes())

    def squeeze(self, max_bytes: int, reason: str) -> None:
        """Keep no more than ``max_bytes`` from now on, and evict the excess for ``reason``."""
        self._max_bytes = max_bytes
        with self._transaction():
            self._trim(reason)

    def shed(self) -> None:
        """Give back to the file system what acknowledged envelopes hold: others need the disk more."""
        while rows := eviction.acknowledged(self._db):
            with self._transaction():
                eviction.delete(self._db, rows)
        self._shrink(keep=0)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def tidy(self, max_age_s: float) -> None:
        """Evict what is older than ``max_age_s`` of running time, and return free pages to the file system."""
        limit = self._writer.running_time() - int(max_age_s * 1e6)
        while rows := eviction.older_than(self._db, limit):
            with self._transaction():
                self._writer.declare(self._evict(rows, f"older than {max_age_s / 86400:g} days"))
        with self._transaction():
            self._writer.save_time()
            self._db.execute(
                # What is still to be said of a stream keeps it: a stream that hello names no more is settled.
                "DELETE FROM streams WHERE stream <> ?"
                " AND NOT EXISTS (SELECT 1 FROM envelopes WHERE envelopes.stream = streams.id)"
                " AND NOT EXISTS (SELECT 1 FROM losses WHERE losses.stream = streams.stream)"
                " AND NOT EXISTS (SELECT 1 FROM meta WHERE key = ? || streams.stream)",
                (self.stream, _DOUBT),
            )
            self._writer.reload()
        self._shrink(keep=_KEEP_FREE_PAGES)

    def newest(self, without: Collection[Key]) -> Spooled | None:
        """Return the newest pending envelope that is not among ``without``."""
        return self._first("DESC", without)

    def oldest(self, without: Collection[Key]) -> Spooled | None:
        """Return the oldest pending envelope that is not among ``without``."""
        return self._first("ASC", without)

    def load(self, key: Key) -> Spooled | None:
        """Return the envelope ``key`` if it is still pending."""
        row = self._db.execute(
            "SELECT id, seq, digest, payload FROM envelopes WHERE stream = ? AND seq = ? AND state = 'pending'",
            self._place(key),
        ).fetchone()
        return self._intact(key.stream, *row) if row else None

    def describe(self) -> list[StreamInfo]:
        """Return for each stream what is still held of it, the present stream last."""
        return [
            StreamInfo(
                stream=stream,
                retained=tuple(coarsen(holdings.retained(self._db, stream), MAX_RANGES)),
                last=self._writer.last(stream),
                volatile=self.volatile,
            )
            for stream in self._writer.streams
        ]

    def totals(self) -> Totals:
        """Return what the database holds now."""
        return holdings.totals(self._db, self._writer.running_time())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.written.clear()
        self._given_up = 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            reach(SPOOL_WRITTEN)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            self._writer.reload()
            raise
        reach(SPOOL_COMMITTED)
        self.accepted += self._writer.written
        self.lost += self._given_up

    def _wake_up(self, machine: str, noted: Mapping[str, int]) -> None:
        (was,) = self._db.execute("SELECT max(value) FROM meta WHERE key = 'machine'").fetchone()
        known = set(self._writer.streams)
        with self._transaction():
            forgotten = self._doubt(noted)
            if not known or known != set(self._writer.streams):
                self._writer.rotate()
            elif was != machine:
                self._writer.rotate("the spool was made on another machine; going on under a new stream")
            if forgotten:
                text = (
                    f"the spool has forgotten {forgotten} envelopes: its files were damaged or taken away,"
                    " or they were in memory only"
                )
                self._writer.write("events", [fault_event(text, self._writer.clock)])
            self._writer.save(machine=machine)
            self._db.execute(
                "UPDATE envelopes SET state = 'pending', code = NULL"
                " WHERE state = 'parked' AND code IN ('unanswered', 'unsupported')"
            )

    def _place(self, key: Key) -> tuple[int | None, int]:
        return self._writer.streams.get(key.stream), key.seq

    def _doubt(self, numbers: Mapping[str, int]) -> int:
        """Take over how far streams have come, where that is further than is known; return by how much."""
        further = {stream: last for stream, last in numbers.items() if last > self._writer.last(stream)}
        forgotten = sum(last - self._writer.last(stream) for stream, last in further.items())
        self._db.executemany(
            "INSERT INTO streams (stream, last) VALUES (?, ?)"
            " ON CONFLICT (stream) DO UPDATE SET last = excluded.last",
            further.items(),
        )
        self._writer.save(**{_DOUBT + stream: last for stream, last in further.items()})
        self._writer.reload()
        return forgotten

    def _adopt(self, envelopes: Iterable[StoredEnvelope]) -> int:
        adopted = 0
        for envelope in envelopes:
            adopted += self._writer.adopt(envelope)
            self._trim()
        return adopted

    def _evict(self, rows: Sequence[eviction.Row], reason: str) -> list[LostRange]:
        """Delete ``rows``; return what has to be declared lost by that."""
        self._given_up += sum(row.state != "acknowledged" for row in rows)
        return eviction.remove(self._db, rows, reason)

    def _trim(self, reason: str = _FULL) -> None:
        """Get back below the bound, by a slab at once: losses are then told in few, long ranges."""
        if eviction.used_bytes(self._db) <= self._max_bytes:
            return
        target = self._max_bytes - min(_MAX_SLAB, self._max_bytes // 32)
        lost: list[LostRange] = []
        while (excess := eviction.used_bytes(self._db) - target) > 0:
            rows = eviction.victims(self._db, excess, self._max_bytes)
            if not rows:
                break
            lost += self._evict(rows, reason)
        self._writer.declare(lost)

    def _rehome(self, row: int, key: Key, envelope: Envelope) -> None:
        if key.stream == self.stream:
            self._writer.rotate("another agent uses the stream of this spool; going on under a new stream")
        told = eviction.losses_of(self._db, row)
        eviction.delete(self._db, eviction.of_id(self._db, row))
        if told:
            self._writer.declare(told)
        else:
            self._writer.write(envelope.class_, envelope.records, boot=envelope.boot)

    def _shrink(self, keep: int) -> None:
        """Give free pages but ``keep`` back to the file system, so many at most that nobody waits for long.

        Every page that is freed may move another one, which goes through the log: hence in small steps.
        """
        for _ in range(_VACUUM_STEPS):
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            if free <= 2 * keep:
                return
            # As a script, since execute() ends this statement after its first page.
            self._db.executescript(f"PRAGMA incremental_vacuum({min(free - keep, _VACUUM_PAGES)})")

    def _first(self, order: Literal["ASC", "DESC"], without: Collection[Key]) -> Spooled | None:
        busy = json.dumps(
            [f"{self._writer.streams[k.stream]}:{k.seq}" for k in without if self.has(k.stream)]
        )
        while True:
            row = self._db.execute(
                "SELECT streams.stream, envelopes.id, seq, digest, payload"  # noqa: S608
                " FROM envelopes JOIN streams ON streams.id = envelopes.stream WHERE state = 'pending'"
                " AND envelopes.stream || ':' || seq NOT IN (SELECT value FROM json_each(?))"
                f" ORDER BY envelopes.id {order} LIMIT 1",
                (busy,),
            ).fetchone()
            if row is None:
                return None
            if good := self._intact(*row):
                return good

    def _intact(self, stream: str, row: int, seq: int, fingerprint: str, payload: Any) -> Spooled | None:
        """Return the envelope if its bytes are what was written, or declare it lost."""
        if isinstance(payload, bytes) and digest(payload) == fingerprint:
            return Spooled(Key(stream, seq), payload)
        with self._transaction():
            rows = eviction.of_id(self._db, row)
            self._writer.declare(self._evict(rows, "its bytes were damaged on the disk"))
        return None


def _readable(payload: bytes) -> Envelope | None:
    try:
        return decode(Envelope, payload)
    except ProtocolError:
        return None


def _slab(envelopes: Iterator[StoredEnvelope]) -> list[StoredEnvelope]:
    """Return the next envelopes, as many as one transaction should carry."""
    part: list[StoredEnvelope] = []
    carried = 0
    for envelope in envelopes:
        part.append(envelope)
        carried += len(envelope.payload)
        if carried >= _ADOPT_BYTES:
            break
    return part


def _highest(survivors: Iterable[StoredEnvelope]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in survivors:
        found[one.stream] = max(found.get(one.stream, 0), one.seq)
    return found


def _lost(stream: str, span: Range, reason: str) -> LostRange:
    return LostRange(stream=stream, first=span[0], last=span[1], records=0, reason=reason)
