"""Questions to SQLite: the state to begin with, history, and how much there is."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from boardherd_collector.stores.answers import (
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    EventRow,
    LossRow,
    PcStatsRow,
    StreamCounts,
)
from boardherd_collector.stores.base import BoardNow, PcNow, PortNow, Snapshot
from boardherd_collector.stores.sqlite_orders import marks
from boardherd_collector.stores.sqlite_rows import COMMAND_COLUMNS, command_row
from boardherd_collector.stores.units import HOST_COLUMNS
from boardherd_collector.times import SECOND
from boardherd_shared.messages import Hello, M
from boardherd_shared.records import BoardRecord, BootTimes, HostRecord, RelayRecord

SERIES = ("pc_stats", "board_liveness", "relay_states", "events", "boots", "losses")
"""Tables with one row for each thing that happened, and a column ``timestamp``."""
_COUNTED = (*SERIES, "commands", "dead_letters")


def snapshot(db: sqlite3.Connection) -> Snapshot:
    """Return the current state; what an older program wrote and this one cannot read is left out."""
    return Snapshot(
        pcs=tuple(_pcs(db)),
        boards=tuple(_boards(db)),
        ports=tuple(_ports(db)),
        commands=_finished(db),
        marks=marks(db),
    )


def _pcs(db: sqlite3.Connection) -> list[PcNow]:
    rows = db.execute(
        "SELECT pc.id, pc.declared, pc.last_heartbeat_at, pc.hello, current.record, clock.offset_us"
        " FROM test_pcs AS pc LEFT JOIN pc_current AS current ON current.test_pc = pc.number"
        " LEFT JOIN boot_clocks AS clock ON clock.test_pc = pc.number"
        " AND clock.boot = json_extract(pc.hello, '$.boot') WHERE pc.retired_at IS NULL ORDER BY pc.id"
    )
    return [
        PcNow(
            agent=id_,
            declared=bool(declared),
            heard_at=heard_at,
            hello=_model(Hello, hello),
            sample=_model(HostRecord, sample),
            clock=clock,
        )
        for id_, declared, heard_at, hello, sample, clock in rows
    ]


def _boards(db: sqlite3.Connection) -> list[BoardNow]:
    rows = db.execute(
        "SELECT pc.id, record FROM board_current JOIN test_pcs AS pc ON pc.number = board_current.test_pc"
        " JOIN boards ON boards.number = board WHERE boards.retired_at IS NULL"
    )
    return [BoardNow(pc, record) for pc, text in rows if (record := _model(BoardRecord, text))]


def _ports(db: sqlite3.Connection) -> list[PortNow]:
    rows = db.execute(
        "SELECT pc.id, record FROM relay_port_current JOIN test_pcs AS pc ON pc.number = test_pc"
        " JOIN relays ON relays.number = relay WHERE relays.retired_at IS NULL"
    )
    return [PortNow(pc, record) for pc, text in rows if (record := _model(RelayRecord, text))]


def _finished(db: sqlite3.Connection) -> Counter[tuple[str, str]]:
    rows = db.execute(
        "SELECT pc.id, state, count(*) FROM commands JOIN speakers AS pc ON pc.number = test_pc"
        " WHERE is_final GROUP BY pc.id, state"
    )
    return Counter({(pc, state): count for pc, state, count in rows})


def _model(model: type[M], text: str | None) -> M | None:
    if text is None:
        return None
    try:
        return model.model_validate_json(text)
    except ValidationError:
        return None


def events(
    db: sqlite3.Connection, subject: str | None = None, limit: int = 100, since: int = 0
) -> list[EventRow]:
    """Return events, newest first."""
    where, values = "1", []
    if subject is not None and subject.startswith("pc/"):
        where, values = "pc.id = ?", [subject.removeprefix("pc/")]
    elif subject is not None:
        # "0" follows "/" in ASCII: a range that the index can serve, where LIKE would need escaping.
        where, values = (
            "(subject = ? OR (subject > ? AND subject < ?))",
            [subject, f"{subject}/", f"{subject}0"],
        )
    rows = db.execute(
        "SELECT timestamp, pc.id, event, subject, text, command, words FROM events"
        f" JOIN speakers AS pc ON pc.number = events.test_pc WHERE {where} AND timestamp >= ?"
        " ORDER BY timestamp DESC, events.number DESC LIMIT ?",
        [*values, since, limit],
    )
    return [
        EventRow(
            at=at / SECOND,
            pc=pc,
            event=event,
            subject=about,
            text=text,
            command=command,
            words=json.loads(words) if words else (),
        )
        for at, pc, event, about, text, command, words in rows
    ]


def commands(db: sqlite3.Connection, target: str | None = None, limit: int = 100) -> list[CommandRow]:
    """Return commands, newest first."""
    where, values = ("target = ?", [target]) if target is not None else ("1", [])
    columns = ", ".join(f"commands.{name}" for name in COMMAND_COLUMNS)
    rows = db.execute(
        f"SELECT pc.id, {columns} FROM commands JOIN speakers AS pc ON pc.number = commands.test_pc"
        f" WHERE {where} ORDER BY began_at DESC LIMIT ?",
        [*values, limit],
    )
    return [command_row(row[0], dict(zip(COMMAND_COLUMNS, row[1:], strict=True))) for row in rows]


def boots(db: sqlite3.Connection, board: str | None = None, limit: int = 100) -> list[BootRow]:
    """Return boots, newest first."""
    where, values = ("boards.id = ?", [board]) if board is not None else ("1", [])
    names = tuple(BootTimes.model_fields)
    rows = db.execute(
        f"SELECT timestamp, boards.id, pc.id, {', '.join(names)} FROM boots"
        " JOIN boards ON boards.number = boots.board JOIN test_pcs AS pc ON pc.number = boots.test_pc"
        f" WHERE {where} ORDER BY timestamp DESC LIMIT ?",
        [*values, limit],
    )
    return [
        BootRow(at=at / SECOND, board=id_, pc=pc, times=BootTimes(**dict(zip(names, times, strict=True))))
        for at, id_, pc, *times in rows
    ]


def losses(db: sqlite3.Connection, limit: int = 100) -> list[LossRow]:
    """Return losses, newest first."""
    rows = db.execute(
        "SELECT timestamp, pc.id, stream, first, last, envelopes, records, reason FROM losses"
        " JOIN test_pcs AS pc ON pc.number = losses.test_pc ORDER BY timestamp DESC LIMIT ?",
        (limit,),
    )
    names = ("pc", "stream", "first", "last", "envelopes", "records", "reason")
    return [LossRow(at=at / SECOND, **dict(zip(names, rest, strict=True))) for at, *rest in rows]


def dead_letters(db: sqlite3.Connection, limit: int = 100) -> list[DeadLetterRow]:
    """Return dead letters, newest first."""
    names = ("pc", "stream", "seq", "position", "reason", "payload")
    rows = db.execute(
        "SELECT received_at, test_pc, stream, seq, position, reason, payload FROM dead_letters"
        " ORDER BY number DESC LIMIT ?",
        (limit,),
    )
    return [DeadLetterRow(at=at / SECOND, **dict(zip(names, rest, strict=True))) for at, *rest in rows]


def host_history(db: sqlite3.Connection, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
    """Return the newest samples, oldest of them first."""
    names = tuple(HOST_COLUMNS)
    rows = db.execute(
        f"SELECT timestamp, {', '.join(names)} FROM pc_stats"
        " WHERE test_pc = (SELECT number FROM test_pcs WHERE id = ?) AND timestamp >= ?"
        " ORDER BY timestamp DESC LIMIT ?",
        (pc, since, limit),
    ).fetchall()
    return [
        PcStatsRow(timestamp=at / SECOND, **dict(zip(names, values, strict=True)))
        for at, *values in reversed(rows)
    ]


def counts(db: sqlite3.Connection) -> Counts:
    """Return how much is stored."""
    by_table = {table: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in _COUNTED}
    rows = db.execute(
        "SELECT stream, pc.id, watermark, ranges, envelopes, lost_envelopes, dead_letters,"
        " host_records, board_records, relay_records, event_records FROM streams"
        " JOIN test_pcs AS pc ON pc.number = streams.test_pc ORDER BY pc.id, streams.number"
    )
    return Counts(rows=by_table, streams=tuple(_stream(row) for row in rows))


def _stream(row: Sequence[Any]) -> StreamCounts:
    stream, pc, watermark, ranges, envelopes, lost, dead, *records = row
    return StreamCounts(
        stream=stream,
        pc=pc,
        watermark=watermark,
        ranges=tuple((first, last) for first, last in json.loads(ranges)),
        envelopes=envelopes,
        lost_envelopes=lost,
        dead_letters=dead,
        records=dict(zip(("host", "board", "relay", "event"), records, strict=True)),
    )
