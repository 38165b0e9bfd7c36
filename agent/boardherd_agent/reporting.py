"""What happens on this PC, told in the three ways there are: records, retained states, events.

Changes are told at once. Every minute the current state of everything is told again, so that whoever reads
only the newest data knows it too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from boardherd_agent.watch.booting.boot_history import stages_of
from boardherd_shared.clock import Clock
from boardherd_shared.command import CommandStep
from boardherd_shared.locks import Lock
from boardherd_shared.messages import BoardState, PortState, encode
from boardherd_shared.records import (
    BoardRecord,
    BootTimes,
    EventRecord,
    Power,
    Record,
    RelayRecord,
    Verdict,
    Wiring,
)
from boardherd_shared.topics import Kind, Topics
from boardherd_shared.values import one_line

REFRESH_S = 60.0
_SAME_US = 1_000_000
"""Two wall clock times closer than this are the same: a clock that is merely trimmed changes nothing."""

Put = Callable[[Record], None]
Retain = Callable[[str, bytes | None], None]


class Beginnings:
    """When states began, kept by the clock that never jumps: the wall clock may be set while they last."""

    def __init__(self, clock: Clock) -> None:
        """Begin now; nothing that is told of can have begun earlier."""
        self._start = clock.up()
        self._known: dict[str, tuple[int, int]] = {}

    def board(self, record: BoardRecord) -> BoardRecord:
        """Return ``record`` with ``since`` by the wall clock of its own moment."""
        since = self._since(record.board, record.since, record.at, record.up)
        return record.model_copy(update={"since": since})

    def port(self, record: RelayRecord) -> RelayRecord:
        """Return ``record`` with its beginnings by the wall clock of its own moment."""
        name = f"{record.relay}:{record.port}"
        since = self._since(name, record.since, record.at, record.up)
        drift = record.drift_since
        if drift is not None:
            drift = self._since(f"drift of {name}", drift, record.at, record.up)
        return record.model_copy(update={"since": since, "drift_since": drift})

    def _since(self, name: str, stamp: int, at: int, up: int) -> int:
        known, began = self._known.get(name, (None, 0))
        if known != stamp:
            began = min(max(up - at + stamp, self._start), up)
            self._known[name] = stamp, began
        since = max(0, at - up + began)
        return stamp if abs(since - stamp) < _SAME_US else since


class Reporter:
    """Turns what the wings notice into what the collector and the operators hear."""

    def __init__(self, agent: str, topics: Topics, clock: Clock, *, put: Put, retain: Retain) -> None:
        """Make a reporter.

        Args:
            agent: this agent's id.
            topics: the site's topics.
            clock: this machine's clocks.
            put: takes a record for the spool.
            retain: sets a retained topic.
        """
        self._agent = agent
        self._topics = topics
        self._clock = clock
        self._put = put
        self._retain = retain
        self.lock_of: Callable[[str], Lock | None] = lambda _: None
        """Returns the lock on a board; set by whoever keeps the locks."""
        self.fault_of: Callable[[str], str] = lambda _: ""
        """Returns why a board is taken out of use, empty when it is not; set by whoever knows."""
        self.wiring_of: Callable[[str], Wiring | None] = lambda _: None
        """Returns what is known of the wiring of a board, None where no relay powers it; set by whoever knows."""
        self.words_of: Callable[[str], tuple[str, ...]] = lambda _: ()
        """Returns the last lines on a board's console, oldest first; set by whoever listens."""
        self._began = Beginnings(clock)
        self._observed: dict[tuple[str, int], Power] = {}
        self._verdicts: dict[str, Verdict] = {}

    def port(self, record: RelayRecord) -> None:
        """Tell of a relay port that changed."""
        record = self._complete_port(record)
        self._put(record)
        self._retain_port(record)
        before = self._observed.get((record.relay, record.port))
        self._observed[record.relay, record.port] = record.observed
        if before is not None and before is not record.observed:
            why = f" ({record.reason})" if record.reason else ""
            text = (
                f"{record.relay}:{record.port} went from {before.upper()} to {record.observed.upper()}{why}"
            )
            self.event("transition", f"relay/{record.relay}/{record.port}", text)

    def board(self, record: BoardRecord) -> None:
        """Tell of a verdict, its reason, its evidence or its lock that changed."""
        record = self._complete(record)
        self._put(record)
        self._retain_board(record)
        before = self._verdicts.get(record.board)
        self._verdicts[record.board] = record.verdict
        if before is not None and before is not record.verdict:
            why = f": {record.reason}" if record.reason else ""
            text = f"{record.board} is {_words(record.verdict)} (was {_words(before)}){why}"
            fell = record.verdict in {Verdict.SILENT, Verdict.DEGRADED}
            words = self.words_of(record.board) if fell else ()
            self.event("transition", f"board/{record.board}", text, words=words or None)

    def boot(self, board: str, times: BootTimes, how: str = "booted") -> None:
        """Tell ``how`` a board booted, and how long it took from power-on to each sign of life."""
        signs = ", ".join(f"{name} {value:.1f} s" for name, value in stages_of(times).items())
        slow = f"; slower than usual: {times.slow}" if times.slow else ""
        text = f"{board} {how}: {signs or 'nothing was seen of it'}{slow}"
        self.event("boot", f"board/{board}", text, boot=times)

    def command(self, step: CommandStep) -> None:
        """Keep a step of a command's life for the audit trail."""
        self.event("command", step.target or "agent", one_line(f"{step.operator}: {step.text}"), command=step)

    def lock(self, board: str, lock: Lock, ended: str) -> None:
        """Tell that a board was locked, that its lock was extended, or why it has ended."""
        subject = f"board/{board}"
        if ended:
            text = f"the lock of {lock.owner} on {board} has ended: {ended}"
            self.event("lock", subject, text, lock=lock, lock_ended=one_line(ended))
        else:
            self.event("lock", subject, f"{board} is locked by {lock.owner} ({lock.use})", lock=lock)

    def lifecycle(self, text: str) -> None:
        """Tell that the agent itself starts or stops."""
        self.event("lifecycle", "agent", text)

    def event(self, event: str, subject: str, text: str, **more: object) -> None:
        """Put an event on record."""
        values = {
            "at": self._clock.wall(),
            "up": self._clock.up(),
            "event": event,
            "subject": subject,
            "text": one_line(text),
        }
        self._put(EventRecord.model_validate(values | more))

    async def refresh(
        self, ports: Callable[[], Iterable[RelayRecord]], boards: Callable[[], Iterable[BoardRecord]]
    ) -> None:
        """Tell the current state of everything every minute, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            self.refresh_now(ports(), boards())

    def refresh_now(self, ports: Iterable[RelayRecord], boards: Iterable[BoardRecord]) -> None:
        """Tell the current state of everything once more."""
        for port in map(self._complete_port, ports):
            self._put(port)
            self._retain_port(port)
        for board in map(self._complete, boards):
            self._put(board)
            self._retain_board(board)

    def _complete_port(self, record: RelayRecord) -> RelayRecord:
        """Return a port's record with the right beginnings, and when its wiring was proved."""
        wiring = self.wiring_of(record.board) if record.board and not record.line else None
        proved = wiring.at if wiring and wiring.state == "proved" else None
        return self._began.port(record).model_copy(update={"proved_at": proved})

    def _complete(self, record: BoardRecord) -> BoardRecord:
        """Return a board's record with the right beginning, who holds it, why it is out of use, how it is wired."""
        fault = one_line(self.fault_of(record.board)) or None
        more = {"lock": self.lock_of(record.board), "fault": fault, "wiring": self.wiring_of(record.board)}
        return self._began.board(record).model_copy(update=more)

    def _retain_port(self, record: RelayRecord) -> None:
        topic = self._topics.build(Kind.RELAY_STATE, agent=self._agent, relay=record.relay, port=record.port)
        self._retain(topic, encode(PortState(record=record, text=describe_port(record))))

    def _retain_board(self, record: BoardRecord) -> None:
        topic = self._topics.build(Kind.BOARD_STATE, agent=self._agent, board=record.board)
        self._retain(topic, encode(BoardState(record=record, text=describe_board(record))))


def describe_port(record: RelayRecord) -> str:
    """Return the state of a port for a person: "ON since 09:14:03, asked ON by ci-nightly"."""
    parts = [f"{record.observed.upper()} since {_clock_time(record.since)}"]
    if record.asked is not Power.UNKNOWN:
        by = f" by {record.switched_by}" if record.switched_by else ""
        parts.append(f"asked {record.asked.upper()}{by}")
    elif record.drift_since is not None:
        parts.append(f"should be {record.expected.upper()}")
    parts += [f"{record.watts:.1f} W"] if record.watts is not None else []
    text = ", ".join(parts)
    if record.line:
        text = f"line {record.line}: {text}"
    return one_line(f"{text}; {record.reason}") if record.reason else text


def describe_board(record: BoardRecord) -> str:
    """Return the verdict on a board for a person: "silent since 09:14:03: ssh no answer"."""
    text = f"{_words(record.verdict)} since {_clock_time(record.since)}"
    return one_line(f"{text}: {record.reason}") if record.reason else text


def _words(verdict: Verdict) -> str:
    return verdict.replace("_", " ")


def _clock_time(micros: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(micros / 1e6))
