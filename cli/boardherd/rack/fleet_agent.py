"""The agent's side of delivery, by the letter of the wire contract and with a spool in memory. No I/O.

Written a second time on purpose, apart from the real agent: two that agree with the collector have read the
same contract. Times called ``now`` are seconds of any steady clock.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from boardherd.rack.fleet_telemetry import SECOND, Class, SimulatedPc
from boardherd_shared.ids import new_stream
from boardherd_shared.messages import (
    Ack,
    Envelope,
    Hello,
    HostFacts,
    ProtocolError,
    Range,
    Resume,
    StreamInfo,
    decode,
    digest,
    encode,
)
from boardherd_shared.records import BoardRecord, Record, RelayRecord

RESEND_AFTER_S = 5.0
ANSWER_WITHIN_S = 10.0
"""A hello that nobody has answered for so long is said again."""

PRESENT = 3
"""So many envelopes before a resume are no backlog: what is told of one moment may be in as many."""

Lane = Literal["newest", "backlog"]
Shape = tuple[tuple[str, int], ...]
"""How many records of each kind are in an envelope."""


class FleetClock:
    """The time of a fleet: steady, and right when the fleet was made."""

    def __init__(self, steady: Callable[[], float] = time.monotonic, wall: float | None = None) -> None:
        """Begin at ``wall``, Unix seconds; the present by default."""
        self._steady = steady
        self._offset = (time.time() if wall is None else wall) - steady()

    def now(self) -> float:
        """Return seconds of the steady clock."""
        return self._steady()

    def wall(self, now: float) -> int:
        """Return microseconds since 1970 UTC at ``now``."""
        return round((now + self._offset) * SECOND)


@dataclass
class Pending:
    """An envelope that is not acknowledged."""

    payload: bytes
    made_at: float
    live: bool
    """Made while the fleet ran; the others are the backlog that it was born with."""


@dataclass
class Tally:
    """What has passed, in envelopes unless it says otherwise."""

    sent: int = 0
    resent: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    """Acknowledged once more than was needed."""
    strange: int = 0
    """Acknowledged or refused without having been sent: ignored."""
    garbled: int = 0
    """Messages from the collector that made no sense: ignored."""
    refused: dict[int, str] = field(default_factory=dict)
    """Why envelopes were refused, by number."""
    backlog: int = 0
    """How many of those it was born with are not acknowledged."""
    backlog_done_at: float | None = None
    answers_s: list[float] = field(default_factory=list)
    """From each hello to its resume."""
    fresh_s: list[float] = field(default_factory=list)
    """From each resume to the first acknowledgement of fresh data."""
    live_s: list[tuple[float, bool]] = field(default_factory=list)
    """From the making of each envelope in a session to its acknowledgement, and whether there was a backlog."""
    resumed_at: float | None = None
    """When the collector answered for the first time."""


@dataclass
class _Flight:
    lane: Lane
    sent_at: float
    again: bool = False


class SimulatedAgent:
    """One test PC, its stream and its conversation with the collector."""

    def __init__(self, pc: SimulatedPc, clock: FleetClock, *, interval_s: float, backlog_s: float) -> None:
        """Make an agent that has been cut off for ``backlog_s`` seconds."""
        self.pc = pc
        self.stream = new_stream()
        self.tally = Tally()
        self.shapes: list[Shape] = []
        """What is in each envelope, in the order of their numbers."""
        self.born_with = 0
        """How many envelopes the backlog had."""
        self.pending: dict[int, Pending] = {}
        self._clock = clock
        self._interval_s = interval_s
        self._boot = f"sim-{self.stream[:16]}"
        self._booted = clock.wall(clock.now() - backlog_s - 86_400)
        self._known: dict[Shape, Shape] = {}
        self._waiting: deque[int] = deque()
        self._flights: dict[int, _Flight] = {}
        self._sent: set[int] = set()  # and not acknowledged: only these may be
        self._session: str | None = None
        self._hello_at: float | None = None
        self._awaiting_fresh: float | None = None
        self._resumed_at = 0.0
        self.resumed = False
        self._window = 1
        self._wait = False
        self._old = 0
        self._turn: Lane = "newest"
        self._smoothed = 0.0

    # What is measured

    def measure(self, made_at: float, *, live: bool = True) -> list[BoardRecord | RelayRecord]:
        """Measure, and keep the result; return what has changed. ``made_at`` may lie in the past."""
        changed: list[BoardRecord | RelayRecord] = []
        at = self._clock.wall(made_at)
        for class_, records in self.pc.measure(at, at - self._booted):
            self.accept(class_, records, made_at, live=live)
            changed += [
                record
                for record in records
                if isinstance(record, BoardRecord | RelayRecord) and record.change
            ]
        return changed

    def states(self, now: float) -> list[BoardRecord | RelayRecord]:
        """Return the present state of all boards and ports."""
        at = self._clock.wall(now)
        return self.pc.refresh(at, at - self._booted)

    def accept(self, class_: Class, records: Sequence[Record], made_at: float, *, live: bool = True) -> None:
        """Put records under the next number; their bytes never change after that."""
        seq = self.last + 1
        envelope = Envelope(
            v=1, agent=self.pc.id, stream=self.stream, seq=seq, class_=class_, boot=self._boot,
            records=tuple(records),
        )  # fmt: skip
        self.pending[seq] = Pending(encode(envelope), made_at, live)
        shape = tuple(sorted(Counter(record.kind for record in records).items()))
        self.shapes.append(self._known.setdefault(shape, shape))
        self._waiting.append(seq)
        self.tally.backlog += not live
        self.born_with += not live

    @property
    def last(self) -> int:
        """The highest number given out."""
        return len(self.shapes)

    def acknowledged(self) -> Iterator[int]:
        """Yield the numbers that the collector says it has stored."""
        return (
            seq for seq in range(1, self.last + 1)
            if seq not in self.pending and seq not in self.tally.refused
        )  # fmt: skip

    # The conversation

    def connect(self, session: str) -> None:
        """Begin a session: nothing is on its way, and nothing may be sent before a resume."""
        self._session = session
        self.resumed = False
        self._window, self._wait = 1, False
        self._flights.clear()
        self._waiting = deque(sorted(self.pending))

    def disconnect(self) -> None:
        """End the session."""
        self._session, self.resumed = None, False

    def pause(self) -> None:
        """Stop sending: the collector has gone, or is another one."""
        self.resumed = False
        self._hello_at = None

    def hello(self, now: float) -> Hello:
        """Return the introduction for this session; an answer is then waited for."""
        assert self._session is not None
        self._hello_at = now
        self._old = self.last - PRESENT
        at = self._clock.wall(now)
        retained = tuple(_spans(self.pending))
        return Hello(
            v=1, session=self._session, boot=self._boot, wall=at, up=at - self._booted,
            versions={"boardherd": "simulated"},
            host=HostFacts(hostname=self.pc.id, os_version="ubuntu_24_04", os_text="simulated"),
            boards=tuple(board.id for board in self.pc.boards), relays=self.pc.relays,
            streams=(StreamInfo(stream=self.stream, retained=retained, last=self.last),),
            sample_interval_s=self._interval_s,
        )  # fmt: skip

    def should_repeat_hello(self, now: float) -> bool:
        """Tell whether the hello of this session has waited too long for its answer."""
        return not self.resumed and self._hello_at is not None and now > self._hello_at + ANSWER_WITHIN_S

    def on_resume(self, payload: bytes, now: float) -> None:
        """Take the collector's answer to a hello; one to another session's is ignored."""
        try:
            resume = decode(Resume, payload)
        except ProtocolError:
            self.tally.garbled += 1
            return
        if resume.session != self._session or self._hello_at is None:
            self.tally.strange += 1
            return
        if not self.resumed:
            self.tally.answers_s.append(now - self._hello_at)
            self._awaiting_fresh = self._resumed_at = now
        if self.tally.resumed_at is None:
            self.tally.resumed_at = now
        self.resumed, self._window, self._wait = True, resume.window, resume.wait
        missing = resume.missing.get(self.stream, ())
        self._settle([seq for seq in self.pending if seq in self._sent and not _within(seq, missing)], now)

    def on_ack(self, payload: bytes, now: float) -> None:
        """Take an acknowledgement; what it says of envelopes that were never sent is ignored."""
        try:
            ack = decode(Ack, payload)
        except ProtocolError:
            self.tally.garbled += 1
            return
        if ack.stream != self.stream:
            self.tally.strange += 1
            return
        self._window, self._wait = ack.window, ack.wait
        hits = [seq for seq in self._sent if _within(seq, ack.committed)]
        self._note_others(ack.committed, len(hits))
        self._measure_speed(hits, now)
        self._settle(hits, now)
        for refused in ack.refused:
            self._refuse(refused.seq, refused.digest, f"{refused.code}: {refused.text}")

    def _note_others(self, committed: Sequence[Range], hits: int) -> None:
        """Count what an acknowledgement says beyond what was waiting for it."""
        for first, last in committed:
            hits -= (known := max(0, min(last, self.last) - first + 1))
            self.tally.strange += last - first + 1 > known
        if hits < 0:
            unsent = sum(_within(seq, committed) for seq in self.pending if seq not in self._sent)
            self.tally.strange += unsent > 0
            self.tally.duplicates += max(0, -hits - unsent)

    def _refuse(self, seq: int, fingerprint: str, text: str) -> None:
        pending = self.pending.get(seq)
        if pending is None or seq not in self._sent or digest(pending.payload) != fingerprint:
            self.tally.strange += 1
            return
        self.tally.refused[seq] = text
        self._forget(seq)

    def _settle(self, hits: Sequence[int], now: float) -> None:
        tally = self.tally
        for seq in hits:
            pending = self.pending[seq]
            if (
                self._awaiting_fresh is not None
                and pending.made_at >= self._awaiting_fresh - self._interval_s
            ):
                tally.fresh_s.append(now - max(self._awaiting_fresh, pending.made_at))
                self._awaiting_fresh = None
            if pending.live and pending.made_at >= self._resumed_at:
                tally.live_s.append((now - pending.made_at, tally.backlog > 0))
            tally.acknowledged += 1
            self._forget(seq)
            if not pending.live and tally.backlog == 0:
                tally.backlog_done_at = now

    def _forget(self, seq: int) -> None:
        self.tally.backlog -= not self.pending.pop(seq).live
        self._sent.discard(seq)
        self._flights.pop(seq, None)

    def _measure_speed(self, hits: Sequence[int], now: float) -> None:
        for seq in hits:
            flight = self._flights.get(seq)
            if flight and not flight.again:  # which of several sends was answered, nobody knows
                took = now - flight.sent_at
                self._smoothed += (took - self._smoothed) / 8 if self._smoothed else took

    # Sending

    def next_payload(self, now: float) -> bytes | None:
        """Take what may be sent now: what is overdue, the newest, or the oldest; None if nothing may."""
        if not self.resumed:
            return None
        if (late := self._overdue(now)) is not None:
            self._flights[late].sent_at, self._flights[late].again = now, True
            self.tally.resent += 1
            return self.pending[late].payload
        lane = self._lane()
        seq = self._take(lane) if lane else None
        if lane is None or seq is None:
            return None
        again = seq in self._sent
        self._flights[seq] = _Flight(lane, now, again)
        self._turn = "backlog" if lane == "newest" else "newest"
        self._sent.add(seq)
        self.tally.resent += again
        self.tally.sent += not again
        return self.pending[seq].payload

    def is_overdue(self, now: float) -> bool:
        """Tell whether something on its way has to be sent again."""
        return self.resumed and self._overdue(now) is not None

    def _overdue(self, now: float) -> int | None:
        first = min(self._flights, key=lambda seq: self._flights[seq].sent_at, default=None)
        if first is None or now < self._flights[first].sent_at + max(RESEND_AFTER_S, 4 * self._smoothed):
            return None
        return first

    def _lane(self) -> Lane | None:
        newest = any(flight.lane == "newest" for flight in self._flights.values())
        if self._wait:
            return None if newest else "newest"
        if len(self._flights) >= self._window:
            return None
        if self._window == 1:
            return self._turn
        return "backlog" if newest else "newest"

    def _take(self, lane: Lane) -> int | None:
        while self._waiting:
            if self._wait and self._waiting[-1] <= self._old:
                return None
            seq = self._waiting.pop() if lane == "newest" else self._waiting.popleft()
            if seq in self.pending and seq not in self._flights:
                return seq
        return None


def _within(seq: int, ranges: Sequence[Range]) -> bool:
    return any(first <= seq <= last for first, last in ranges)


def _spans(numbers: dict[int, Pending]) -> Iterator[Range]:
    """Yield the numbers, which are in order, as ranges."""
    first = last = 0
    for number in numbers:
        if number != last + 1 or not first:
            if first:
                yield first, last
            first = number
        last = number
    if first:
        yield first, last
