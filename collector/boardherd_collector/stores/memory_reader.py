"""What the store in memory holds, and its answers to every question."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from boardherd_collector.freshness import silent_after
from boardherd_collector.holdings import Holding
from boardherd_collector.marks import Done, Marks, Thing
from boardherd_collector.owners import Owners
from boardherd_collector.rollups import hour_of, trend_row
from boardherd_collector.stores import memory_questions as questions
from boardherd_collector.stores.answers import (
    BoardRow,
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    DiskRow,
    EventRow,
    LivenessRow,
    LossRow,
    PcStatsRow,
    PortStateRow,
    ReportRow,
    Step,
    StreamCounts,
    SummaryRow,
    TrendRow,
    UsageRow,
)
from boardherd_collector.stores.base import (
    BoardFilter,
    BoardNow,
    PcNow,
    PortNow,
    Snapshot,
)
from boardherd_collector.stores.intake import (
    Placed,
    StreamBook,
)
from boardherd_collector.stores.memory_rollups import MemoryRollups
from boardherd_collector.stores.past_rows import port_row, usage_row
from boardherd_collector.stores.units import host_values
from boardherd_collector.times import SECOND
from boardherd_shared.drift import is_drifting
from boardherd_shared.inventory import Lab
from boardherd_shared.messages import Hello
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord, Verdict


@dataclass
class Pc:
    """What is known of a test PC."""

    hello: Hello | None = None
    heard_at: int | None = None
    sample: HostRecord | None = None


@dataclass(frozen=True)
class Said(Placed[BoardRecord]):
    """An entry of the history of a board."""

    contested: bool
    """Told by a PC that does not control the board."""


@dataclass
class Series:
    """One list for each table, in the order of writing."""

    hosts: list[Placed[HostRecord]] = field(default_factory=list)
    boards: list[Said] = field(default_factory=list)
    relays: list[Placed[RelayRecord]] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    boots: list[BootRow] = field(default_factory=list)
    losses: list[LossRow] = field(default_factory=list)
    dead: list[DeadLetterRow] = field(default_factory=list)


class MemoryReader:
    """Everything that is stored, as plain lists and dictionaries; and the questions to it."""

    name = "memory"
    upkeep = "the collector rolls up and deletes what is old"

    def __init__(self) -> None:
        """Begin empty."""
        self._site: str | None = None
        self._declared: dict[str, Collection[str]] = {"pc": (), "board": (), "relay": ()}
        self._strangers: dict[str, set[str]] = {"pc": set(), "board": set(), "relay": set()}
        self._owners = Owners()
        self._pcs: dict[str, Pc] = {}
        self._clocks: dict[tuple[str, str], int] = {}
        self._books: dict[str, StreamBook] = {}
        self._figures: dict[str, Counter[str]] = {}
        self._touched: dict[str, int] = {}
        self._commands: dict[tuple[str, str], CommandRow] = {}
        self._boards: dict[str, BoardNow] = {}
        self._ports: dict[tuple[str, int], PortNow] = {}
        self._counts_from: dict[tuple[str | int, ...], int] = {}
        self._series = Series()
        self._rollups = MemoryRollups()
        self._lab: Lab | None = None
        self._holdings: dict[str, Holding] = {}
        self._marks: dict[Thing, Marks] = {}
        self._done: dict[str, Done] = {}
        self._open: dict[str, tuple[int, str]] = {}
        self._unnamed: set[tuple[str, str]] = set()

    async def snapshot(self) -> Snapshot:
        """Return the current state."""
        finished = Counter((row.pc, row.state.value) for row in self._commands.values() if row.state.final)
        return Snapshot(
            pcs=tuple(self._pc_now(agent) for agent in sorted({*self._declared["pc"], *self._pcs})),
            boards=tuple(self._boards.values()),
            ports=tuple(self._ports.values()),
            commands=finished,
            marks=dict(self._marks),
        )

    def _pc_now(self, agent: str) -> PcNow:
        pc = self._pcs.get(agent, Pc())
        clock = self._clocks.get((agent, pc.hello.boot)) if pc.hello else None
        return PcNow(agent, agent in self._declared["pc"], pc.heard_at, pc.hello, pc.sample, clock)

    async def events(self, subject: str | None = None, limit: int = 100, since: int = 0) -> list[EventRow]:
        """Return events after ``since``, newest first; those about ``subject`` or anything below it."""
        told = reversed(self._series.events)
        rows = [row for row in told if _is_about(row, subject) and row.at >= since / SECOND]
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

    async def boards(self, wanted: BoardFilter) -> list[BoardRow]:
        """Return everything about the boards that are wanted, as it is now, by id."""
        now = time.time()
        return [board for board in self._board_rows(now) if questions.is_wanted(board, wanted, now)]

    def _board_rows(self, now: float) -> list[BoardRow]:
        ids = sorted({*self._declared["board"], *self._strangers["board"]})
        return [
            questions.board_row(
                id_,
                self._lab,
                self._boards.get(id_),
                now,
                self._silent_at,
                holding=self._holdings.get(id_, Holding()),
                marks=self._marks,
            )
            for id_ in ids
        ]

    def _silent_at(self, agent: str) -> float:
        """Return since when a PC counts as silent unless it is heard before, Unix seconds."""
        pc = self._pc(agent)
        if pc.heard_at is None:
            return 0.0
        return pc.heard_at / SECOND + silent_after(pc.hello.sample_interval_s if pc.hello else 10.0)

    async def board_history(self, board: str, since: int, limit: int = 1000) -> list[LivenessRow]:
        """Return the newest entries of a board's history after ``since``, and what held then."""
        about = [row for row in self._series.boards if row.record.board == board]
        held = max(
            (row.record.at for row in about if not row.contested and row.record.at <= since), default=since
        )
        found = sorted((row for row in about if row.record.at >= held), key=lambda row: row.record.at)
        return [
            LivenessRow(
                timestamp=row.record.at / SECOND,
                pc=row.agent,
                since=row.record.since / SECOND,
                contested=row.contested,
                **row.record.model_dump(include={"verdict", "blame", "reason", "change"}),
            )
            for row in found[-limit:]
        ]

    async def switches(self, relay: str, port: int, limit: int = 100) -> list[CommandRow]:
        """Return the commands that switched a port, newest first."""
        boards = self._lab.board if self._lab else {}
        targets = (
            {f"relay/{relay}/{port}"}
            | {
                f"board/{id_}"
                for id_, board in boards.items()
                for feed in board.power
                if (feed.relay, feed.port) == (relay, port)
            }
            | {
                f"line/{id_}/{name}"
                for id_, board in boards.items()
                for name, line in board.lines.items()
                if (line.relay, line.port) == (relay, port)
            }
        )
        rows = [row for row in self._commands.values() if questions.is_switch(row, targets)]
        return sorted(rows, key=lambda row: -row.began_at)[:limit]

    async def port_history(
        self, ports: Sequence[tuple[str, int]], since: int, limit: int = 1000
    ) -> list[PortStateRow]:
        """Return the newest states of relay ports after ``since``, and what held then."""
        found = [row for key in ports for row in self._port_states(key, since)]
        found.sort(key=lambda row: row.timestamp)
        return found[-limit:]

    def _port_states(self, key: tuple[str, int], since: int) -> list[PortStateRow]:
        about = [row for row in self._series.relays if (row.record.relay, row.record.port) == key]
        held = max((row.record.at for row in about if row.record.at <= since), default=since)
        return [
            port_row(
                row.agent,
                *(it.relay, it.at, it.port, it.observed, it.asked, it.expected, is_drifting(it)),
                *(it.since, it.switched_at, it.switched_by, it.reason, it.change),
            )
            for row in about
            if (it := row.record).at >= held
        ]

    async def usage(self, board: str, since: int, limit: int = 1000) -> list[UsageRow]:
        """Return the newest uses of a board that had not ended by ``since``, oldest of them first."""
        now = round(time.time() * SECOND)
        uses = self._holdings.get(board, Holding()).uses.values()
        rows = [
            usage_row(
                now,
                board,
                *(use.who, use.purpose, use.started_at, use.ended_at, use.deadline, use.end_reported),
            )
            for use in sorted(uses, key=lambda use: use.started_at)
            if (use.deadline if use.ended_at is None else use.ended_at) > since
        ]
        return rows[-limit:]

    async def host_trend(self, pc: str, since: int, step: Step, limit: int = 10_000) -> list[TrendRow]:
        """Return the newest rollups of ``pc`` since ``since``, oldest of them first."""
        found = list(self._rollups.trend(pc, since, step).items())[-limit:]
        return [trend_row(bucket, columns) for bucket, columns in found]

    async def summary(self, by: Literal["test_farm", "platform"]) -> list[SummaryRow]:
        """Return how the boards of each group are, by the name of the group."""
        return questions.summaries(self._board_rows(time.time()), by)

    async def report(self, since: int, until: int) -> list[ReportRow]:
        """Return reachability and power cycles of every board, by id."""
        rows = []
        for board in self._board_rows(time.time()):
            seconds: Counter[Verdict] = Counter()
            for (id_, hour), found in self._rollups.verdicts.items():
                if id_ == board.id and hour_of(since) <= hour < hour_of(until):
                    seconds.update(found)
            cycles = [
                row
                for row in self._commands.values()
                if (row.action, row.target) == ("cycle", f"board/{board.id}")
                and since <= row.began_at * SECOND < until
            ]
            uses = self._holdings.get(board.id, Holding()).uses.values()
            rows.append(questions.report_row(board, seconds, cycles, questions.used(uses, since, until)))
        return rows

    async def disks(self, within_s: float, since: int) -> list[DiskRow]:
        """Return the PCs whose disk fills in time, soonest first."""
        rows = []
        for pc, known in self._pcs.items():
            used = {
                hour: value
                for hour, columns in self._rollups.trend(pc, since, "1h").items()
                if (value := columns["disk_used_gb_avg"]) is not None
            }
            if known.sample and (row := questions.disk_row(pc, known.sample, used, within_s)):
                rows.append(row)
        return sorted(rows, key=lambda row: row.full_at)

    def _pc(self, agent: str) -> Pc:
        return self._pcs.setdefault(agent, Pc())

    def _figure(self, stream: str) -> Counter[str]:
        return self._figures.setdefault(stream, Counter())


def _is_about(row: EventRow, subject: str | None) -> bool:
    if subject is None:
        return True
    if subject.startswith("pc/"):
        return row.pc == subject.removeprefix("pc/")
    return row.subject == subject or row.subject.startswith(f"{subject}/")
