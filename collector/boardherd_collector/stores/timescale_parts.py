"""What the records of each kind change in PostgreSQL, written in one go.

Each function here writes within a savepoint of its caller, which undoes all of it when the database refuses a
row. So nothing that outlives the call is changed before it returns: what became of the records is the answer.
"""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from boardherd_collector.owners import Owners, prevails
from boardherd_collector.rollups import hour_of, hours_due, minute_bit
from boardherd_collector.stores import timescale_rows as rows
from boardherd_collector.stores.answers import CommandRow
from boardherd_collector.stores.intake import (
    KEYFRAME,
    Placed,
    StreamBook,
    declare_lost,
    has_ended,
    speaks_of_board,
    take_event,
    told,
)
from boardherd_collector.stores.postgres import Db
from boardherd_collector.stores.timescale_holdings import Holdings
from boardherd_collector.stores.timescale_inventory import ensure
from boardherd_collector.stores.timescale_orders import withdraw_unanswered
from boardherd_collector.times import AnyRecord
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, Power, RelayRecord

R = TypeVar("R", bound=AnyRecord)
Place = tuple[int, ...]
"""What a record is about: a board, or a relay and a port, by number."""

_NO_OLDER = "least(excluded.timestamp, excluded.received_at) >= least({0}.timestamp, {0}.received_at)"
"""The same order as that of ``Placed.counts_from``."""
_NEWER = f"{_NO_OLDER} OR excluded.test_pc <> {{0}}.test_pc"
"""Whose word counts was decided before, so another PC's row always gives way."""
_TYPES = {"contested": "boolean"}


@dataclass
class Situation:
    """What is known in a transaction before its records are written."""

    owners: Owners
    pcs: Mapping[str, int]
    """Numbers of the PCs that the records come from."""
    books: dict[str, StreamBook]
    now: int


@dataclass
class Part:
    """What became of some records."""

    refused: list[tuple[Placed[AnyRecord], str]] = field(default_factory=list)
    """Records for which there is no place, and why; everything else was stored."""
    books: dict[str, StreamBook] = field(default_factory=dict)
    """Streams of which numbers were declared lost."""
    lost: Counter[str] = field(default_factory=Counter)
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    due: set[tuple[str, int, int]] = field(default_factory=set)
    """Hours whose rollup is due: series, thing, hour."""
    confirmed: dict[tuple[int, int], int] = field(default_factory=dict)
    """By board and hour: a bit for each minute in which its verdict was confirmed."""


@dataclass
class Word(Generic[R]):
    """What was said about a place."""

    placed: Placed[R]
    place: Place
    believed: bool = False
    """Whether it counts: it comes from who may speak about that place."""


async def hosts(db: Db, situation: Situation, records: Sequence[Placed[HostRecord]]) -> Part:
    """Write samples of PCs."""
    part = Part()
    newest: dict[int, Placed[HostRecord]] = {}
    for placed in records:
        pc = situation.pcs[placed.agent]
        if pc not in newest or placed.counts_from >= newest[pc].counts_from:
            newest[pc] = placed
        part.due.add(("pc_stats", pc, hour_of(placed.record.at)))
    await db.copy_records_to_table(
        "pc_stats",
        records=[rows.host(placed, situation.pcs[placed.agent]) for placed in records],
        columns=rows.PC_STATS,
    )
    current = [rows.host_now(placed, pc) for pc, placed in newest.items()]
    await rows.upsert(
        db, "pc_current", rows.PC_CURRENT, current, ("test_pc",), _NO_OLDER.format("pc_current")
    )
    return part


async def boards(db: Db, situation: Situation, records: Sequence[Placed[BoardRecord]]) -> Part:
    """Write verdicts on boards."""
    part, pcs = Part(), situation.pcs
    first = {placed.record.board: placed.agent for placed in reversed(records)}
    numbers = await ensure(db, "boards", first, situation.now)
    words = [
        Word(placed, (numbers[placed.record.board],))
        for placed in records
        if _has_place(placed, placed.record.board, "boards", numbers, part)
    ]
    current = await _judge(
        db, words, "board_current", ("board",), lambda record: situation.owners.of_board(record.board)
    )
    history = await _worth_keeping(
        db, words, "board_liveness", ("board", "contested"), lambda word: (*word.place, not word.believed)
    )
    await db.copy_records_to_table(
        "board_liveness",
        records=[
            rows.board(word.placed, pcs[word.placed.agent], word.place[0], contested=not word.believed)
            for word in history
        ],
        columns=rows.BOARD_LIVENESS,
    )
    await _hold(db, words)
    newest = [
        rows.board_now(words[-1].placed, pcs[words[-1].placed.agent], board)
        for (board,), words in current.items()
    ]
    await rows.upsert(
        db, "board_current", rows.BOARD_CURRENT, newest, ("board",), _NEWER.format("board_current")
    )
    for word in words:
        if word.believed:
            _confirm(part, word.place[0], word.placed)
    return part


