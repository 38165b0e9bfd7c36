"""What leaves a spool that is full or too old, and what is left behind to tell of it.

The order is: acknowledged envelopes, then samples, then events; oldest first, whole envelopes only. Events
may use half of the space before they pay for themselves, so that neither class can push the other out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from boardherd_agent.delivery.schema import PAGE
from boardherd_shared.records import LostRange

_CHUNK = 500
_ROW_OVERHEAD = 200
"""Bytes that a row and its index entries take beside the payload, roughly."""


class Row(NamedTuple):
    """An envelope that may have to go."""

    id: int
    stream: str
    seq: int
    state: str
    records: int
    size: int
    created: int
    oldest: int
    newest: int


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how many bytes the database uses, also in the middle of a transaction."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int((pages - free) * PAGE)


def victims(db: sqlite3.Connection, excess: int, max_bytes: int) -> list[Row]:
    """Return the next envelopes to evict, some hundred at most, to free about ``excess`` bytes."""
    rows = acknowledged(db) or _rows(db, "class = ?", _class_to_pay(db, max_bytes))
    out: list[Row] = []
    for row in rows:
        if excess <= 0:
            break
        out.append(row)
        excess -= row.size + _ROW_OVERHEAD
    return out


def acknowledged(db: sqlite3.Connection) -> list[Row]:
    """Return the oldest acknowledged envelopes, some hundred at most."""
    return _rows(db, "state = 'acknowledged'")


def older_than(db: sqlite3.Connection, created: int) -> list[Row]:
    """Return the oldest envelopes as far as they were made before ``created``, some hundred at most."""
    return list(takewhile(lambda row: row.created < created, _rows(db, "1")))


def of_id(db: sqlite3.Connection, number: int) -> list[Row]:
    """Return the envelope in the row ``number``, if there is one."""
    return _rows(db, "envelopes.id = ?", number)


def remove(db: sqlite3.Connection, rows: Sequence[Row], reason: str) -> list[LostRange]:
    """Delete ``rows`` and return what has to be declared lost by that, to be written in this transaction.

    When an envelope that tells of earlier losses goes before it was stored, those losses are among them.
    """
    lost: list[LostRange] = []
    for row in rows:
        if row.state != "acknowledged":
            told = losses_of(db, row.id)
            lost += told
            lost.append(
                LostRange(
                    stream=row.stream,
                    first=row.seq,
                    last=row.seq,
                    # What a bearer of losses says is said again, so its own records are not lost.
                    records=0 if told else row.records,
                    reason=reason,
                    oldest=row.oldest,
                    newest=row.newest,
                )
            )
    delete(db, rows)
    return lost


def delete(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Delete ``rows`` without a word."""
    ids = [(row.id,) for row in rows]
    db.executemany("DELETE FROM losses WHERE carrier = ?", ids)
    db.executemany("DELETE FROM envelopes WHERE id = ?", ids)


def losses_of(db: sqlite3.Connection, carrier: int) -> list[LostRange]:
    """Return the losses that the envelope in row ``carrier`` tells of."""
    return [
        LostRange(
            stream=stream,
            first=first,
            last=last,
            records=records,
            reason=reason,
            oldest=oldest,
            newest=newest,
        )
        for stream, first, last, records, reason, oldest, newest in db.execute(
            "SELECT stream, first, last, records, reason, oldest, newest FROM losses WHERE carrier = ?",
            (carrier,),
        )
    ]


def _class_to_pay(db: sqlite3.Connection, max_bytes: int) -> str:
    sizes = dict(db.execute("SELECT class, sum(size) FROM totals GROUP BY class"))
    return "events" if sizes["events"] > max_bytes // 2 or not sizes["samples"] else "samples"


def _rows(db: sqlite3.Connection, where: str, *values: Any) -> list[Row]:
    return [
        Row(*row)
        for row in db.execute(
            "SELECT envelopes.id, streams.stream, seq, state, records, size, created, oldest, newest"  # noqa: S608
            " FROM envelopes JOIN streams ON streams.id = envelopes.stream"
            f" WHERE {where} ORDER BY envelopes.id LIMIT {_CHUNK}",
            values,
        )
    ]
