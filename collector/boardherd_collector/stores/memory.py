"""A store that keeps nothing beyond the process: for tests and trials, with the same promises otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from boardherd_collector.ledger import Range, merged
from boardherd_collector.owners import Owners, prevails
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
from boardherd_collector.stores.base import (
    DIGESTS_KEPT,
    MAX_UNDECLARED,
    BoardNow,
    Commit,
    Outcome,
    PcNow,
    PortNow,
    Received,
    Snapshot,
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
    judge,
    told,
)
from boardherd_collector.stores.units import host_values
from boardherd_collector.times import SECOND, AnyRecord
from boardherd_shared.inventory import Inventory
from boardherd_shared.messages import Hello
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, RelayRecord


@dataclass
class _Pc:
    hello: Hello | None = None
    heard_at: int | None = None
    sample: HostRecord | None = None


@dataclass
class _Series:
    """One list for each table, in the order of writing."""

    hosts: list[Placed[HostRecord]] = field(default_factory=list)
    boards: list[Placed[BoardRecord]] = field(default_factory=list)
    relays: list[Placed[RelayRecord]] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    boots: list[BootRow] = field(default_factory=list)
    losses: list[LossRow] = field(default_factory=list)
    dead: list[DeadLetterRow] = field(default_factory=list)


class MemoryStore:
    """A :class:`~boardherd_collector.stores.base.Store` of plain lists and dictionaries."""

    name = "memory"

    def __init__(self) -> None:
        """Begin empty."""
        self._site: str | None = None
        self._declared: dict[str, Collection[str]] = {"pc": (), "board": (), "relay": ()}
        self._strangers: dict[str, set[str]] = {"pc": set(), "board": set(), "relay": set()}
        self._owners = Owners()
        self._pcs: dict[str, _Pc] = {}
        self._clocks: dict[tuple[str, str], int] = {}
        self._books: dict[str, StreamBook] = {}
        self._figures: dict[str, Counter[str]] = {}
        self._commands: dict[tuple[str, str], CommandRow] = {}
        self._boards: dict[str, BoardNow] = {}
        self._ports: dict[tuple[str, int], PortNow] = {}
        self._series = _Series()

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
        self._site = lab.site
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
                pc = self._pc(placed.agent)
                if pc.sample is None or host.at >= pc.sample.at:
                    pc.sample = host
            case BoardRecord() as board:
                self._write_board(Placed(placed.envelope, placed.position, board, placed.quality))
            case RelayRecord() as relay:
                self._write_relay(Placed(placed.envelope, placed.position, relay, placed.quality))
            case EventRecord() as event:
                self._write_event(placed, event, result)

    def _write_board(self, placed: Placed[BoardRecord]) -> None:
        record = placed.record
        self._require("board", record.board)
        said = [old.record.at for old in self._series.boards if old.record.board == record.board]
        if record.change or not _lately(said, record.at):
            self._series.boards.append(placed)
        present = self._boards.get(record.board)
        owner = self._owners.of_board(record.board)
        if not prevails(owner, placed.agent, present.agent if present else None):
            return
        if present is None or present.agent != placed.agent or record.at >= present.record.at:
            self._boards[record.board] = BoardNow(placed.agent, record)

    def _write_relay(self, placed: Placed[RelayRecord]) -> None:
        record, key = placed.record, (placed.record.relay, placed.record.port)
        self._require("relay", record.relay)
        said = [old.record.at for old in self._series.relays if (old.record.relay, old.record.port) == key]
        if record.change or not _lately(said, record.at):
            self._series.relays.append(placed)
        present = self._ports.get(key)
        if not prevails(self._owners.of_port(*key), placed.agent, present.agent if present else None):
            return
        if present is None or present.agent != placed.agent or record.at >= present.record.at:
            self._ports[key] = PortNow(placed.agent, record)

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
            after = self._commands[agent, step.id] = told(before, agent, step)
            if after.state.final and not (before and before.state.final):
                result.finished[agent, after.state.value] += 1
        self._series.events.append(
            EventRow(
                at=at,
                pc=agent,
                event=record.event,
                subject=record.subject,
                text=record.text,
                command=step.id if step else None,
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

    def _pc(self, agent: str) -> _Pc:
        return self._pcs.setdefault(agent, _Pc())

    def _figure(self, stream: str) -> Counter[str]:
        return self._figures.setdefault(stream, Counter())

    async def missing(self, agent: str, stream: str, ranges: Sequence[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``ranges`` are neither stored nor declared lost."""
        book = self._books.get(stream)
        return tuple(merged(ranges)) if book is None or book.agent != agent else book.ledger.missing(ranges)

    async def hear(self, agent: str, hello: Hello, now: int) -> None:
        """Keep what an agent says of itself and of its PC."""
        if self._place("pc", agent):
            pc = self._pc(agent)
            pc.hello, pc.heard_at = hello, max(pc.heard_at or 0, now)

    async def learn_clock(self, agent: str, boot: str, offset: int, now: int) -> int:
        """Keep the offset of a boot's clock unless one is known, and return the one that holds."""
        del now
        if not self._place("pc", agent):
            return offset
        return self._clocks.setdefault((agent, boot), offset)

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        finished = Counter((row.pc, row.state.value) for row in self._commands.values() if row.state.final)
        return Snapshot(
            pcs=tuple(self._pc_now(agent) for agent in sorted({*self._declared["pc"], *self._pcs})),
            boards=tuple(self._boards.values()),
            ports=tuple(self._ports.values()),
            commands=finished,
        )

    def _pc_now(self, agent: str) -> PcNow:
        pc = self._pcs.get(agent, _Pc())
        clock = self._clocks.get((agent, pc.hello.boot)) if pc.hello else None
        return PcNow(agent, agent in self._declared["pc"], pc.heard_at, pc.hello, pc.sample, clock)

    async def events(self, subject: str | None = None, limit: int = 100) -> list[EventRow]:
        """Return events, newest first; those about ``subject`` or anything below it."""
        rows = [row for row in reversed(self._series.events) if _is_about(row, subject)]
        return sorted(rows, key=lambda row: -row.at)[:limit]

    async def commands(self, target: str | None = None, limit: int = 100) -> list[CommandRow]:
        """Return commands, newest first; those for ``target``."""
        rows = [row for row in self._commands.values() if target in {None, row.target}]
        return sorted(rows, key=lambda row: -row.began_at)[:limit]

    async def boots(self, board: str | None = None, limit: int = 100) -> list[BootRow]:
        """Return boots, newest first."""
        rows = [row for row in self._series.boots if board in {None, row.board}]
        return sorted(rows, key=lambda row: -row.at)[:limit]

    async def losses(self, limit: int = 100) -> list[LossRow]:
        """Return reported losses, newest first."""
        return sorted(self._series.losses, key=lambda row: -row.at)[:limit]

    async def dead_letters(self, limit: int = 100) -> list[DeadLetterRow]:
        """Return records that could not be stored, newest first."""
        return self._series.dead[::-1][:limit]

    async def host_history(self, pc: str, since: int, limit: int = 10_000) -> list[PcStatsRow]:
        """Return the newest ``limit`` samples of ``pc`` after ``since``, oldest of them first."""
        found = [row.record for row in self._series.hosts if row.agent == pc and row.record.at >= since]
        found.sort(key=lambda record: record.at)
        return [
            PcStatsRow.model_validate({"timestamp": record.at / SECOND, **host_values(record)})
            for record in found[-limit:]
        ]

    async def counts(self) -> Counts:
        """Return how much is stored."""
        series = self._series
        rows = {
            "pc_stats": len(series.hosts),
            "board_liveness": len(series.boards),
            "relay_states": len(series.relays),
            "events": len(series.events),
            "boots": len(series.boots),
            "losses": len(series.losses),
            "commands": len(self._commands),
            "dead_letters": len(series.dead),
        }
        streams = sorted(self._books.items(), key=lambda item: item[1].agent)
        return Counts(rows=rows, streams=tuple(self._stream(stream, book) for stream, book in streams))

    def _stream(self, stream: str, book: StreamBook) -> StreamCounts:
        figures = self._figure(stream)
        return StreamCounts(
            stream=stream,
            pc=book.agent,
            watermark=book.ledger.watermark,
            ranges=book.ledger.ranges,
            envelopes=figures["envelopes"],
            lost_envelopes=figures["lost"],
            dead_letters=figures["dead"],
            records={kind: figures[kind] for kind in ("host", "board", "relay", "event")},
        )

    async def prune(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` rows of each series older than ``before``; return how many went."""
        series, second = self._series, before / SECOND
        gone = 0
        for placed in (series.hosts, series.boards, series.relays):
            gone += _drop(placed, lambda row: row.record.at < before, limit)
        for rows in (series.events, series.boots, series.losses):
            gone += _drop(rows, lambda row: row.at < second, limit)
        return gone


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


def _is_about(row: EventRow, subject: str | None) -> bool:
    if subject is None:
        return True
    if subject.startswith("pc/"):
        return row.pc == subject.removeprefix("pc/")
    return row.subject == subject or row.subject.startswith(f"{subject}/")