async def _hold(db: Db, words: Sequence[Word[BoardRecord]]) -> None:
    """Take what verdicts say about who has the boards."""
    believed = [word for word in words if word.believed]
    locks = {word.placed.record.lock.id for word in believed if word.placed.record.lock}
    holdings = await Holdings.read(db, {word.place[0] for word in believed}, locks)
    for word in believed:
        holdings.known[word.place[0]].told(word.placed.counts_from, word.placed.record)
    await holdings.write(db)


def _confirm(part: Part, board: int, placed: Placed[BoardRecord]) -> None:
    """Note in which minute the verdict was confirmed, and which hours are to be rolled up for that."""
    at = placed.record.at
    minute = board, hour_of(at)
    part.confirmed[minute] = part.confirmed.get(minute, 0) | minute_bit(at)
    hours = hours_due(at, change=placed.record.change, now=placed.envelope.received_at)
    part.due.update(("board_liveness", board, hour) for hour in hours)


async def relays(db: Db, situation: Situation, records: Sequence[Placed[RelayRecord]]) -> Part:
    """Write states of relay ports."""
    part, pcs, owners = Part(), situation.pcs, situation.owners
    numbers = await ensure(db, "relays", {placed.record.relay: None for placed in records}, situation.now)
    words = [
        Word(placed, (numbers[placed.record.relay], placed.record.port))
        for placed in records
        if _has_place(placed, placed.record.relay, "relays", numbers, part)
    ]
    current = await _judge(
        db,
        words,
        "relay_port_current",
        ("relay", "port"),
        lambda record: owners.of_port(record.relay, record.port),
    )
    history = await _worth_keeping(db, words, "relay_states", ("relay", "port"), lambda word: word.place)
    await db.copy_records_to_table(
        "relay_states",
        records=[rows.relay(word.placed, pcs[word.placed.agent], word.place[0]) for word in history],
        columns=rows.RELAY_STATES,
    )
    await rows.upsert(
        db,
        "relay_port_current",
        rows.PORT_CURRENT,
        [
            rows.port_now(word.placed, pcs[word.placed.agent], word.place[0])
            for words in current.values()
            for word in _turns(words)
        ],
        ("relay", "port"),
        _NEWER.format("relay_port_current"),
    )
    await _checked(db, words)
    return part


def _turns(words: Sequence[Word[RelayRecord]]) -> list[Word[RelayRecord]]:
    """Return those words after which a port is another, and the newest: since when it drifts hangs on them."""
    kept: list[Word[RelayRecord]] = []
    for word in words:
        if len(kept) > 1 and _state(kept[-1]) == _state(kept[-2]) == _state(word):
            kept.pop()
        kept.append(word)
    return kept


def _state(word: Word[RelayRecord]) -> tuple[str, str, str]:
    record = word.placed.record
    return record.observed.value, record.asked.value, record.expected


async def _checked(db: Db, words: Sequence[Word[RelayRecord]]) -> None:
    """Note when each module last answered, and what it says it is."""
    seen = {
        word.place[0]: (word.placed.record.at, word.placed.record.module)
        for word in words
        if word.believed and word.placed.record.observed is not Power.UNKNOWN
    }
    await db.executemany(
        "UPDATE relays SET last_checked_at = $2, module = $3"
        " WHERE number = $1 AND (last_checked_at < $2 OR last_checked_at IS NULL)",
        [(relay, at, module) for relay, (at, module) in sorted(seen.items())],
    )


