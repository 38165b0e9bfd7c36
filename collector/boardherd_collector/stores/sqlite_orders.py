"""What SQLite keeps of commands that the collector answers: those to itself, and those that nobody else answers."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from boardherd_collector.marks import MARKS, TIMES, Done, Mark, Marks, Order, Thing
from boardherd_collector.stores import sqlite_rows as rows
from boardherd_collector.stores.base import Closed, Unanswered
from boardherd_collector.stores.intake import (
    MAY_PRECEDE,
    SAME_COMMAND,
    same_command,
    told,
    unanswered_event,
    unanswered_row,
)
from boardherd_collector.stores.sqlite_inventory import ensure
from boardherd_collector.times import SECOND, TimeQuality
from boardherd_shared.collector_command import ThingKind
from boardherd_shared.command import CommandStep

COLLECTOR = 0
"""The number of the collector among those who speak."""
TABLES: dict[ThingKind, str] = {"pc": "test_pcs", "relay": "relays", "board": "boards"}


def administer(db: sqlite3.Connection, order: Order) -> Done | None:
    """Carry an order out within the caller's transaction; return what became of an earlier one of its id instead."""
    known = db.execute(
        "SELECT fingerprint, step FROM collector_commands WHERE id = ?", (order.id,)
    ).fetchone()
    if known is not None:
        return Done(known[0], CommandStep.model_validate_json(known[1]))
    step = order.step
    values: rows.Row = {
        "id": order.id,
        "fingerprint": order.fingerprint,
        "at": order.at,
        "step": step.model_dump_json(),
    }
    rows.insert(db, "collector_commands", values)
    row = told(None, step.agent, step)
    rows.insert(db, "commands", {"test_pc": COLLECTOR, **rows.command_values(row)}, "ON CONFLICT DO NOTHING")
    _tell(db, COLLECTOR, order.at, step, f"{step.operator}: {step.text}")
    if order.thing is not None and order.marks is not None:
        _mark(db, order.thing, order.marks, order)
    return None


def _tell(db: sqlite3.Connection, pc: int, at: int, step: CommandStep, text: str) -> None:
    values: rows.Row = {
        "test_pc": pc,
        "timestamp": at,
        "received_at": at,
        "time_quality": TimeQuality.AGENT.value,
        "event": "command",
        "subject": step.target or "collector",
        "text": text[:500],
        "command": step.id,
        "detail": step.model_dump_json(exclude_none=True),
    }
    rows.insert(db, "events", values)


def _mark(db: sqlite3.Connection, thing: Thing, marks: Marks, order: Order) -> None:
    kind, id_ = thing
    table = TABLES[kind]
    number = ensure(db, table, id_, order.at)
    columns: dict[str, Any] = {"given_name": marks.name, "updated_at": order.at}
    for name in MARKS[kind]:
        mark: Mark | None = getattr(marks, name)
        columns[TIMES[name]] = mark.at if mark else None
        columns[f"{name}_by"] = mark.by if mark else None
        columns[f"{name}_reason"] = mark.reason if mark else None
    if kind == "board":
        before = db.execute("SELECT notes FROM boards WHERE number = ?", (number,)).fetchone()
        if before is None or before[0] != marks.notes:
            columns |= {"notes": marks.notes, "notes_at": order.at}
    else:
        columns["notes"] = marks.notes
    if kind != "relay":
        columns["name"] = order.shown_name
    updates = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"UPDATE {table} SET {updates} WHERE number = ?", (*columns.values(), number))
    if kind == "relay" and order.shown_name:
        db.execute("UPDATE OR IGNORE relays SET relay_name = ? WHERE number = ?", (order.shown_name, number))


def marks(db: sqlite3.Connection) -> dict[Thing, Marks]:
    """Return what people decided, of everything about which they decided anything."""
    found: dict[Thing, Marks] = {}
    for kind, table in TABLES.items():
        names = [
            *(column for name in MARKS[kind] for column in (TIMES[name], f"{name}_by", f"{name}_reason"))
        ]
        for id_, given, notes, *decided in db.execute(
            f"SELECT id, given_name, notes, {', '.join(names)} FROM {table} ORDER BY id"
        ):
            made = {
                name: Mark(*decided[3 * place : 3 * place + 3])
                for place, name in enumerate(MARKS[kind])
                if None not in decided[3 * place : 3 * place + 3]
            }
            if made or given or notes:
                found[kind, id_] = Marks(name=given, notes=notes, **made)
    return found


def note_open(db: sqlite3.Connection, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
    """Keep commands that wait for an answer (id, time, text), and forget others by their ids."""
    db.executemany("INSERT OR REPLACE INTO open_commands (id, received_at, sent) VALUES (?, ?, ?)", seen)
    db.executemany("DELETE FROM open_commands WHERE id = ?", [(id_,) for id_ in gone])


def open_commands(db: sqlite3.Connection) -> list[str]:
    """Return the commands that waited for an answer, oldest first."""
    return [text for (text,) in db.execute("SELECT sent FROM open_commands ORDER BY received_at")]


def close_unanswered(db: sqlite3.Connection, closed: Sequence[Unanswered]) -> Closed:
    """Write down, within the caller's transaction, that nobody answered; tell of each whether that is so."""
    finished: Counter[tuple[str, str]] = Counter()
    return Closed(tuple(_close(db, each, finished) for each in closed), finished)


def _close(db: sqlite3.Connection, closed: Unanswered, finished: Counter[tuple[str, str]]) -> bool:
    step = closed.step
    db.execute("DELETE FROM open_commands WHERE id = ?", (step.id,))
    if _is_answered(db, closed):
        return False
    found = db.execute("SELECT number FROM test_pcs WHERE id = ?", (step.agent,)).fetchone()
    pc = found[0] if found else COLLECTOR
    values: rows.Row = {
        "test_pc": pc,
        "unnamed": int(not closed.named),
        **rows.command_values(unanswered_row(closed, step.agent)),
    }
    is_new = not db.execute("SELECT 1 FROM commands WHERE test_pc = ? AND id = ?", (pc, step.id)).fetchone()
    if is_new:
        rows.insert(db, "commands", values)
        _tell(db, pc, round(step.at * SECOND), step, unanswered_event(closed))
        finished[step.agent if found else "collector", step.state.value] += 1
    return True


def _is_answered(db: sqlite3.Connection, closed: Unanswered) -> bool:
    step = closed.step
    if closed.named:
        query = "id = ?"
        values: list[str | int] = [step.id]
    else:
        query = "operator = ? AND action = ? AND target = ? AND NOT unnamed AND began_at BETWEEN ? AND ?"
        times = closed.received_at - MAY_PRECEDE, closed.received_at + SAME_COMMAND
        values = [step.operator, step.action, step.target, *times]
    return bool(
        db.execute(
            f"SELECT 1 FROM commands WHERE {query} AND state <> 'unanswered' LIMIT 1", values
        ).fetchone()
    )


def withdraw_unanswered(db: sqlite3.Connection, pc: int, step: CommandStep) -> None:
    """Take back that nobody answered a command, now that an agent has: under another PC or another id."""
    first, last = same_command(round(step.at * SECOND))
    db.execute(
        "DELETE FROM commands WHERE state = 'unanswered' AND ((id = ?1 AND test_pc <> ?2)"
        " OR (unnamed AND operator = ?3 AND action = ?4 AND target = ?5 AND began_at BETWEEN ?6 AND ?7))",
        (step.id, pc, step.operator, step.action, step.target, first, last),
    )
