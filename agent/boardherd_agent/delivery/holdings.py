"""What a spool database holds: questions to its tables, none of which writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace

from boardherd_agent.delivery import eviction
from boardherd_agent.delivery.envelopes import StoredEnvelope
from boardherd_agent.delivery.ranges import Range


@dataclass(frozen=True)
class Totals:
    """What a spool database holds."""

    pending: int
    acknowledged: int
    parked: int
    size: int
    """Bytes that the database uses, free pages not counted."""
    oldest_age_s: float
    """How long the oldest pending envelope has waited, in seconds of running time."""


def totals(db: sqlite3.Connection, now: int) -> Totals:
    """Return the totals at the running time ``now``."""
    count = dict(db.execute("SELECT state, sum(envelopes) FROM totals GROUP BY state"))
    row = db.execute("SELECT created FROM envelopes WHERE state = 'pending' ORDER BY id LIMIT 1").fetchone()
    return Totals(
        pending=count["pending"],
        acknowledged=count["acknowledged"],
        parked=count["parked"],
        size=eviction.used_bytes(db),
        oldest_age_s=max(0.0, (now - row[0]) / 1e6) if row else 0.0,
    )


def numbers(db: sqlite3.Connection) -> dict[str, int]:
    """Return the highest number given out by stream, the oldest stream first."""
    return dict(db.execute("SELECT stream, last FROM streams ORDER BY id"))


def retained(db: sqlite3.Connection, stream: str) -> list[Range]:
    """Return the numbers of ``stream`` whose envelopes are here, in order and apart from each other."""
    return db.execute(
        "SELECT min(seq), max(seq) FROM"
        " (SELECT seq, seq - row_number() OVER (ORDER BY seq) AS island FROM envelopes"
        " WHERE stream = (SELECT id FROM streams WHERE streams.stream = ?))"
        " GROUP BY island ORDER BY 1",
        (stream,),
    ).fetchall()


def declared(db: sqlite3.Connection, stream: str) -> list[Range]:
    """Return the numbers of ``stream`` that an envelope here declares lost."""
    return db.execute("SELECT first, last FROM losses WHERE stream = ?", (stream,)).fetchall()


def envelopes(db: sqlite3.Connection, now: int) -> Iterator[StoredEnvelope]:
    """Yield all envelopes with what is known of them at the running time ``now``, the oldest first."""
    columns = "streams.stream, seq, class, state, code, records, oldest, newest, payload, digest"
    for row, created, *known in db.execute(
        f"SELECT envelopes.id, created, {columns}"  # noqa: S608
        " FROM envelopes JOIN streams ON streams.id = envelopes.stream ORDER BY envelopes.id"
    ):
        stored = StoredEnvelope(*known)
        yield replace(stored, age=max(0, now - created), losses=tuple(eviction.losses_of(db, row)))
