"""Between records and rows of the SQLite tables, both ways."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from boardherd_collector.stores.answers import CommandRow
from boardherd_collector.stores.intake import DeadLetter, Placed
from boardherd_collector.times import SECOND
from boardherd_shared.records import BoardRecord, BootTimes, EventRecord, HostRecord, RelayRecord

Row = Mapping[str, str | int | float | None]


def insert(db: sqlite3.Connection, table: str, row: Row, conflict: str = "") -> None:
    """Insert ``row``; ``conflict`` is an ON CONFLICT clause."""
    places = ", ".join("?" * len(row))
    sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places}) {conflict}"
    db.execute(sql, tuple(row.values()))


def replace_if_newer(db: sqlite3.Connection, table: str, row: Row, key: tuple[str, ...]) -> None:
    """Make ``row`` the current one unless the present one is of a later time, or of another PC's telling.

    Whose word counts is the caller's decision, so another PC's row always gives way. No time counts that is later
    than the record came: see :attr:`~boardherd_collector.stores.intake.Placed.counts_from`.
    """
    updates = ", ".join(f"{name} = excluded.{name}" for name in row if name not in key)
    conflict = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"
    insert(
        db,
        table,
        row,
        f"{conflict} WHERE min(excluded.timestamp, excluded.received_at) >= min({table}.timestamp, {table}.received_at)"
        f" OR excluded.test_pc <> {table}.test_pc",
    )


def head(
    placed: Placed[HostRecord | BoardRecord | RelayRecord | EventRecord], pc: int
) -> dict[str, int | str]:
    """Return the columns that every series begins with."""
    return {
        "test_pc": pc,
        "timestamp": placed.record.at,
        "received_at": placed.envelope.received_at,
        "time_quality": placed.quality.value,
    }


def board_values(record: BoardRecord) -> dict[str, str | int | float | None]:
    """Return the columns of board_liveness."""
    probes = [probe.model_dump(mode="json", exclude_none=True) for probe in record.probes]
    return {
        "verdict": record.verdict.value,
        "blame": record.blame.value,
        "reason": record.reason,
        "since": record.since,
        "probes": json.dumps(probes),
        "change": int(record.change),
    }


def board_marks(record: BoardRecord) -> Row:
    """Return the columns of board_current about what power cycles have shown."""
    wiring = record.wiring
    return {
        "wiring": wiring.state if wiring else None,
        "wiring_at": wiring.at if wiring else None,
        "wiring_text": (wiring.text or None) if wiring else None,
        "slow": record.slow,
    }


def relay_values(record: RelayRecord) -> dict[str, str | int | float | None]:
    """Return the columns of relay_states."""
    return {
        "board": record.board,
        "observed": record.observed.value,
        "asked": record.asked.value,
        "expected": record.expected,
        "since": record.since,
        "switch_count": record.switch_count,
        "switched_at": record.switched_at,
        "switched_by": record.switched_by,
        "module": record.module,
        "reason": record.reason,
        "change": int(record.change),
    }


def event_values(record: EventRecord) -> dict[str, str | int | float | None]:
    """Return the columns of events."""
    detail = record.command or record.lock or record.loss or record.boot
    return {
        "event": record.event,
        "subject": record.subject,
        "text": record.text,
        "command": record.command.id if record.command else None,
        "detail": detail.model_dump_json(exclude_none=True) if detail else None,
        "words": json.dumps(record.words) if record.words else None,
    }


def boot_values(boot: BootTimes) -> dict[str, str | int | float | None]:
    """Return the columns of boots."""
    return {name: getattr(boot, name) for name in BootTimes.model_fields}


def dead_letter(letter: DeadLetter) -> Row:
    """Return a row of dead_letters."""
    return {
        "received_at": letter.envelope.received_at,
        "test_pc": letter.envelope.agent,
        "stream": letter.envelope.stream,
        "seq": letter.envelope.seq,
        "position": letter.bad.position,
        "reason": letter.bad.reason,
        "payload": letter.bad.payload,
    }


_COMMAND_TEXTS = (
    "id", "action", "target", "operator", "on_behalf_of", "reason", "code", "text", "before", "asked", "observed",
)  # fmt: skip
COMMAND_COLUMNS = (*_COMMAND_TEXTS, "state", "began_at", "changed_at", "times")


def command_values(row: CommandRow) -> dict[str, str | int | float | None]:
    """Return the columns of commands."""
    return {name: getattr(row, name) for name in _COMMAND_TEXTS} | {
        "state": row.state.value,
        "began_at": round(row.began_at * SECOND),
        "changed_at": round(row.changed_at * SECOND),
        "times": json.dumps(row.times),
    }


def command_row(pc: str, values: Mapping[str, object]) -> CommandRow:
    """Return the command in a row of commands."""
    return CommandRow.model_validate(
        {
            **{name: values[name] for name in COMMAND_COLUMNS},
            "pc": pc,
            "began_at": float(str(values["began_at"])) / SECOND,
            "changed_at": float(str(values["changed_at"])) / SECOND,
            "times": json.loads(str(values["times"])),
        }
    )
