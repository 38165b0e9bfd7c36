"""What PostgreSQL keeps of commands that the collector answers: those to itself, and those that nobody else answers."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from boardherd_collector.marks import MARKS, TIMES, Done, Mark, Marks, Order, Thing
from boardherd_collector.stores import timescale_rows as rows
from boardherd_collector.stores.base import Closed, Unanswered
from boardherd_collector.stores.intake import (
    MAY_PRECEDE,
    SAME_COMMAND,
    same_command,
    told,
    unanswered_event,
    unanswered_row,
)
from boardherd_collector.stores.postgres import Db
from boardherd_collector.stores.timescale_inventory import ensure
from boardherd_collector.times import SECOND, TimeQuality
from boardherd_shared.collector_command import ThingKind
from boardherd_shared.command import CommandStep

COLLECTOR = 0
"""The number of the collector among those who speak."""
TABLES: dict[ThingKind, str] = {"pc": "test_pcs", "relay": "relays", "board": "boards"}


async def administer(db: Db, order: Order) -> Done | None:
    """Carry an order out within the caller's transaction; return what became of an earlier one of its id instead."""
    known = await db.fetchrow("SELECT fingerprint, step FROM collector_commands WHERE id = $1", order.id)
    if known is not None:
        return Done(known["fingerprint"], CommandStep.model_validate_json(known["step"]))
    step = order.step
    await db.execute(
        "INSERT INTO collector_commands (id, fingerprint, at, step) VALUES ($1, $2, $3, $4)",
        order.id,
        order.fingerprint,
        order.at,
        step.model_dump_json(),
    )
    life = rows.command(told(None, step.agent, step), COLLECTOR)
    await rows.upsert(db, "commands", rows.COMMANDS, [life], ("test_pc", "id"))
    await _tell(db, COLLECTOR, order.at, step, f"{step.operator}: {step.text}")
    if order.thing is not None and order.marks is not None:
        await _mark(db, order.thing, order.marks, order)
    return None


async def _tell(db: Db, pc: int, at: int, step: CommandStep, text: str) -> None:
    await db.execute(
        "INSERT INTO events (test_pc, timestamp, received_at, time_quality, event, subject, text, command, detail)"
        " VALUES ($1, $2, $2, $3, 'command', $4, $5, $6, $7)",
        pc,
        at,
        TimeQuality.AGENT.value,
        step.target or "collector",
        text[:500],
        step.id,
        step.model_dump_json(exclude_none=True),
    )


async def _mark(db: Db, thing: Thing, marks: Marks, order: Order) -> None:
    kind, id_ = thing
    table = TABLES[kind]
    number = (await ensure(db, table, {id_: None}, order.at)).get(id_)
    columns: dict[str, Any] = {"given_name": marks.name, "updated_at": order.at}
    for name in MARKS[kind]:
        mark: Mark | None = getattr(marks, name)
        columns[TIMES[name]] = mark.at if mark else None
        columns[f"{name}_by"] = mark.by if mark else None
        columns[f"{name}_reason"] = mark.reason if mark else None
    if kind == "board":
        if await db.fetchval("SELECT notes FROM boards WHERE number = $1", number) != marks.notes:
            columns |= {"notes": marks.notes, "notes_at": order.at}
    else:
        columns["notes"] = marks.notes
    if kind != "relay":
        columns["name"] = order.shown_name
    updates = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, 2))
    await db.execute(f"UPDATE {table} SET {updates} WHERE number = $1", number, *columns.values())
    if kind == "relay" and order.shown_name:
        await db.execute(
            "UPDATE relays SET relay_name = $2 WHERE number = $1 AND NOT EXISTS ("
            "SELECT 1 FROM relays AS other WHERE relay_name = $2 AND number <> $1 AND retired_at IS NULL)",
            number,
            order.shown_name,
        )


