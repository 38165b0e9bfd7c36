"""The one transaction by which envelopes come into SQLite: ledger, records, current state, all or nothing."""

# ruff: noqa: S608 - every name in these statements is a literal of this program

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from boardherd_collector.owners import Owners, prevails
from boardherd_collector.rollups import hour_of, hours_due, minute_bit
from boardherd_collector.stores import sqlite_rows as rows
from boardherd_collector.stores.base import Commit, Outcome, Received
from boardherd_collector.stores.intake import (
    KEYFRAME,
    DeadLetter,
    Placed,
    StreamBook,
    batch,
    dead_letter,
    declare_lost,
    has_ended,
    judge,
    speaks_of_board,
    take_event,
    told,
)
from boardherd_collector.stores.sqlite_holdings import changing
from boardherd_collector.stores.sqlite_inventory import ensure
from boardherd_collector.stores.sqlite_ledger import (
    POISON,
    Tally,
    clocks,
    close_book,
    keep_digests,
    open_books,
)
from boardherd_collector.stores.sqlite_orders import withdraw_unanswered
from boardherd_collector.stores.units import host_values
from boardherd_collector.times import AnyRecord
from boardherd_shared.command import CommandStep
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, LostRange, RelayRecord

P = TypeVar("P", bound=AnyRecord)

_DEAD_LETTERS_KEPT = 10_000


class _Unstorable(Exception):  # noqa: N818 - a judgement, not a fault of the program
    """A record that makes sense by itself, and has no place here; the message says why."""


def commit(db: sqlite3.Connection, group: Sequence[Received], owners: Owners, now: int) -> Commit:
    """Store the new envelopes of ``group`` within the caller's transaction."""
    agents = sorted({envelope.agent for envelope in group})
    welcome = {agent for agent in agents if ensure(db, "test_pcs", agent, now) is not None}
    books = open_books(db, group)
    outcomes = judge(group, books, welcome)
    judged = zip(group, outcomes, strict=True)
    new = [envelope for envelope, outcome in judged if outcome is Outcome.COMMITTED]
    writer = _Writer(db, owners, now, books)
    writer.write(new)
    for stream in sorted(books):
        close_book(db, stream, books[stream], writer.tally(stream), now)
    keep_digests(db, new)
    _touch_pcs(db, group)
    return Commit(outcomes, writer.taken, len(writer.dead), writer.finished)


