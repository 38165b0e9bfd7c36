"""What every store does with envelopes, apart from keeping them. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from boardherd_collector.holdings import Holding
from boardherd_collector.ledger import Ledger, Range, merged
from boardherd_collector.stores.answers import CommandRow
from boardherd_collector.stores.base import BadRecord, Outcome, Received, Unanswered
from boardherd_collector.times import SECOND, AnyRecord, TimeQuality, moment, out_of_range, shifted
from boardherd_shared.command import CommandStep, State
from boardherd_shared.records import BoardRecord, EventRecord, HostRecord, LostRange, RelayRecord
from boardherd_shared.values import one_line

MAX_RANGES = 4096
"""A stream with more holes than this is not one: agents send their backlog in order."""
KEYFRAME = 3600 * SECOND
"""A refresh that says nothing new goes into history when nothing did for so long."""

R_co = TypeVar("R_co", bound=AnyRecord, covariant=True)

_ORDER = {State.ACCEPTED: 0, State.RUNNING: 1}


@dataclass
class StreamBook:
    """What a store knows of one stream."""

    agent: str
    ledger: Ledger
    digests: dict[int, str] = field(default_factory=dict)
    """Of the newest envelopes, by number."""

    @property
    def _full(self) -> bool:
        return len(self.ledger.ranges) >= MAX_RANGES

    def lose(self, first: int, last: int) -> tuple[Range, ...]:
        """Enter a loss; return which of its numbers were not in yet. Raises ValueError in words."""
        if last < first:
            raise ValueError(f"the lost range ends at {last}, before it begins at {first}")
        if self._full:
            raise ValueError(f"the stream has more than {MAX_RANGES} holes already")
        return self.ledger.add_range(first, last)

    def judge(self, envelope: Received) -> Outcome:
        """Enter ``envelope`` if it is new, and return what becomes of it."""
        if envelope.agent != self.agent:
            return Outcome.CONFLICT
        if envelope.seq in self.ledger:
            known = self.digests.get(envelope.seq, envelope.digest)
            return Outcome.DUPLICATE if known == envelope.digest else Outcome.CONFLICT
        if self._full and envelope.seq - 1 not in self.ledger and envelope.seq + 1 not in self.ledger:
            return Outcome.INVALID
        self.ledger.add(envelope.seq)
        self.digests[envelope.seq] = envelope.digest
        return Outcome.COMMITTED


def missing(book: StreamBook | None, agent: str, asked: Iterable[Range]) -> tuple[Range, ...]:
    """Return which numbers of ``asked`` the stream of ``book`` lacks: all of them when it is another agent's."""
    return tuple(merged(asked)) if book is None or book.agent != agent else book.ledger.missing(asked)


def judge(group: Sequence[Received], books: dict[str, StreamBook], welcome: Collection[str]) -> list[Outcome]:
    """Enter the envelopes of ``group`` in their books, making new ones for new streams.

    Only envelopes of the agents in ``welcome`` are entered: the number of unknown PCs is bounded.

    The outcomes are in the order of the group; the envelopes are entered in the order of their keys, so
    that concurrent writers of one database cannot wait for each other in a circle.
    """
    outcomes: dict[int, Outcome] = {}
    for index in sorted(range(len(group)), key=lambda place: (group[place].stream, group[place].seq)):
        envelope = group[index]
        if envelope.agent not in welcome:
            outcomes[index] = Outcome.INVALID
            continue
        book = books.setdefault(envelope.stream, StreamBook(envelope.agent, Ledger()))
        outcomes[index] = book.judge(envelope)
    return [outcomes[index] for index in range(len(group))]


@dataclass(frozen=True)
class Placed(Generic[R_co]):
    """A record at its place in time, with its sender."""

    envelope: Received
    position: int
    record: R_co
    """Its times are corrected."""
    quality: TimeQuality

    @property
    def agent(self) -> str:
        """Who sent it."""
        return self.envelope.agent

    @property
    def counts_from(self) -> int:
        """The time by which it is decided what is current; microseconds since 1970 UTC.

        It is the record's own, but never later than it came: a clock that is ahead, which nobody has corrected,
        must not make all that follows look old.
        """
        return min(self.record.at, self.envelope.received_at)


@dataclass(frozen=True)
class DeadLetter:
    """A record that will not be stored, and why."""

    envelope: Received
    bad: BadRecord