async def marks(db: Db) -> dict[Thing, Marks]:
    """Return what people decided, of everything about which they decided anything."""
    found: dict[Thing, Marks] = {}
    for kind, table in TABLES.items():
        names = [
            *(column for name in MARKS[kind] for column in (TIMES[name], f"{name}_by", f"{name}_reason"))
        ]
        for row in await db.fetch(
            f"SELECT id, given_name, notes, {', '.join(names)} FROM {table} ORDER BY id"
        ):
            id_, given, notes, *decided = tuple(row)
            made = {
                name: Mark(*decided[3 * place : 3 * place + 3])
                for place, name in enumerate(MARKS[kind])
                if None not in decided[3 * place : 3 * place + 3]
            }
            if made or given or notes:
                found[kind, id_] = Marks(name=given, notes=notes, **made)
    return found


async def note_open(db: Db, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
    """Keep commands that wait for an answer (id, time, text), and forget others by their ids."""
    await db.executemany(
        "INSERT INTO open_commands (id, received_at, sent) VALUES ($1, $2, $3)"
        " ON CONFLICT (id) DO UPDATE SET received_at = excluded.received_at, sent = excluded.sent",
        list(seen),
    )
    await db.execute("DELETE FROM open_commands WHERE id = ANY($1)", list(gone))


async def open_commands(db: Db) -> list[str]:
    """Return the commands that waited for an answer, oldest first."""
    return [row["sent"] for row in await db.fetch("SELECT sent FROM open_commands ORDER BY received_at")]


async def close_unanswered(db: Db, closed: Sequence[Unanswered]) -> Closed:
    """Write down, within the caller's transaction, that nobody answered; tell of each whether that is so."""
    finished: Counter[tuple[str, str]] = Counter()
    unanswered = [await _close(db, each, finished) for each in closed]
    return Closed(tuple(unanswered), finished)


async def _close(db: Db, closed: Unanswered, finished: Counter[tuple[str, str]]) -> bool:
    step = closed.step
    await db.execute("DELETE FROM open_commands WHERE id = $1", step.id)
    if await _is_answered(db, closed):
        return False
    number: int | None = await db.fetchval("SELECT number FROM test_pcs WHERE id = $1", step.agent)
    pc = COLLECTOR if number is None else number
    if await db.fetchval("SELECT 1 FROM commands WHERE test_pc = $1 AND id = $2", pc, step.id) is None:
        life = rows.command(unanswered_row(closed, step.agent), pc)
        await rows.upsert(
            db, "commands", (*rows.COMMANDS, "unnamed"), [(*life, not closed.named)], ("test_pc", "id")
        )
        await _tell(db, pc, round(step.at * SECOND), step, unanswered_event(closed))
        finished["collector" if number is None else step.agent, step.state.value] += 1
    return True


async def _is_answered(db: Db, closed: Unanswered) -> bool:
    step = closed.step
    values: list[object]
    if closed.named:
        query, values = "id = $1", [step.id]
    else:
        query = "operator = $1 AND action = $2 AND target = $3 AND NOT unnamed AND began_at BETWEEN $4 AND $5"
        times = closed.received_at - MAY_PRECEDE, closed.received_at + SAME_COMMAND
        values = [step.operator, step.action, step.target, *times]
    found = await db.fetchval(
        f"SELECT 1 FROM commands WHERE {query} AND state <> 'unanswered' LIMIT 1", *values
    )
    return found is not None


async def withdraw_unanswered(db: Db, pc: int, step: CommandStep) -> None:
    """Take back that nobody answered a command, now that an agent has: under another PC or another id."""
    first, last = same_command(round(step.at * SECOND))
    await db.execute(
        "DELETE FROM commands WHERE state = 'unanswered' AND ((id = $1 AND test_pc <> $2)"
        " OR (unnamed AND operator = $3 AND action = $4 AND target = $5 AND began_at BETWEEN $6 AND $7))",
        step.id,
        pc,
        step.operator,
        step.action,
        step.target,
        first,
        last,
    )