async def events(db: Db, situation: Situation, records: Sequence[Placed[EventRecord]]) -> Part:
    """Write events, and what they tell about boots, losses and commands."""
    part, pcs = Part(), situation.pcs
    first = {board: placed.agent for placed in reversed(records) if (board := _booted(placed.record))}
    numbers = await ensure(db, "boards", first, situation.now)
    kept = [
        placed
        for placed in records
        if (board := _booted(placed.record)) is None or _has_place(placed, board, "boards", numbers, part)
    ]
    kept = await _losses(db, situation, kept, part)
    await db.copy_records_to_table(
        "events", records=[rows.event(placed, pcs[placed.agent]) for placed in kept], columns=rows.EVENTS
    )
    boots = [
        rows.boot(placed, pcs[placed.agent], numbers[board], times)
        for placed in kept
        if (times := placed.record.boot) and (board := _booted(placed.record))
    ]
    await db.copy_records_to_table("boots", records=boots, columns=rows.BOOTS)
    await _commands(db, situation, kept, part)
    await _use(db, situation, kept)
    return part


async def _use(db: Db, situation: Situation, records: Sequence[Placed[EventRecord]]) -> None:
    """Take what events say about the use of boards, of those who may speak about them."""
    about = [(board, placed) for placed in records if (board := speaks_of_board(placed.record)) is not None]
    if not about:
        return
    first = {board: placed.agent for board, placed in reversed(about)}
    numbers = await ensure(db, "boards", first, situation.now)
    words = [Word(placed, (numbers[board],)) for board, placed in about if board in numbers]
    names = {number: board for board, number in numbers.items()}
    present = await _present(db, "board_current", ("board",), {word.place for word in words})
    for word in words:
        teller, _ = present.get(word.place, (None, 0))
        word.believed = prevails(situation.owners.of_board(names[word.place[0]]), word.placed.agent, teller)
    believed = [word for word in words if word.believed]
    locks = {word.placed.record.lock.id for word in believed if word.placed.record.lock}
    holdings = await Holdings.read(db, {word.place[0] for word in believed}, locks)
    for word in believed:
        take_event(holdings.known[word.place[0]], word.placed.counts_from, word.placed.record)
    await holdings.write(db)


def _booted(record: EventRecord) -> str | None:
    """Return the board whose boot ``record`` tells about."""
    about_board = record.boot is not None and record.subject.startswith("board/")
    return record.subject.removeprefix("board/") if about_board else None


async def _losses(
    db: Db, situation: Situation, records: Sequence[Placed[EventRecord]], part: Part
) -> list[Placed[EventRecord]]:
    """Declare what is reported lost; return the records but those whose report makes no sense."""
    kept, lost = [], []
    for placed in records:
        loss = placed.record.loss
        if loss is None:
            kept.append(placed)
            continue
        if loss.stream not in part.books and loss.stream in situation.books:
            part.books[loss.stream] = copy.deepcopy(situation.books[loss.stream])
        try:
            entered = declare_lost(loss, placed.agent, part.books)
        except ValueError as error:
            part.refused.append((placed, str(error)))
            continue
        kept.append(placed)
        envelopes = sum(last - first + 1 for first, last in entered)
        part.lost[loss.stream] += envelopes
        if envelopes:
            values = loss.model_dump() | {"envelopes": envelopes, "timestamp": placed.record.at}
            values["test_pc"] = situation.pcs[placed.agent]
            lost.append(tuple(values[column] for column in rows.LOSSES))
    await db.copy_records_to_table("losses", records=lost, columns=rows.LOSSES)
    return kept


async def _commands(db: Db, situation: Situation, records: Sequence[Placed[EventRecord]], part: Part) -> None:
    """Bring the lives of commands up to date."""
    steps = [(placed.agent, step) for placed in records if (step := placed.record.command)]
    if not steps:
        return
    names = ", ".join(f"command.{name}" for name in rows.COMMANDS[1:])
    found = await db.fetch(
        f"SELECT pc.id AS pc, {names} FROM unnest($1::integer[], $2::text[]) AS asked (test_pc, id)"
        " JOIN commands AS command ON command.test_pc = asked.test_pc AND command.id = asked.id"
        " JOIN test_pcs AS pc ON pc.number = command.test_pc",
        [situation.pcs[agent] for agent, _ in steps],
        [step.id for _, step in steps],
    )
    lives: dict[tuple[str, str], CommandRow] = {
        (row["pc"], row["id"]): rows.command_row(row) for row in found
    }
    for agent, step in steps:
        before = lives.get((agent, step.id))
        if before is None:
            await withdraw_unanswered(db, situation.pcs[agent], step)
        after = lives[agent, step.id] = told(before, agent, step)
        if has_ended(after) and not has_ended(before):
            part.finished[agent, after.state.value] += 1
    await rows.upsert(
        db,
        "commands",
        rows.COMMANDS,
        [rows.command(life, situation.pcs[agent]) for (agent, _), life in lives.items()],
        ("test_pc", "id"),
    )


