"""The writing side of a spool database: who numbers envelopes, and by which clock they age."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from boardherd_agent.delivery.envelopes import (
    Class,
    Draft,
    Key,
    Origin,
    StoredEnvelope,
    fault_event,
    loss_event,
    merge_losses,
    pack,
)
from boardherd_shared.clock import Clock
from boardherd_shared.ids import new_stream
from boardherd_shared.records import LostRange, Record

_LOSSES_PER_ENVELOPE = 400


class Writer:
    """Writes envelopes of the present stream, inside a transaction that the caller has begun."""

    def __init__(self, db: sqlite3.Connection, agent: str, clock: Clock) -> None:
        """Take up the streams and the running time that ``db`` has stored."""
        self._db = db
        self._origin = Origin(agent, clock.boot)
        self.clock = clock
        self._begin_time()
        self.reload()
        self.written: Counter[str] = Counter()
        """Records written in this transaction, by kind; the caller empties it."""

    def reload(self) -> None:
        """Read again which streams there are."""
        rows = self._db.execute("SELECT stream, id FROM streams ORDER BY id").fetchall()
        self.streams: dict[str, int] = dict(rows)
        """Row id by stream, the oldest first."""
        self.stream: str = rows[-1][0] if rows else ""
        """The stream that new envelopes get."""

    def rotate(self, why: str | None = None) -> None:
        """Go on under a new stream; ``why`` becomes its first record."""
        self._db.execute("INSERT INTO streams (stream) VALUES (?)", (new_stream(),))
        self.reload()
        if why:
            self.write("events", [fault_event(why, self.clock)])

    def last(self, stream: str) -> int:
        """Return the highest number that ``stream`` has given out, 0 if none."""
        row = self._db.execute("SELECT last FROM streams WHERE stream = ?", (stream,)).fetchone()
        return int(row[0]) if row else 0

    def write(self, class_: Class, records: Sequence[Record], *, boot: str | None = None) -> list[Key]:
        """Write ``records``, of the present boot unless another is named; return the keys they got."""
        origin = Origin(self._origin.agent, boot or self._origin.boot)
        first = self.last(self.stream) + 1
        drafts = pack(origin, self.stream, first, class_, records, self.clock)
        for draft in drafts:
            self._insert(draft)
        self.written.update(record.kind for record in records)
        return [Key(self.stream, draft.seq) for draft in drafts]

    def declare(self, losses: Iterable[LostRange]) -> None:
        """Write envelopes that tell of ``losses``, and remember which envelope tells of which."""
        merged = merge_losses(losses)
        for at in range(0, len(merged), _LOSSES_PER_ENVELOPE):
            part = merged[at : at + _LOSSES_PER_ENVELOPE]
            (key,) = self.write("events", [loss_event(loss, self.clock) for loss in part])
            (carrier,) = self._db.execute(
                "SELECT id FROM envelopes WHERE stream = ? AND seq = ?", (self.streams[key.stream], key.seq)
            ).fetchone()
            self._remember(carrier, part)

    def enlist(self, numbers: Mapping[str, int]) -> None:
        """Take up streams of another spool and how far they have come; new envelopes get the present one still."""
        for stream, last in reversed(list(numbers.items())):
            self._db.execute(
                # Below all others, since the highest row is the present stream.
                "INSERT INTO streams (id, stream, last) SELECT min(id) - 1, ?, ? FROM streams WHERE true"
                " ON CONFLICT (stream) DO UPDATE SET last = max(last, excluded.last)",
                (stream, last),
            )
        self.reload()

    def adopt(self, one: StoredEnvelope) -> bool:
        """Write an envelope of another spool as it is; False if its stream is unknown or it makes no sense."""
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO envelopes"
            " (stream, seq, class, state, code, records, size, digest, created, oldest, newest, payload)"
            " SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM streams WHERE stream = ? AND last >= ?",
            (
                one.seq,
                one.class_,
                one.state,
                one.code,
                one.records,
                len(one.payload),
                one.digest,
                self.running_time() - one.age,
                one.oldest,
                one.newest,
                one.payload,
                one.stream,
                one.seq,
            ),
        )
        if cursor.rowcount < 1:
            return False
        assert cursor.lastrowid is not None
        self._remember(cursor.lastrowid, one.losses)
        return True

    def running_time(self) -> int:
        """Return the microseconds for which a PC with this spool has been running.

        Age is measured by this and not by the wall clock, which may jump by years on a PC whose battery is
        empty, and would then take a fresh spool for an old one.
        """
        return self._time_at_start + self.clock.up() - self._up_at_start

    def save_time(self) -> None:
        """Store the running time, so that it goes on from here after a restart."""
        self.save(running_time=self.running_time(), boot=self.clock.boot, up=self.clock.up())

    def save(self, **values: str | int) -> None:
        """Store facts about the file."""
        self._db.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", values.items())

    def _begin_time(self) -> None:
        meta: dict[str, str | int] = dict(self._db.execute("SELECT key, value FROM meta"))
        self._time_at_start = int(meta.get("running_time", 0))
        self._up_at_start = int(meta.get("up", 0)) if meta.get("boot") == self.clock.boot else 0

    def _remember(self, carrier: int, losses: Iterable[LostRange]) -> None:
        """Note that the envelope in row ``carrier`` tells of ``losses``."""
        self._db.executemany(
            "INSERT INTO losses (carrier, stream, first, last, records, reason, oldest, newest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(carrier, o.stream, o.first, o.last, o.records, o.reason, o.oldest, o.newest) for o in losses],
        )

    def _insert(self, draft: Draft) -> None:
        number = self.streams[self.stream]
        self._db.execute(
            "INSERT INTO envelopes (stream, seq, class, records, size, digest, created, oldest, newest, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                draft.seq,
                draft.class_,
                draft.records,
                len(draft.payload),
                draft.digest,
                self.running_time(),
                draft.oldest,
                draft.newest,
                draft.payload,
            ),
        )
        self._db.execute("UPDATE streams SET last = ? WHERE id = ?", (draft.seq, number))