@dataclass
class Batch:
    """The records of the new envelopes of a group, in the order of their time."""

    hosts: list[Placed[HostRecord]] = field(default_factory=list)
    boards: list[Placed[BoardRecord]] = field(default_factory=list)
    relays: list[Placed[RelayRecord]] = field(default_factory=list)
    events: list[Placed[EventRecord]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    def bury(self, placed: Placed[AnyRecord], reason: str) -> None:
        """Set a record aside."""
        self.dead.append(dead_letter(placed.envelope, placed.position, placed.record, reason))


def dead_letter(envelope: Received, position: int, record: AnyRecord, reason: str) -> DeadLetter:
    """Return ``record`` as one that will not be stored."""
    payload = json.dumps(record.model_dump(mode="json", exclude_none=True))
    return DeadLetter(envelope, BadRecord(position, reason, payload))


def batch(envelopes: Iterable[Received], clocks: Mapping[tuple[str, str], int]) -> Batch:
    """Return the records of ``envelopes``; ``clocks`` holds the offsets by agent and boot."""
    result = Batch()
    for envelope in envelopes:
        result.dead.extend(DeadLetter(envelope, bad) for bad in envelope.bad)
        clock = clocks.get((envelope.agent, envelope.boot))
        for position, record in envelope.records:
            when = moment(record.at, record.up, clock)
            if when.quality is TimeQuality.CORRECTED and out_of_range(when.at, envelope.received_at):
                when = moment(
                    record.at, record.up, None
                )  # an offset that leads out of all bounds was learned wrong
            if reason := out_of_range(when.at, envelope.received_at):
                result.dead.append(dead_letter(envelope, position, record, reason))
            else:
                _put(result, envelope, position, shifted(record, when.at), when.quality)
    for records in (result.hosts, result.boards, result.relays, result.events):
        records.sort(key=lambda placed: placed.record.at)
    return result


def _put(result: Batch, envelope: Received, position: int, record: AnyRecord, quality: TimeQuality) -> None:
    match record:
        case HostRecord():
            result.hosts.append(Placed(envelope, position, record, quality))
        case BoardRecord():
            result.boards.append(Placed(envelope, position, record, quality))
        case RelayRecord():
            result.relays.append(Placed(envelope, position, record, quality))
        case EventRecord():
            result.events.append(Placed(envelope, position, record, quality))


def declare_lost(loss: LostRange, agent: str, books: dict[str, StreamBook]) -> tuple[Range, ...]:
    """Enter a loss in the ledger of its stream; return which numbers it took that were not in yet.

    Raises ValueError, in words, for a range that makes no sense or somebody else's stream.
    """
    book = books.setdefault(loss.stream, StreamBook(agent, Ledger()))
    if book.agent != agent:
        raise ValueError(f"the stream that it speaks of belongs to {book.agent}")
    return book.lose(loss.first, loss.last)


def told(row: CommandRow | None, agent: str, step: CommandStep) -> CommandRow:
    """Return the life of a command after ``step``, in whatever order the steps arrive.

    A final step stays; of two others, the later in its life holds. That nobody answered holds until somebody does.
    """
    if row is None:
        return _first_told(agent, step)
    new = _first_told(agent, step)
    newer, older = (new, row) if _stage(new) >= _stage(row) else (row, new)
    return newer.model_copy(
        update={
            "began_at": min(row.began_at, new.began_at),
            "before": newer.before or older.before,
            "asked": newer.asked or older.asked,
            "observed": newer.observed or older.observed,
            "times": older.times | newer.times,
        }
    )


def has_ended(row: CommandRow | None) -> bool:
    """Tell whether nothing follows: a command that nobody answered may still be answered."""
    return row is not None and row.state.final and row.state is not State.UNANSWERED


def _stage(row: CommandRow) -> tuple[bool, bool, float, int]:
    answered = row.state is not State.UNANSWERED
    return answered, answered and row.state.final, row.changed_at, _ORDER.get(row.state, 2)


MAY_PRECEDE = 5 * SECOND
"""By so much an answer may seem to come before its command: two clocks tell their times."""
SAME_COMMAND = 60 * SECOND
"""An agent's answer to a command without an id is one to what was seen no longer ago than this."""


def same_command(step_at: int) -> tuple[int, int]:
    """Return between which times a command without an id was seen to which an agent took a step at ``step_at``."""
    return step_at - SAME_COMMAND, step_at + MAY_PRECEDE


def unanswered_row(closed: Unanswered, pc: str) -> CommandRow:
    """Return the life of a command that nobody answered: it began when it was seen."""
    return _first_told(pc, closed.step).model_copy(update={"began_at": closed.received_at / SECOND})


def unanswered_event(closed: Unanswered) -> str:
    """Return the text of the event that tells of it."""
    return one_line(f"{closed.step.operator}: {closed.step.text}")


def board_of(target: str) -> str | None:
    """Return the board that the target of a command is, or whose line it is."""
    kind, _, rest = target.partition("/")
    return rest.partition("/")[0] or None if kind in {"board", "line"} else None


def speaks_of_board(record: EventRecord) -> str | None:
    """Return the board about whose use an event says something: its lock, or a command for it that was done."""
    if record.lock is not None:
        return board_of(record.subject)
    step = record.command
    return board_of(step.target) if step is not None and step.state is State.SUCCEEDED else None


def take_event(known: Holding, at: int, record: EventRecord) -> None:
    """Let what is known of a board follow from an event that says something about its use."""
    if record.lock is not None:
        if record.lock_ended is None:
            known.held(at, record.lock)
        else:
            known.ended(at, record.lock)
    elif record.command is not None:
        known.stepped(at, record.command)


def _first_told(agent: str, step: CommandStep) -> CommandRow:
    return CommandRow(
        id=step.id,
        pc=agent,
        action=step.action,
        target=step.target,
        operator=step.operator,
        on_behalf_of=step.on_behalf_of,
        reason=step.reason,
        state=step.state,
        code=step.code,
        text=step.text,
        before=step.before,
        asked=step.asked,
        observed=step.observed,
        began_at=step.at,
        changed_at=step.at,
        times=step.times,
    )
