"""What can still be read of a damaged spool: every envelope carries its own proof, the digest."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from boardherd_agent.delivery import schema
from boardherd_agent.delivery.database import SpoolDatabase
from boardherd_agent.delivery.envelopes import StoredEnvelope
from boardherd_shared.messages import Envelope, ProtocolError, decode, digest
from boardherd_shared.values import MAX_INT

_STREAM = re.compile("[0-9a-f]{16,64}")
_STATES = {"pending", "acknowledged", "parked"}


def save(damaged: Path, into: SpoolDatabase, noted: Mapping[str, int]) -> int:
    """Carry over what can be read of ``damaged``; return how many envelopes.

    Of streams that it does not even name any more, ``noted`` tells how far they had come. Raises
    sqlite3.DatabaseError when ``into`` cannot take it.
    """
    try:
        with opened(damaged) as db:
            found = streams(db)
            highest = {s: max(found.get(s, 0), noted.get(s, 0)) for s in (*found, *noted)}
            return into.adopt(highest, survivors(db))
    except sqlite3.DatabaseError as error:
        if schema.fault(error) is None and not isinstance(error, sqlite3.OperationalError):
            raise
    into.adopt(noted, iter(()))
    return 0


@contextlib.contextmanager
def opened(damaged: Path) -> Iterator[sqlite3.Connection]:
    """Open a damaged database for the functions below; raises sqlite3.DatabaseError."""
    db = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        db.text_factory = schema.lenient
        # Without this SQLite refuses to read anything of a file that is shorter than its header says.
        db.execute("PRAGMA writable_schema = ON")
        yield db
    finally:
        db.close()


def streams(db: sqlite3.Connection) -> dict[str, int]:
    """Return the highest number of each stream, as far as that can be read."""
    found: dict[str, int] = {}
    with contextlib.suppress(sqlite3.DatabaseError, OverflowError):
        for stream, last in db.execute("SELECT stream, last FROM streams ORDER BY id"):
            if isinstance(stream, str) and _STREAM.fullmatch(stream) and isinstance(last, int):
                found[stream] = min(max(last, 0), MAX_INT)
    return found


def survivors(db: sqlite3.Connection) -> Iterator[StoredEnvelope]:
    """Yield every envelope that can be read and whose bytes fit its digest, the oldest first."""
    at, stride, end = 0, 1, _highest_row(db)
    while at < end:
        try:
            row = db.execute(
                "SELECT id, state, code, payload, digest FROM envelopes WHERE id > ? ORDER BY id LIMIT 1",
                (at,),
            ).fetchone()
        except (sqlite3.DatabaseError, OverflowError):
            # A damaged page hides its neighbours too: leap ahead in growing strides until something answers.
            at, stride = at + stride, stride * 2
            continue
        if row is None:
            return
        at, stride = row[0], 1
        if one := _survivor(*row[1:]):
            yield one


def _survivor(state: object, code: object, payload: object, fingerprint: object) -> StoredEnvelope | None:
    """Return an envelope by what its own bytes say: the columns beside them may be what was hit."""
    if not isinstance(payload, bytes) or not isinstance(fingerprint, str) or digest(payload) != fingerprint:
        return None
    try:
        envelope = decode(Envelope, payload)
    except ProtocolError:
        return None
    times = [record.at for record in envelope.records]
    return StoredEnvelope(
        stream=envelope.stream,
        seq=envelope.seq,
        class_=envelope.class_,
        state=state if isinstance(state, str) and state in _STATES else "pending",
        code=code if isinstance(code, str) else None,
        records=len(envelope.records),
        oldest=min(times),
        newest=max(times),
        payload=payload,
        digest=fingerprint,
    )


def _highest_row(db: sqlite3.Connection) -> int:
    try:
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'envelopes'").fetchone()
    except sqlite3.DatabaseError:
        return 0
    return int(row[0]) if row else 0