class _Writer:
    """Writes the records of new envelopes, and counts."""

    def __init__(
        self, db: sqlite3.Connection, owners: Owners, now: int, books: dict[str, StreamBook]
    ) -> None:
        self._db = db
        self._owners = owners
        self._now = now
        self._books = books
        self._numbers: dict[tuple[str, str], int] = {}
        self._tallies: dict[str, Tally] = {}
        self._due: set[tuple[str, int, int]] = set()
        self.taken: Counter[str] = Counter()
        self.dead: list[DeadLetter] = []
        self.finished: Counter[tuple[str, str]] = Counter()

    def tally(self, stream: str) -> Tally:
        """Return the figures of ``stream``."""
        return self._tallies.setdefault(stream, Tally())

    def write(self, envelopes: Sequence[Received]) -> None:
        """Write everything that is in ``envelopes``."""
        for envelope in envelopes:
            self.tally(envelope.stream).envelopes += 1
        records = batch(envelopes, clocks(self._db, envelopes))
        self.dead.extend(records.dead)
        self._each(records.hosts, self._host)
        self._each(records.boards, self._board)
        self._each(records.relays, self._relay)
        self._each(records.events, self._event)
        for letter in self.dead:
            self.tally(letter.envelope.stream).dead += 1
            rows.insert(self._db, "dead_letters", rows.dead_letter(letter))
        if self.dead:
            self._db.execute(
                "DELETE FROM dead_letters WHERE number <= (SELECT max(number) FROM dead_letters) - ?",
                (_DEAD_LETTERS_KEPT,),
            )
        self._db.executemany(
            "INSERT OR IGNORE INTO rollup_queue (series, thing, hour) VALUES (?, ?, ?)", sorted(self._due)
        )

    def _each(self, records: Sequence[Placed[P]], write: Callable[[Placed[P]], None]) -> None:
        """Write each record, or nothing of it: what the database refuses goes to the dead letters."""
        for placed in records:
            self._db.execute("SAVEPOINT record")
            try:
                write(placed)
            except (_Unstorable, *POISON) as error:
                self._db.execute("ROLLBACK TO record")
                self._numbers.clear()  # some may have been given out since the savepoint
                letter = dead_letter(placed.envelope, placed.position, placed.record, str(error))
                self.dead.append(letter)
            else:
                self.taken[placed.record.kind] += 1
                self.tally(placed.envelope.stream).records[placed.record.kind] += 1
            self._db.execute("RELEASE record")

    def _host(self, placed: Placed[HostRecord]) -> None:
        pc, record = self._pc(placed.agent), placed.record
        rows.insert(self._db, "pc_stats", rows.head(placed, pc) | host_values(record))
        self._due.add(("pc_stats", pc, hour_of(record.at)))
        current = {
            "test_pc": pc,
            "timestamp": record.at,
            "received_at": placed.envelope.received_at,
            "status": record.status.value,
            "record": record.model_dump_json(exclude_none=True),
        }
        rows.replace_if_newer(self._db, "pc_current", current, key=("test_pc",))

    def _board(self, placed: Placed[BoardRecord]) -> None:
        pc, record = self._pc(placed.agent), placed.record
        board = self._number("boards", record.board, placed.agent)
        present = self._teller("board_current", "board = ?", (board,))
        believed = prevails(self._owners.of_board(record.board), placed.agent, present)
        place = "board = ? AND contested = ?", (board, int(not believed))
        if record.change or not self._told_lately("board_liveness", *place, record.at):
            values = rows.head(placed, pc) | {"board": board, "contested": int(not believed)}
            rows.insert(self._db, "board_liveness", values | rows.board_values(record))
        if not believed:
            return
        self._confirm(board, placed)
        with changing(self._db, board, record.lock.id if record.lock else None) as known:
            known.told(placed.counts_from, record)
        current = {
            "board": board,
            "test_pc": pc,
            "timestamp": record.at,
            "received_at": placed.envelope.received_at,
            "verdict": record.verdict.value,
            "blame": record.blame.value,
            "reason": record.reason,
            "since": record.since,
            **rows.board_marks(record),
            "record": record.model_dump_json(exclude_none=True),
        }
        rows.replace_if_newer(self._db, "board_current", current, key=("board",))

    def _confirm(self, board: int, placed: Placed[BoardRecord]) -> None:
        """Note in which minute the verdict was confirmed, and which hours are to be rolled up for that."""
        record = placed.record
        self._db.execute(
            "INSERT INTO board_minutes (board, hour, confirmed) VALUES (?, ?, ?)"
            " ON CONFLICT (board, hour) DO UPDATE SET confirmed = confirmed | excluded.confirmed",
            (board, hour_of(record.at), minute_bit(record.at)),
        )
        hours = hours_due(record.at, change=record.change, now=placed.envelope.received_at)
        self._due.update(("board_liveness", board, hour) for hour in hours)

    def _relay(self, placed: Placed[RelayRecord]) -> None:
        pc, record = self._pc(placed.agent), placed.record
        relay = self._number("relays", record.relay)
        place = "relay = ? AND port = ?", (relay, record.port)
        if record.change or not self._told_lately("relay_states", *place, record.at):
            values = rows.head(placed, pc) | {"relay": relay, "port": record.port}
            rows.insert(self._db, "relay_states", values | rows.relay_values(record))
        present = self._teller("relay_port_current", *place)
        if not prevails(self._owners.of_port(record.relay, record.port), placed.agent, present):
            return
        current = {
            "relay": relay,
            "port": record.port,
            "test_pc": pc,
            "timestamp": record.at,
            "received_at": placed.envelope.received_at,
            "observed": record.observed.value,
            "asked": record.asked.value,
            "expected": record.expected,
            "wiring_proved_at": record.proved_at,
            "record": record.model_dump_json(exclude_none=True),
        }
        rows.replace_if_newer(self._db, "relay_port_current", current, key=("relay", "port"))
        if record.observed.value != "unknown":
            self._db.execute(
                "UPDATE relays SET last_checked_at = ?1, module = ?2"
                " WHERE number = ?3 AND ifnull(last_checked_at, 0) < ?1",
                (record.at, record.module, relay),
            )

    def _event(self, placed: Placed[EventRecord]) -> None:
        pc, record = self._pc(placed.agent), placed.record
        rows.insert(self._db, "events", rows.head(placed, pc) | rows.event_values(record))
        if record.command is not None:
            self._command(pc, placed.agent, record.command)
        if (about := speaks_of_board(record)) is not None:
            self._use(placed, about)
        if record.boot is not None and record.subject.startswith("board/"):
            board = self._number("boards", record.subject.removeprefix("board/"), placed.agent)
            values = {"board": board, "test_pc": pc, "timestamp": record.at}
            rows.insert(self._db, "boots", values | rows.boot_values(record.boot))
        if record.loss is not None:
            self._loss(pc, placed, record.loss)

    def _use(self, placed: Placed[EventRecord], about: str) -> None:
        """Take what an event says about the use of a board, if it comes from who may speak about it."""
        board = ensure(self._db, "boards", about, self._now, placed.agent)
        if board is None:
            return
        present = self._teller("board_current", "board = ?", (board,))
        if not prevails(self._owners.of_board(about), placed.agent, present):
            return
        lock = placed.record.lock
        with changing(self._db, board, lock.id if lock else None) as known:
            take_event(known, placed.counts_from, placed.record)

    def _command(self, pc: int, agent: str, step: CommandStep) -> None:
        names = ", ".join(rows.COMMAND_COLUMNS)
        found = self._db.execute(
            f"SELECT {names} FROM commands WHERE test_pc = ? AND id = ?",
            (pc, step.id),
        ).fetchone()
        before = (
            rows.command_row(agent, dict(zip(rows.COMMAND_COLUMNS, found, strict=True))) if found else None
        )
        if before is None:
            withdraw_unanswered(self._db, pc, step)
        after = told(before, agent, step)
        values = {"test_pc": pc, **rows.command_values(after)}
        updates = ", ".join(f"{name} = excluded.{name}" for name in rows.COMMAND_COLUMNS)
        rows.insert(self._db, "commands", values, f"ON CONFLICT (test_pc, id) DO UPDATE SET {updates}")
        if has_ended(after) and not has_ended(before):
            self.finished[agent, after.state.value] += 1

    def _loss(self, pc: int, placed: Placed[EventRecord], loss: LostRange) -> None:
        try:
            entered = declare_lost(loss, placed.agent, self._books)
        except ValueError as error:
            raise _Unstorable(str(error)) from error
        envelopes = sum(last - first + 1 for first, last in entered)
        if envelopes == 0:
            return
        self.tally(loss.stream).lost += envelopes
        values = loss.model_dump() | {"test_pc": pc, "timestamp": placed.record.at, "envelopes": envelopes}
        rows.insert(self._db, "losses", values)

    def _pc(self, agent: str) -> int:
        return self._number("test_pcs", agent)

    def _number(self, table: str, id_: str, test_pc: str | None = None) -> int:
        """Return the number of a thing; _Unstorable when it is one too many of those nobody declared."""
        key = table, id_
        if key not in self._numbers:
            number = ensure(self._db, table, id_, self._now, test_pc)
            if number is None:
                raise _Unstorable(
                    f"lab.toml does not name {id_}, nor many others: no place for it in {table}"
                )
            self._numbers[key] = number
        return self._numbers[key]

    def _told_lately(self, table: str, where: str, place: tuple[int, ...], at: int) -> bool:
        """Tell whether history says something about the hour before ``at``."""
        found = self._db.execute(
            f"SELECT 1 FROM {table} WHERE {where} AND timestamp > ? AND timestamp <= ? LIMIT 1",
            (*place, at - KEYFRAME, at),
        ).fetchone()
        return found is not None

    def _teller(self, table: str, where: str, place: tuple[int, ...]) -> str | None:
        """Return who told the current state that ``table`` holds."""
        found = self._db.execute(
            f"SELECT pc.id FROM {table} JOIN test_pcs AS pc ON pc.number = test_pc WHERE {where}",
            place,
        ).fetchone()
        return None if found is None else str(found[0])


def _touch_pcs(db: sqlite3.Connection, group: Sequence[Received]) -> None:
    """Note when each agent was heard."""
    heard: dict[str, int] = {}
    for envelope in group:
        heard[envelope.agent] = max(heard.get(envelope.agent, 0), envelope.received_at)
    db.executemany(
        "UPDATE test_pcs SET last_heartbeat_at = ?1 WHERE id = ?2 AND ifnull(last_heartbeat_at, 0) < ?1",
        [(at, agent) for agent, at in sorted(heard.items())],
    )
