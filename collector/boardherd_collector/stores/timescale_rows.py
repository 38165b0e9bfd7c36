"""Between records and rows of the PostgreSQL tables, both ways."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel

from boardherd_collector.stores.answers import CommandRow
from boardherd_collector.stores.intake import DeadLetter, Placed
from boardherd_collector.stores.postgres import Db, Row
from boardherd_collector.stores.units import HOST_COLUMNS, host_values
from boardherd_collector.times import SECOND, AnyRecord
from boardherd_shared.records import BoardRecord, BootTimes, EventRecord, HostRecord, RelayRecord

Values = tuple[object, ...]

_HEAD = ("test_pc", "timestamp", "received_at", "time_quality")
PC_STATS = (*_HEAD, *HOST_COLUMNS)
BOARD_LIVENESS = (*_HEAD, "board", "contested", "verdict", "blame", "reason", "since", "probes", "change")
RELAY_STATES = (
    *_HEAD, "relay", "port", "board", "observed", "asked", "expected", "since", "switch_count", "switched_at",
    "switched_by", "module", "reason", "change",
)  # fmt: skip
EVENTS = (*_HEAD, "event", "subject", "text", "command", "detail", "words")
BOOTS = ("board", "test_pc", "timestamp", *BootTimes.model_fields)
LOSSES = (
    "timestamp", "test_pc", "stream", "first", "last", "envelopes", "records", "reason", "oldest", "newest",
)  # fmt: skip
DEAD_LETTERS = ("received_at", "test_pc", "stream", "seq", "position", "reason", "payload")
COMMANDS = (
    "test_pc", "id", "action", "target", "operator", "on_behalf_of", "reason", "code", "text", "before", "asked",
    "observed", "state", "began_at", "changed_at", "times",
)  # fmt: skip
PC_CURRENT = ("test_pc", "timestamp", "received_at", "status", "record")
BOARD_CURRENT = (
    "board", "test_pc", "timestamp", "received_at", "verdict", "blame", "reason", "since", "wiring", "wiring_at",
    "wiring_text", "slow", "record",
)  # fmt: skip
PORT_CURRENT = (
    "relay", "port", "test_pc", "timestamp", "received_at", "observed", "asked", "expected",
    "wiring_proved_at", "record",
)  # fmt: skip


async def upsert(
    db: Db, table: str, columns: Sequence[str], rows: Sequence[Values], key: Sequence[str], only_if: str = ""
) -> None:
    """Insert rows in the order of their keys, or put them in the place of those with the same ``key``."""
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    at = [columns.index(name) for name in key]
    await db.executemany(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates} {only_if and f'WHERE {only_if}'}",
        sorted(rows, key=lambda row: [str(row[place]) for place in at]),
    )


def _head(placed: Placed[AnyRecord], pc: int) -> Values:
    return pc, placed.record.at, placed.envelope.received_at, placed.quality.value


def host(placed: Placed[HostRecord], pc: int) -> Values:
    """Return a row of pc_stats."""
    values = host_values(placed.record)
    return *_head(placed, pc), *(values[column] for column in HOST_COLUMNS)


def host_now(placed: Placed[HostRecord], pc: int) -> Values:
    """Return a row of pc_current."""
    record = placed.record
    return pc, record.at, placed.envelope.received_at, record.status.value, _json(record)


def board(placed: Placed[BoardRecord], pc: int, number: int, *, contested: bool) -> Values:
    """Return a row of board_liveness."""
    record = placed.record
    probes = [probe.model_dump(mode="json", exclude_none=True) for probe in record.probes]
    said = record.verdict.value, record.blame.value, record.reason, record.since
    return *_head(placed, pc), number, contested, *said, json.dumps(probes), record.change


def board_now(placed: Placed[BoardRecord], pc: int, number: int) -> Values:
    """Return a row of board_current."""
    record = placed.record
    said = record.verdict.value, record.blame.value, record.reason, record.since
    wiring = record.wiring
    proof = (wiring.state, wiring.at, wiring.text or None) if wiring else (None, None, None)
    return number, pc, record.at, placed.envelope.received_at, *said, *proof, record.slow, _json(record)


def relay(placed: Placed[RelayRecord], pc: int, number: int) -> Values:
    """Return a row of relay_states."""
    record = placed.record
    return (
        *_head(placed, pc),
        number,
        record.port,
        record.board,
        record.observed.value,
        record.asked.value,
        record.expected,
        record.since,
        record.switch_count,
        record.switched_at,
        record.switched_by,
        record.module,
        record.reason,
        record.change,
    )


def port_now(placed: Placed[RelayRecord], pc: int, number: int) -> Values:
    """Return a row of relay_port_current."""
    record = placed.record
    states = record.observed.value, record.asked.value, record.expected, record.proved_at
    return number, record.port, pc, record.at, placed.envelope.received_at, *states, _json(record)


def event(placed: Placed[EventRecord], pc: int) -> Values:
    """Return a row of events."""
    record = placed.record
    detail = record.command or record.lock or record.loss or record.boot
    return (
        *_head(placed, pc),
        record.event,
        record.subject,
        record.text,
        record.command.id if record.command else None,
        _json(detail) if detail else None,
        json.dumps(record.words) if record.words else None,
    )


def boot(placed: Placed[EventRecord], pc: int, number: int, times: BootTimes) -> Values:
    """Return a row of boots."""
    return number, pc, placed.record.at, *(getattr(times, name) for name in BootTimes.model_fields)


def dead_letter(letter: DeadLetter) -> Values:
    """Return a row of dead_letters, which every database takes whatever was wrong with the record."""
    envelope, bad = letter.envelope, letter.bad
    return (
        envelope.received_at,
        envelope.agent,
        envelope.stream,
        envelope.seq,
        bad.position,
        _plain(bad.reason),
        _plain(bad.payload),
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def command(row: CommandRow, pc: int) -> Values:
    """Return a row of commands."""
    texts = (getattr(row, name) for name in COMMANDS[1:12])
    times = round(row.began_at * SECOND), round(row.changed_at * SECOND), json.dumps(row.times)
    return pc, *texts, row.state.value, *times


def command_row(row: Row) -> CommandRow:
    """Return the command in a row of commands, to which the id of its PC was joined as ``pc``."""
    times = {"began_at": row["began_at"] / SECOND, "changed_at": row["changed_at"] / SECOND}
    return CommandRow.model_validate(dict(row.items()) | times | {"times": json.loads(row["times"])})


def _json(model: BaseModel) -> str:
    return model.model_dump_json(exclude_none=True)
