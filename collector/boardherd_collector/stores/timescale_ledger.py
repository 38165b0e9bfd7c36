"""The ledger in PostgreSQL: which envelopes are in, their digests, and the clocks of boots."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from boardherd_collector.ledger import Ledger, Range
from boardherd_collector.stores.base import DIGESTS_KEPT, Greeted, Greeting, Received
from boardherd_collector.stores.intake import StreamBook, missing
from boardherd_collector.stores.postgres import POISON, Db, savepoint
from boardherd_collector.stores.timescale_inventory import ensure, hear
from boardherd_collector.times import relearned
from boardherd_shared.records import EventRecord

_TIDY_EVERY = 50
"""Digests beyond those that are kept go when so many envelopes have come: a few more may be there meanwhile."""
_ADDED = (
    "envelopes", "lost_envelopes", "host_records", "board_records", "relay_records", "event_records", "dead_letters",
)  # fmt: skip
_NEWLY = ", ".join(f"{name} = streams.{name} + excluded.{name}" for name in _ADDED)
_CLOSE = f"""
INSERT INTO streams (stream, test_pc, watermark, ranges, created_at, updated_at, {", ".join(_ADDED)})
SELECT given.stream, given.test_pc, given.watermark, given.ranges, $5, $5, {", ".join(_ADDED)}
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::jsonb[], $6::bigint[], $7::numeric[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
    AS given (stream, test_pc, watermark, ranges, {", ".join(_ADDED)})
ORDER BY given.stream
ON CONFLICT (stream) DO UPDATE SET watermark = excluded.watermark, ranges = excluded.ranges,
    updated_at = excluded.updated_at, {_NEWLY}
RETURNING stream, number, envelopes
"""
_TIDY = f"""
DELETE FROM stream_digests USING (
    SELECT number, (
        SELECT seq FROM stream_digests WHERE stream = number ORDER BY seq DESC LIMIT 1 OFFSET {DIGESTS_KEPT}
    ) AS beyond FROM unnest($1::integer[]) AS number
) AS full_one
WHERE stream_digests.stream = full_one.number AND seq <= full_one.beyond
"""


@dataclass
class Tally:
    """What was added to one stream."""

    envelopes: int = 0
    lost: int = 0
    dead: int = 0
    records: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the figures of ``other``."""
        self.envelopes += other.envelopes
        self.lost += other.lost
        self.dead += other.dead
        self.records.update(other.records)

    def row(self) -> tuple[int, ...]:
        """Return the figures in the order of their columns."""
        kinds = (self.records[kind] for kind in ("host", "board", "relay", "event"))
        return self.envelopes, self.lost, *kinds, self.dead


async def open_books(db: Db, group: Sequence[Received]) -> dict[str, StreamBook]:
    """Return what is known of every stream that ``group`` touches, by its envelopes or by their losses."""
    streams = {envelope.stream for envelope in group}
    for envelope in group:
        for _, record in envelope.records:
            if isinstance(record, EventRecord) and record.loss is not None:
                streams.add(record.loss.stream)
    return await read_books(db, sorted(streams), [(envelope.stream, envelope.seq) for envelope in group])


async def read_books(
    db: Db, streams: Sequence[str], keys: Sequence[tuple[str, int]] = ()
) -> dict[str, StreamBook]:
    """Return what is known of ``streams``, with the digests of ``keys`` (stream and number)."""
    rows = await db.fetch(
        "SELECT stream, pc.id, watermark, ranges FROM streams"
        " JOIN test_pcs AS pc ON pc.number = streams.test_pc WHERE stream = ANY($1)",
        list(streams),
    )
    books = {}
    for stream, agent, watermark, ranges in rows:
        books[stream] = StreamBook(
            agent, Ledger(watermark, [(first, last) for first, last in json.loads(ranges)])
        )
    if books and keys:
        digests = await db.fetch(
            "SELECT streams.stream, asked.seq, digest FROM unnest($1::text[], $2::bigint[]) AS asked (stream, seq)"
            " JOIN streams ON streams.stream = asked.stream"
            " JOIN stream_digests ON stream_digests.stream = streams.number AND stream_digests.seq = asked.seq",
            [stream for stream, _ in keys],
            [seq for _, seq in keys],
        )
        for stream, seq, digest in digests:
            books[stream].digests[seq] = digest.hex()
    return books


async def clocks(db: Db, envelopes: Iterable[Received]) -> dict[tuple[str, str], int]:
    """Return the offsets of the boots that ``envelopes`` come from, as far as they are known."""
    return await _clocks(db, {(envelope.agent, envelope.boot) for envelope in envelopes})


async def _clocks(db: Db, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    boots = sorted(wanted)
    rows = await db.fetch(
        "SELECT pc.id, clock.boot, clock.offset_us FROM unnest($1::text[], $2::text[]) AS asked (agent, boot)"
        " JOIN test_pcs AS pc ON pc.id = asked.agent"
        " JOIN boot_clocks AS clock ON clock.test_pc = pc.number AND clock.boot = asked.boot",
        [agent for agent, _ in boots],
        [boot for _, boot in boots],
    )
    return {(agent, boot): offset for agent, boot, offset in rows}


async def close_books(
    db: Db,
    books: Mapping[str, StreamBook],
    tallies: Mapping[str, Tally],
    pcs: Mapping[str, int],
    new: Sequence[Received],
    now: int,
) -> None:
    """Write back what is known of the streams now, and keep the digests of the new envelopes.

    Rows are written in the order of their keys, so that two writers could never wait for each other in a circle.
    """
    streams = sorted(books)
    figures = [tallies.get(stream, Tally()).row() for stream in streams]
    rows = await db.fetch(
        _CLOSE,
        streams,
        [pcs[books[stream].agent] for stream in streams],
        [books[stream].ledger.watermark for stream in streams],
        [json.dumps(books[stream].ledger.ranges) for stream in streams],
        now,
        *map(list, zip(*figures, strict=True) if figures else [()] * len(_ADDED)),
    )
    numbers = {stream: number for stream, number, _ in rows}
    await db.copy_records_to_table(
        "stream_digests",
        records=[(numbers[item.stream], item.seq, bytes.fromhex(item.digest)) for item in new],
        columns=("stream", "seq", "digest"),
    )
    full = [
        number
        for stream, number, total in rows
        if stream in tallies
        and total // _TIDY_EVERY != (total - tallies[stream].envelopes) // _TIDY_EVERY
        and total > DIGESTS_KEPT
    ]
    if full:
        await db.execute(_TIDY, full)


async def prune_digests(db: Db, before: int, limit: int) -> int:
    """Delete up to ``limit`` digests of streams that are done with; return how many went."""
    tag = await db.execute(
        "DELETE FROM stream_digests WHERE ctid = ANY (ARRAY(SELECT stream_digests.ctid FROM streams"
        " JOIN stream_digests ON stream_digests.stream = streams.number"
        " LEFT JOIN test_pcs AS pc ON pc.number = streams.test_pc"
        " WHERE streams.updated_at < $1 AND (ranges = '[]' OR pc.retired_at IS NOT NULL) LIMIT $2))",
        before,
        limit,
    )
    return int(tag.rpartition(" ")[2])


async def greet(db: Db, greetings: Sequence[Greeting]) -> list[Greeted]:
    """Take hellos in within the caller's transaction, and tell what the ledger lacks."""
    books = await read_books(db, sorted({stream for greeting in greetings for stream in greeting.asked}))
    kept = await _keep(db, greetings)
    return [
        Greeted(clock, _lacking(books, greeting), refused)
        for greeting, (clock, refused) in zip(greetings, kept, strict=True)
    ]


def _lacking(books: Mapping[str, StreamBook], greeting: Greeting) -> dict[str, tuple[Range, ...]]:
    return {
        stream: missing(books.get(stream), greeting.agent, ranges)
        for stream, ranges in greeting.asked.items()
    }


async def _keep(db: Db, greetings: Sequence[Greeting]) -> list[tuple[int, str]]:
    """Keep hellos and clocks, all but those that are refused; return the clock that holds, and why not.

    What is refused is found by halves: the lot is undone and tried again in parts.
    """
    try:
        held = await savepoint(db, lambda: _keep_all(db, greetings))
    except POISON as error:
        if len(greetings) == 1:
            return [(greetings[0].clock, str(error))]
        middle = len(greetings) // 2
        return [*await _keep(db, greetings[:middle]), *await _keep(db, greetings[middle:])]
    return [(clock, "") for clock in held]


async def _keep_all(db: Db, greetings: Sequence[Greeting]) -> list[int]:
    """Keep hellos and clocks; return the clocks that hold."""
    now = max((greeting.received_at for greeting in greetings), default=0)
    pcs = await ensure(db, "test_pcs", {greeting.agent: None for greeting in greetings}, now)
    welcome = [greeting for greeting in greetings if greeting.agent in pcs]
    for said in welcome:
        await hear(db, pcs[said.agent], said.agent, said.hello, said.received_at)
    known = await _clocks(db, {(said.agent, said.hello.boot) for said in welcome})
    holds = {
        said.agent: relearned(known.get((said.agent, said.hello.boot)), said.clock) for said in greetings
    }
    await db.executemany(
        "INSERT INTO boot_clocks (test_pc, boot, offset_us, learned_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (test_pc, boot) DO UPDATE"
        " SET offset_us = excluded.offset_us, learned_at = excluded.learned_at",
        [
            (pcs[said.agent], said.hello.boot, holds[said.agent], said.received_at)
            for said in welcome
            if holds[said.agent] != known.get((said.agent, said.hello.boot))
        ],
    )
    return [holds[said.agent] for said in greetings]
