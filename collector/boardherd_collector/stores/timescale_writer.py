"""The one transaction by which envelopes come into PostgreSQL: ledger, records, current state, all or nothing.

Records go in by COPY, all of a kind at once. When the database refuses one of them, the lot is undone and tried
again in halves, down to the one that is to blame, which goes to the dead letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from boardherd_collector.owners import Owners
from boardherd_collector.stores import timescale_rows as rows
from boardherd_collector.stores.base import Commit, Outcome, Received
from boardherd_collector.stores.intake import DeadLetter, Placed, StreamBook, batch, dead_letter, judge
from boardherd_collector.stores.postgres import POISON, Db, savepoint
from boardherd_collector.stores.timescale_inventory import ensure
from boardherd_collector.stores.timescale_ledger import Tally, clocks, close_books, open_books
from boardherd_collector.stores.timescale_parts import Part, Situation, boards, events, hosts, relays
from boardherd_collector.times import AnyRecord

P = TypeVar("P", bound=AnyRecord)

_DEAD_LETTERS_KEPT = 10_000


async def commit(db: Db, group: Sequence[Received], owners: Owners, now: int) -> Commit:
    """Store the new envelopes of ``group`` within the caller's transaction."""
    pcs = await ensure(db, "test_pcs", dict.fromkeys(sorted({item.agent for item in group})), now)
    books = await open_books(db, group)
    before = {stream: _state(book) for stream, book in books.items()}
    outcomes = judge(group, books, pcs)
    judged = zip(group, outcomes, strict=True)
    new = [envelope for envelope, outcome in judged if outcome is Outcome.COMMITTED]
    writer = _Writer(db, Situation(owners, pcs, books, now))
    await writer.write(new)
    await writer.note_hours()
    changed = {stream: book for stream, book in books.items() if before.get(stream) != _state(book)}
    await close_books(db, changed, writer.tallies, pcs, new, now)
    await _touch_pcs(db, group, pcs)
    return Commit(outcomes, writer.taken, len(writer.dead), writer.finished)


def _state(book: StreamBook) -> tuple[object, ...]:
    return book.ledger.watermark, book.ledger.ranges


@dataclass
class _Writer:
    """Writes the records of new envelopes, and counts."""

    db: Db
    situation: Situation
    tallies: dict[str, Tally] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    dead: list[DeadLetter] = field(default_factory=list)
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    due: set[tuple[str, int, int]] = field(default_factory=set)
    confirmed: dict[tuple[int, int], int] = field(default_factory=dict)

    def tally(self, stream: str) -> Tally:
        """Return the figures of ``stream``."""
        return self.tallies.setdefault(stream, Tally())

    async def write(self, envelopes: Sequence[Received]) -> None:
        """Write everything that is in ``envelopes``."""
        for envelope in envelopes:
            self.tally(envelope.stream).envelopes += 1
        records = batch(envelopes, await clocks(self.db, envelopes))
        self.dead.extend(records.dead)
        await self._store(records.hosts, hosts)
        await self._store(records.boards, boards)
        await self._store(records.relays, relays)
        await self._store(records.events, events)
        for letter in self.dead:
            self.tally(letter.envelope.stream).dead += 1
        if self.dead:
            await self.db.copy_records_to_table(
                "dead_letters", records=map(rows.dead_letter, self.dead), columns=rows.DEAD_LETTERS
            )
            await self.db.execute(
                "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - $1",
                _DEAD_LETTERS_KEPT,
            )

    async def _store(
        self,
        records: Sequence[Placed[P]],
        write: Callable[[Db, Situation, Sequence[Placed[P]]], Awaitable[Part]],
    ) -> None:
        """Write ``records``, which are in order of time, or all of them but those that are refused."""
        if not records:
            return
        try:
            part = await savepoint(self.db, lambda: write(self.db, self.situation, records))
        except POISON as error:
            if len(records) == 1:
                self._bury(records[0], str(error))
                return
            middle = len(records) // 2
            await self._store(records[:middle], write)
            await self._store(records[middle:], write)
        else:
            self._count(records, part)

    def _count(self, records: Sequence[Placed[P]], part: Part) -> None:
        refused = {_key(placed) for placed, _ in part.refused}
        for placed in records:
            if _key(placed) not in refused:
                self.taken[placed.record.kind] += 1
                self.tally(placed.envelope.stream).records[placed.record.kind] += 1
        for refusal, reason in part.refused:
            self._bury(refusal, reason)
        for stream, lost in part.lost.items():
            self.tally(stream).lost += lost
        self.situation.books.update(part.books)
        self.finished.update(part.finished)
        self.due.update(part.due)
        for place, minutes in part.confirmed.items():
            self.confirmed[place] = self.confirmed.get(place, 0) | minutes

    def _bury(self, placed: Placed[AnyRecord], reason: str) -> None:
        self.dead.append(dead_letter(placed.envelope, placed.position, placed.record, reason))

    async def note_hours(self) -> None:
        """Note the hours whose rollups are due, and the minutes in which verdicts were confirmed."""
        await self.db.executemany(
            "INSERT INTO rollup_queue (series, thing, hour) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            sorted(self.due),
        )
        await self.db.executemany(
            "INSERT INTO board_minutes AS old (board, hour, confirmed) VALUES ($1, $2, $3)"
            " ON CONFLICT (board, hour) DO UPDATE SET confirmed = old.confirmed | excluded.confirmed",
            [(*place, minutes) for place, minutes in sorted(self.confirmed.items())],
        )


def _key(placed: Placed[AnyRecord]) -> tuple[str, int, int]:
    return placed.envelope.stream, placed.envelope.seq, placed.position


async def _touch_pcs(db: Db, group: Sequence[Received], pcs: Mapping[str, int]) -> None:
    """Note when each agent was heard."""
    heard: dict[int, int] = {}
    for envelope in group:
        if number := pcs.get(envelope.agent):
            heard[number] = max(heard.get(number, 0), envelope.received_at)
    await db.executemany(
        "UPDATE test_pcs SET last_heartbeat_at = $2"
        " WHERE number = $1 AND (last_heartbeat_at < $2 OR last_heartbeat_at IS NULL)",
        sorted(heard.items()),
    )