def _has_place(
    placed: Placed[AnyRecord], id_: str, table: str, numbers: Mapping[str, int], part: Part
) -> bool:
    """Tell whether a thing has a row; a record about one that is one too many is refused."""
    if id_ in numbers:
        return True
    reason = f"lab.toml does not name {id_}, nor many others: no place for it in {table}"
    part.refused.append((placed, reason))
    return False


async def _judge(
    db: Db,
    words: Sequence[Word[R]],
    table: str,
    key: Sequence[str],
    owner: Callable[[R], str | None],
) -> dict[Place, list[Word[R]]]:
    """Decide in the order of time which words count; return by place those that each become the current one."""
    present = await _present(db, table, key, {word.place for word in words})
    current: dict[Place, list[Word[R]]] = {}
    for word in words:
        teller, at = present.get(word.place, (None, 0))
        record, agent = word.placed.record, word.placed.agent
        word.believed = prevails(owner(record), agent, teller)
        if word.believed and (teller != agent or word.placed.counts_from >= at):
            present[word.place] = agent, word.placed.counts_from
            current.setdefault(word.place, []).append(word)
    return current


async def _present(
    db: Db, table: str, key: Sequence[str], places: Collection[Place]
) -> dict[Place, tuple[str | None, int]]:
    """Return who told the current state of each place, and from when on it counts."""
    if not places:
        return {}
    asked = ", ".join(f"${number}::integer[]" for number in range(1, len(key) + 1))
    found = await db.fetch(
        f"SELECT {', '.join(key)}, pc.id, least(timestamp, received_at) AS at FROM {table}"
        f" JOIN unnest({asked}) AS asked ({', '.join(key)})"
        f" USING ({', '.join(key)}) JOIN test_pcs AS pc ON pc.number = {table}.test_pc",
        *map(list, zip(*places, strict=True)),
    )
    return {tuple(row[name] for name in key): (row["id"], row["at"]) for row in found}


async def _worth_keeping(
    db: Db,
    words: Sequence[Word[R]],
    table: str,
    key: Sequence[str],
    place: Callable[[Word[R]], tuple[int | bool, ...]],
) -> list[Word[R]]:
    """Return the changes, and the refreshes before which history says nothing for an hour."""
    refreshes = [word for word in words if not _is_change(word)]
    told_lately = await _told_lately(
        db, table, key, [(*place(word), word.placed.record.at) for word in refreshes]
    )
    last: dict[tuple[int | bool, ...], int] = {}
    kept, number = [], 0
    for word in words:
        at = word.placed.record.at
        keep = True
        if not _is_change(word):
            keep = number not in told_lately and last.get(place(word), -KEYFRAME) <= at - KEYFRAME
            number += 1
        if keep:
            last[place(word)] = at
            kept.append(word)
    return kept


def _is_change(word: Word[R]) -> bool:
    record = word.placed.record
    return not isinstance(record, BoardRecord | RelayRecord) or record.change


async def _told_lately(
    db: Db, table: str, key: Sequence[str], asked: Sequence[tuple[int | bool, ...]]
) -> set[int]:
    """Return which of ``asked``, keys with a time, have something in history in the hour before."""
    if not asked:
        return set()
    times = [row[-1] for row in asked]
    types = [*(_TYPES.get(name, "integer") for name in key), "timestamptz"]
    arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, 1))
    same = " AND ".join(f"known.{name} = asked.{name}" for name in key)
    after = len(types) + 1
    found = await db.fetch(
        f"SELECT asked.place FROM unnest({arrays}) WITH ORDINALITY AS asked ({', '.join(key)}, at, place)"
        f" WHERE EXISTS (SELECT 1 FROM {table} AS known WHERE {same}"
        " AND known.timestamp > asked.at - interval '1 hour' AND known.timestamp <= asked.at"
        # Said again with constants: so whole chunks are passed over.
        f" AND known.timestamp > ${after} AND known.timestamp <= ${after + 1})",
        *map(list, zip(*asked, strict=True)),
        min(times) - KEYFRAME,
        max(times),
    )
    return {row[0] - 1 for row in found}
