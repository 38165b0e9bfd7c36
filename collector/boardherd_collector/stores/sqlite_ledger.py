"""The ledger in SQLite: which envelopes are in, their digests, and the clocks of boots."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from boardherd_collector.ledger import Ledger
from boardherd_collector.stores import sqlite_rows as rows
from boardherd_collector.stores.base import DIGESTS_KEPT, Greeted, Greeting, Received
from boardherd_collector.stores.intake import StreamBook, missing
from boardherd_collector.stores.sqlite_inventory import ensure, hear
from boardherd_collector.times import relearned
from boardherd_shared.records import EventRecord

POISON = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,  # texts that are no UTF-8
)
"""What a single row does wrong. Everything else is wrong with the database, and ends the transaction."""


@dataclass
class Tally:
    """What was added to one stream."""

    envelopes: int = 0
    lost: int = 0
    dead: int = 0
    records: Counter[str] = field(default_factory=Counter)


def open_books(db: sqlite3.Connection, group: Sequence[Received]) -> dict[str, StreamBook]:
    """Return what is known of every stream that ``group`` touches, by its envelopes or by their losses."""
    seqs: dict[str, list[int]] = {}
    for envelope in group:
        seqs.setdefault(envelope.stream, []).append(envelope.seq)
        for _, record in envelope.records:
            if isinstance(record, EventRecord) and record.loss is not None:
                seqs.setdefault(record.loss.stream, [])
    found = {stream: read_book(db, stream, seqs[stream]) for stream in sorted(seqs)}
    return {stream: book for stream, book in found.items() if book is not None}


def read_book(db: sqlite3.Connection, stream: str, seqs: Iterable[int] = ()) -> StreamBook | None:
    """Return what is known of ``stream``, with the digests of ``seqs``; None when nothing is."""
    row = db.execute(
        "SELECT streams.number, pc.id, watermark, ranges FROM streams"
        " JOIN test_pcs AS pc ON pc.number = streams.test_pc WHERE stream = ?",
        (stream,),
    ).fetchone()
    if row is None:
        return None
    number, agent, watermark, ranges = row
    digests = {}
    for seq in seqs:
        found = db.execute(
            "SELECT digest FROM stream_digests WHERE stream = ? AND seq = ?", (number, seq)
        ).fetchone()
        if found is not None:
            digests[seq] = found[0].hex()
    return StreamBook(
        agent, Ledger(watermark, [(first, last) for first, last in json.loads(ranges)]), digests
    )


def clocks(db: sqlite3.Connection, envelopes: Iterable[Received]) -> dict[tuple[str, str], int]:
    """Return the offsets of the boots that ``envelopes`` come from, as far as they are known."""
    clocks = {}
    for agent, boot in {(envelope.agent, envelope.boot) for envelope in envelopes}:
        offset = read_clock(db, agent, boot)
        if offset is not None:
            clocks[agent, boot] = offset
    return clocks


def read_clock(db: sqlite3.Connection, agent: str, boot: str) -> int | None:
    """Return the offset of a boot's clock, None if it was never learned."""
    row = db.execute(
        "SELECT offset_us FROM boot_clocks JOIN test_pcs AS pc ON pc.number = test_pc"
        " WHERE pc.id = ? AND boot = ?",
        (agent, boot),
    ).fetchone()
    return None if row is None else int(row[0])


def close_book(db: sqlite3.Connection, stream: str, book: StreamBook, tally: Tally, now: int) -> None:
    """Write back what is known of ``stream`` now."""
    pc = ensure(db, "test_pcs", book.agent, now)
    added: dict[str, str | int | None] = {
        "envelopes": tally.envelopes,
        "lost_envelopes": tally.lost,
        "dead_letters": tally.dead,
        **{f"{kind}_records": tally.records[kind] for kind in ("host", "board", "relay", "event")},
    }
    values: dict[str, str | int | None] = {
        "stream": stream,
        "test_pc": pc,
        "watermark": book.ledger.watermark,
        "ranges": json.dumps(book.ledger.ranges),
        "created_at": now,
        "updated_at": now,
    }
    updates = ", ".join(f"{name} = {name} + excluded.{name}" for name in added)
    rows.insert(
        db,
        "streams",
        values | added,
        "ON CONFLICT (stream) DO UPDATE SET watermark = excluded.watermark, ranges = excluded.ranges,"
        f" updated_at = excluded.updated_at, {updates}",
    )


def keep_digests(db: sqlite3.Connection, new: Sequence[Received]) -> None:
    """Keep the digests of the new envelopes, and of each stream only the newest."""
    db.executemany(
        "INSERT OR REPLACE INTO stream_digests (stream, seq, digest)"
        " SELECT number, ?, ? FROM streams WHERE stream = ?",
        [(envelope.seq, bytes.fromhex(envelope.digest), envelope.stream) for envelope in new],
    )
    db.executemany(
        "DELETE FROM stream_digests WHERE stream = (SELECT number FROM streams WHERE stream = ?1) AND seq <="
        " (SELECT seq FROM stream_digests WHERE stream = (SELECT number FROM streams WHERE stream = ?1)"
        f" ORDER BY seq DESC LIMIT 1 OFFSET {DIGESTS_KEPT})",
        [(stream,) for stream in sorted({envelope.stream for envelope in new})],
    )


def prune_digests(db: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete up to ``limit`` digests of streams that are done with; return how many went."""
    return db.execute(
        "DELETE FROM stream_digests WHERE (stream, seq) IN (SELECT stream_digests.stream, seq FROM streams"
        " JOIN stream_digests ON stream_digests.stream = streams.number"
        " LEFT JOIN test_pcs AS pc ON pc.number = streams.test_pc"
        " WHERE streams.updated_at < ? AND (ranges = '[]' OR pc.retired_at IS NOT NULL) LIMIT ?)",
        (before, limit),
    ).rowcount


def greet(db: sqlite3.Connection, greetings: Sequence[Greeting]) -> list[Greeted]:
    """Take hellos in within the caller's transaction, and tell what the ledger lacks."""
    return [_greet(db, greeting) for greeting in greetings]


def _greet(db: sqlite3.Connection, greeting: Greeting) -> Greeted:
    agent, hello, now = greeting.agent, greeting.hello, greeting.received_at
    lacking = {
        stream: missing(read_book(db, stream), agent, ranges) for stream, ranges in greeting.asked.items()
    }
    db.execute("SAVEPOINT hello")
    try:
        hear(db, agent, hello, now)
        answer = Greeted(_learn_clock(db, agent, hello.boot, greeting.clock, now), lacking)
    except POISON as error:
        db.execute("ROLLBACK TO hello")
        answer = Greeted(greeting.clock, lacking, str(error))
    db.execute("RELEASE hello")
    return answer


def _learn_clock(db: sqlite3.Connection, agent: str, boot: str, offset: int, now: int) -> int:
    """Keep the offset of a boot's clock, and return the one that holds; see :func:`relearned`."""
    pc = ensure(db, "test_pcs", agent, now)
    if pc is None:
        return offset
    known = read_clock(db, agent, boot)
    holds = relearned(known, offset)
    if holds != known:
        db.execute("INSERT OR REPLACE INTO boot_clocks VALUES (?, ?, ?, ?)", (pc, boot, holds, now))
    return holds
