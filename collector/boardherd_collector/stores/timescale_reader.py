"""Questions to PostgreSQL: the state to begin with, history, and how much there is."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
from collections import Counter

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
from boardherd_collector.stores.postgres import Db, Row
from boardherd_collector.stores.timescale_orders import marks
from boardherd_collector.stores.timescale_rows import COMMANDS, command_row
from boardherd_collector.stores.units import HOST_COLUMNS
from boardherd_collector.times import SECOND
from boardherd_shared.messages import Hello, M
from boardherd_shared.records import BoardRecord, BootTimes, HostRecord, RelayRecord

SERIES = ("pc_stats", "board_liveness", "relay_states", "events", "boots", "losses")
"""Tables with one row for each thing that happened, and a column ``timestamp``."""
_COUNTED = (*SERIES, "commands", "dead_letters")
_COMMAND = ", ".join(f"commands.{name}" for name in COMMANDS[1:])


async def snapshot(db: Db) -> Snapshot:
    """Return the current state; what an older program wrote and this one cannot read is left out."""
    return Snapshot(
        pcs=tuple(await _pcs(db)),
        boards=tuple(await _boards(db)),
        ports=tuple(await _ports(db)),
        commands=await _finished(db),
        marks=await marks(db),
    )


async def _pcs(db: Db) -> list[PcNow]:
    rows = await db.fetch(
        "SELECT pc.id, pc.declared, pc.last_heartbeat_at, pc.hello, current.record, clock.offset_us"
        " FROM test_pcs AS pc LEFT JOIN pc_current AS current ON current.test_pc = pc.number"
        " LEFT JOIN boot_clocks AS clock ON clock.test_pc = pc.number AND clock.boot = pc.hello ->> 'boot'"
        " WHERE pc.retired_at IS NULL ORDER BY pc.id"
    )
    return [
        PcNow(
            agent=id_,
            declared=declared,
            heard_at=heard_at,
            hello=_model(Hello, hello),
            sample=_model(HostRecord, sample),
            clock=clock,
        )
        for id_, declared, heard_at, hello, sample, clock in rows
    ]


async def _boards(db: Db) -> list[BoardNow]:
    rows = await db.fetch(
        "SELECT pc.id, record FROM board_current JOIN test_pcs AS pc ON pc.number = board_current.test_pc"
        " JOIN boards ON boards.number = board WHERE boards.retired_at IS NULL"
    )
    return [BoardNow(pc, record) for pc, text in rows if (record := _model(BoardRecord, text))]


async def _ports(db: Db) -> list[PortNow]:
    rows = await db.fetch(
        "SELECT pc.id, record FROM relay_port_current JOIN test_pcs AS pc ON pc.number = test_pc"
        " JOIN relays ON relays.number = relay WHERE relays.retired_at IS NULL"
    )
    return [PortNow(pc, record) for pc, text in rows if (record := _model(RelayRecord, text))]


async def _finished(db: Db) -> Counter[tuple[str, str]]:
    rows = await db.fetch(
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


async def events(db: Db, subject: str | None = None, limit: int = 100, since: int = 0) -> list[EventRow]:
    """Return events, newest first."""
    where, values = "true", list[str]()
    if subject is not None and subject.startswith("pc/"):
        where, values = "pc.id = $3", [subject.removeprefix("pc/")]
    elif subject is not None:
        # "0" follows "/" in the order of the column: a range that the index can serve.
        where, values = (
            "(subject = $3 OR (subject > $4 AND subject < $5))",
            [subject, f"{subject}/", f"{subject}0"],
        )
    rows = await db.fetch(
        "SELECT timestamp, pc.id, event, subject, text, command, words FROM events"
        f" JOIN speakers AS pc ON pc.number = events.test_pc WHERE {where} AND timestamp >= $2"
        " ORDER BY timestamp DESC, events.number DESC LIMIT $1",
        limit,
        since,
        *values,
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


async def commands(db: Db, target: str | None = None, limit: int = 100) -> list[CommandRow]:
    """Return commands, newest first."""
    where, values = ("target = $2", [target]) if target is not None else ("true", [])
    rows = await db.fetch(
        f"SELECT pc.id AS pc, {_COMMAND} FROM commands JOIN speakers AS pc ON pc.number = commands.test_pc"
        f" WHERE {where} ORDER BY began_at DESC LIMIT $1",
        limit,
        *values,
    )
    return [command_row(row) for row in rows]


async def boots(db: Db, board: str | None = None, limit: int = 100) -> list[BootRow]:
    """Return boots, newest first."""
    where, values = ("boards.id = $2", [board]) if board is not None else ("true", [])
    names = tuple(BootTimes.model_fields)
    rows = await db.fetch(
        f"SELECT timestamp, boards.id, pc.id, {', '.join(names)} FROM boots"
        " JOIN boards ON boards.number = boots.board JOIN test_pcs AS pc ON pc.number = boots.test_pc"
        f" WHERE {where} ORDER BY timestamp DESC LIMIT $1",
        limit,
        *values,
    )
    return [
        BootRow(at=at / SECOND, board=id_, pc=pc, times=BootTimes(**dict(zip(names, times, strict=True))))
        for at, id_, pc, *times in rows
    ]


async def losses(db: Db, limit: int = 100) -> list[LossRow]:
    """Return losses, newest first."""
    rows = await db.fetch(
        "SELECT timestamp, pc.id, stream, first, last, envelopes, records, reason FROM losses"
        " JOIN test_pcs AS pc ON pc.number = losses.test_pc ORDER BY timestamp DESC LIMIT $1",
        limit,
    )
    names = ("pc", "stream", "first", "last", "envelopes", "records", "reason")
    return [LossRow(at=at / SECOND, **dict(zip(names, rest, strict=True))) for at, *rest in rows]


async def dead_letters(db: Db, limit: int = 100) -> list[DeadLetterRow]:
    """Return dead letters, newest first."""
    names = ("pc", "stream", "seq", "position", "reason", "payload")
    rows = await db.fetch(
        "SELECT received_at, test_pc, stream, seq, position, reason, payload FROM dead_letters"
        " ORDER BY number DESC LIMIT $1",
        limit,
    )
    return [DeadLetterRow(at=at / SECOND, **dict(zip(names, rest, strict=True))) for at, *rest in rows]


async def host_history(db: Db, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
    """Return the newest samples, oldest of them first."""
    names = tuple(HOST_COLUMNS)
    rows = await db.fetch(
        f"SELECT timestamp, {', '.join(names)} FROM pc_stats"
        " WHERE test_pc = (SELECT number FROM test_pcs WHERE id = $1) AND timestamp >= $2"
        " ORDER BY timestamp DESC LIMIT $3",
        pc,
        since,
        limit,
    )
    return [
        PcStatsRow(timestamp=at / SECOND, **dict(zip(names, values, strict=True)))
        for at, *values in reversed(rows)
    ]


async def counts(db: Db) -> Counts:
    """Return how much is stored."""
    by_table = {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in _COUNTED}
    rows = await db.fetch(
        "SELECT stream, pc.id AS pc, watermark, ranges, envelopes, lost_envelopes, dead_letters,"
        " host_records, board_records, relay_records, event_records FROM streams"
        " JOIN test_pcs AS pc ON pc.number = streams.test_pc ORDER BY pc.id, streams.number"
    )
    return Counts(rows=by_table, streams=tuple(map(_stream, rows)))


def _stream(row: Row) -> StreamCounts:
    return StreamCounts(
        stream=row["stream"],
        pc=row["pc"],
        watermark=row["watermark"],
        ranges=tuple((first, last) for first, last in json.loads(row["ranges"])),
        envelopes=row["envelopes"],
        lost_envelopes=int(row["lost_envelopes"]),
        dead_letters=row["dead_letters"],
        records={kind: row[f"{kind}_records"] for kind in ("host", "board", "relay", "event")},
    )
