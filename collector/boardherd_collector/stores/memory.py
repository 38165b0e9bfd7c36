"""A store that keeps nothing beyond the process: for tests and trials, with the same promises otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from boardherd_collector.holdings import Holding
from boardherd_collector.ledger import Range
from boardherd_collector.owners import Owners, prevails
from boardherd_collector.stores.answers import (
    BootRow,
    DeadLetterRow,
    EventRow,
    LossRow,
)
from boardherd_collector.stores.base import (
    DIGESTS_KEPT,
    MAX_UNDECLARED,
    BoardNow,
    Commit,
    Greeted,
    Greeting,
    Outcome,
    PortNow,
    Received,
    RollUp,
    StoreError,
)
from boardherd_collector.stores.intake import (
    KEYFRAME,
    Batch,
    DeadLetter,
    Placed,
    StreamBook,
    batch,
    dead_letter,
    declare_lost,
    has_ended,
    judge,
    missing,
    speaks_of_board,
    take_event,
    told,
)
from boardherd_collector.stores.memory_orders import MemoryOrders
from boardherd_collector.stores.memory_reader import Said
from boardherd_collector.stores.memory_rollups import Sample
from boardherd_collector.stores.units import host_values
from boardherd_collector.times import SECOND, AnyRecord, relearned
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import encode
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, RelayRecord, Verdict


class MemoryStore(MemoryOrders):
    """A :class:`~boardherd_collector.stores.base.Store` of plain lists and dictionaries."""

    async def __aenter__(self) -> Self:
        """Open it: nothing to do."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it; what was in it can still be read."""

    async def reopen(self) -> None:
        """Open it again: nothing to do."""

    async def sync_inventory(self, inventory: Inventory, now: int) -> None:
        """Take what the inventory names."""
        del now
        lab = inventory.lab
        if self._site not in {None, lab.site}:
            raise StoreError(
                f'the database belongs to the site "{self._site}", the inventory to "{lab.site}"'
            )
        self._site, self._lab = lab.site, lab
        self._owners = Owners(inventory)
        self._declared = {"pc": lab.pc, "board": lab.board, "relay": lab.relay}

    async def commit(self, group: Sequence[Received]) -> Commit:
        """Store the envelopes that are new."""
        welcome = {agent for agent in sorted({item.agent for item in group}) if self._place("pc", agent)}
        outcomes = judge(group, self._books, welcome)
        judged = zip(group, outcomes, strict=True)
        new = [item for item, outcome in judged if outcome is Outcome.COMMITTED]
        result = Commit(outcomes)
        for item in new:
            self._figure(item.stream)["envelopes"] += 1
            self._touched[item.stream] = round(time.time() * SECOND)
            _keep_newest(self._books[item.stream])
        records = batch(new, self._clocks)
        everything: list[Placed[AnyRecord]] = [
            *records.hosts,
            *records.boards,
            *records.relays,
            *records.events,
        ]
        for placed in everything:
            self._take(placed, records, result)
        for letter in records.dead:
            self._bury(letter)
        result.dead_letters = len(records.dead)
        for item in group:
            if item.agent in welcome:
                pc = self._pc(item.agent)
                pc.heard_at = max(pc.heard_at or 0, item.received_at)
        return result

    def _take(self, placed: Placed[AnyRecord], records: Batch, result: Commit) -> None:
        try:
            self._write(placed, result)
        except ValueError as error:
            records.dead.append(dead_letter(placed.envelope, placed.position, placed.record, str(error)))
        else:
            result.records[placed.record.kind] += 1
            self._figure(placed.envelope.stream)[placed.record.kind] += 1

    def _write(self, placed: Placed[AnyRecord], result: Commit) -> None:
        """Keep one record; ValueError, in words, when there is no place for it."""
        match placed.record:
            case HostRecord() as host:
                self._series.hosts.append(Placed(placed.envelope, placed.position, host, placed.quality))
                self._rollups.note_sample(placed.agent, host.at)
                if self._is_current(placed, "pc", placed.agent, anew=False):
                    self._pc(placed.agent).sample = host
            case BoardRecord() as board:
                self._write_board(Placed(placed.envelope, placed.position, board, placed.quality))
            case RelayRecord() as relay:
                self._write_relay(Placed(placed.envelope, placed.position, relay, placed.quality))
            case EventRecord() as event:
                self._write_event(placed, event, result)
                if (board_id := speaks_of_board(event)) is not None:
                    self._take_use(Placed(placed.envelope, placed.position, event, placed.quality), board_id)

    def _write_board(self, placed: Placed[BoardRecord]) -> None:
        record = placed.record
        self._require("board", record.board)
        present = self._boards.get(record.board)
        owner = self._owners.of_board(record.board)
        contested = not prevails(owner, placed.agent, present.agent if present else None)
        said = [
            old.record.at
            for old in self._series.boards
            if old.record.board == record.board and old.contested == contested
        ]
        if record.change or not _lately(said, record.at):
            self._series.boards.append(
                Said(placed.envelope, placed.position, record, placed.quality, contested)
            )
        if contested:
            return
        self._rollups.note_board(placed)
        self._held(record.board).told(placed.counts_from, record)
        anew = present is None or present.agent != placed.agent
        if self._is_current(placed, "board", record.board, anew=anew):
            self._boards[record.board] = BoardNow(placed.agent, record)

    def _held(self, board: str) -> Holding:
        """Return what is known of who has a board, as of the newest verdict."""
        held = self._holdings.setdefault(board, Holding())
        held.told_at = max(held.told_at, self._counts_from.get(("board", board), 0))
        return held

    def _take_use(self, placed: Placed[EventRecord], board: str) -> None:
        """Take what an event says about the use of a board, if it comes from who may speak about it."""
        present = self._boards.get(board)
        owner = self._owners.of_board(board)
        if self._place("board", board) and prevails(owner, placed.agent, present.agent if present else None):
            take_event(self._held(board), placed.counts_from, placed.record)

    def _write_relay(self, placed: Placed[RelayRecord]) -> None:
        record, key = placed.record, (placed.record.relay, placed.record.port)
        self._require("relay", record.relay)
        said = [old.record.at for old in self._series.relays if (old.record.relay, old.record.port) == key]
        if record.change or not _lately(said, record.at):
            self._series.relays.append(placed)
        present = self._ports.get(key)
        if not prevails(self._owners.of_port(*key), placed.agent, present.agent if present else None):
            return
        anew = present is None or present.agent != placed.agent
        if self._is_current(placed, "port", *key, anew=anew):
            self._ports[key] = PortNow(placed.agent, record)

    def _is_current(self, placed: Placed[AnyRecord], *place: str | int, anew: bool) -> bool:
        """Tell whether a record is the current one of its place: always, when another PC told the present one."""
        if not anew and placed.counts_from < self._counts_from.get(place, 0):
            return False
        self._counts_from[place] = placed.counts_from
        return True

    def _write_event(self, placed: Placed[AnyRecord], record: EventRecord, result: Commit) -> None:
        agent, at = placed.agent, record.at / SECOND
        if record.boot is not None and record.subject.startswith("board/"):
            board = record.subject.removeprefix("board/")
            self._require("board", board)
            self._series.boots.append(BootRow(at=at, board=board, pc=agent, times=record.boot))
        if record.loss is not None:
            loss = record.loss
            entered = declare_lost(loss, agent, self._books)
            envelopes = sum(last - first + 1 for first, last in entered)
            self._figure(loss.stream)["lost"] += envelopes
            if envelopes:
                values = loss.model_dump(include={"stream", "first", "last", "records", "reason"})
                self._series.losses.append(LossRow(at=at, pc=agent, envelopes=envelopes, **values))
        step = record.command
        if step is not None:
            before = self._commands.get((agent, step.id))
            if before is None:
                self._withdraw_unanswered(agent, step)
            after = self._commands[agent, step.id] = told(before, agent, step)
            if has_ended(after) and not has_ended(before):
                result.finished[agent, after.state.value] += 1
        self._series.events.append(
            EventRow(
                at=at,
                pc=agent,
                event=record.event,
                subject=record.subject,
                text=record.text,
                command=step.id if step else None,
                words=record.words or (),
            )
        )

    def _bury(self, letter: DeadLetter) -> None:
        envelope, bad = letter.envelope, letter.bad
        self._figure(envelope.stream)["dead"] += 1
        self._series.dead.append(
            DeadLetterRow(
                at=envelope.received_at / SECOND,
                pc=envelope.agent,
                stream=envelope.stream,
                seq=envelope.seq,
                position=bad.position,
                reason=bad.reason,
                payload=bad.payload,
            )
        )

    def _place(self, kind: str, id_: str) -> bool:
        """Tell whether there is a place for a thing, giving it one when the inventory does not name it."""
        strangers = self._strangers[kind]
        if id_ in self._declared[kind] or id_ in strangers:
            return True
        if len(strangers) >= MAX_UNDECLARED:
            return False
        strangers.add(id_)
        return True

    def _require(self, kind: str, id_: str) -> None:
        if not self._place(kind, id_):
            raise ValueError(f"lab.toml does not name {kind} {id_}, nor many others")

    async def missing(self, agent: str, stream: str, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``ranges`` are neither stored nor declared lost."""
        return missing(self._books.get(stream), agent, ranges)

    async def greet(self, greetings: Sequence[Greeting]) -> list[Greeted]:
        """Take hellos in, and tell what the ledger lacks of what each asks about."""
        return [self._greet(greeting) for greeting in greetings]

    def _greet(self, greeting: Greeting) -> Greeted:
        agent, hello = greeting.agent, greeting.hello
        lacking = {
            stream: missing(self._books.get(stream), agent, ranges)
            for stream, ranges in greeting.asked.items()
        }
        try:
            encode(hello)
        except ValueError as error:
            return Greeted(greeting.clock, lacking, str(error))
        if not self._place("pc", agent):
            return Greeted(greeting.clock, lacking)
        pc = self._pc(agent)
        pc.hello, pc.heard_at = hello, max(pc.heard_at or 0, greeting.received_at)
        key = agent, hello.boot
        self._clocks[key] = relearned(self._clocks.get(key), greeting.clock)
        return Greeted(self._clocks[key], lacking)

    async def roll_up(self, window_from: int, budget_s: float) -> RollUp:
        """Work out rollups of hours that records came for, as many as the budget allows."""
        return self._rollups.roll_up(window_from, budget_s, self._samples, self._entries)

    def _samples(self, pc: str, begin: int, end: int) -> list[tuple[int, Sample]]:
        hosts = (row.record for row in self._series.hosts if row.agent == pc)
        return [(record.at, host_values(record)) for record in hosts if begin <= record.at < end]

    def _entries(self, board: str, begin: int, end: int) -> list[tuple[int, Verdict]]:
        told = [
            row.record
            for row in self._series.boards
            if row.record.board == board and not row.contested and row.record.at < end
        ]
        held = max((record.at for record in told if record.at <= begin), default=begin)
        found = [(record.at, record.verdict) for record in told if record.at >= held]
        return sorted(found, key=lambda entry: entry[0])

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` samples, verdicts and states of each series older than ``before``."""
        series, gone = self._series, 0
        for placed in (series.hosts, series.boards, series.relays):
            gone += _drop(placed, lambda row: row.record.at < before, limit)
        self._rollups.forget_minutes(before)
        return gone

    async def prune_audit(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` commands, events, boots and losses of each kind older than ``before``."""
        series, second = self._series, before / SECOND
        gone = 0
        for rows in (series.events, series.boots, series.losses):
            gone += _drop(rows, lambda row: row.at < second, limit)
        old = [key for key, life in self._commands.items() if life.began_at < second][:limit]
        for key in old:
            del self._commands[key]
        return gone + len(old)

    async def prune_rollups(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` five-minute rollups from before ``before``; return how many went."""
        return self._rollups.prune(before, limit)

    async def prune_digests(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` digests of streams that are done with; return how many went."""
        done = [
            book
            for stream, book in self._books.items()
            if self._touched.get(stream, 0) < before
            and (not book.ledger.ranges or self._is_retired(book.agent))
        ]
        old = [(book, seq) for book in done for seq in book.digests][:limit]
        for book, seq in old:
            del book.digests[seq]
        return len(old)

    def _is_retired(self, pc: str) -> bool:
        return pc not in self._declared["pc"] and pc not in self._strangers["pc"]

    async def forget_deleted(self, limit: int) -> int:
        """Do nothing: there is no table from which a person could delete."""
        del limit
        return 0


def _drop(rows: list[Any], is_old: Callable[[Any], bool], limit: int) -> int:
    old = [place for place, row in enumerate(rows) if is_old(row)][:limit]
    for place in reversed(old):
        del rows[place]
    return len(old)


def _lately(said: Iterable[int], at: int) -> bool:
    """Tell whether one of the times in ``said`` lies in the hour before ``at``."""
    return any(at - KEYFRAME < other <= at for other in said)


def _keep_newest(book: StreamBook) -> None:
    for seq in sorted(book.digests)[:-DIGESTS_KEPT]:
        del book.digests[seq]
