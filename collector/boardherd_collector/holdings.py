"""Who has a board, who had it, and what else the people who use it tell: what follows from each word. Pure.

Words come late, doubled and in any order: the newest of a spool goes first, and the rest may follow days later. So
each says when it was true, and only one that is newer than what is known changes what holds now. The end of a lock
is reported once; where that report is missing, another word or the deadline tells when it can have been at the
latest. Times are microseconds since 1970 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from boardherd_shared.command import Action, CommandStep, State
from boardherd_shared.locks import UPDATING_SDK, Lock
from boardherd_shared.model import BoardStatus
from boardherd_shared.records import BoardRecord

_USES = frozenset(
    {Action.ON, Action.OFF, Action.TOGGLE, Action.CYCLE, Action.RESET, Action.LINE, Action.RESTORE}
)
"""What one does to a board that one uses."""


def use_status(lock: Lock | None) -> BoardStatus:
    """Return how a lock makes its board stand: the lab's own words count as busy."""
    if lock is None:
        return BoardStatus.IDLE
    return BoardStatus.UPDATING_SDK if lock.use == UPDATING_SDK else BoardStatus.BUSY


@dataclass
class Use:
    """The use of a board under one lock."""

    lock_id: str
    who: str
    purpose: str
    started_at: int
    deadline: int
    seen_at: int
    """When it was last told to hold, by the clock of its agent."""
    ended_at: int | None = None
    """When it ended, or the latest that it can have; None while nothing but the deadline says."""
    end_reported: bool = False

    @classmethod
    def of(cls, lock: Lock, seen_at: int) -> Use:
        """Return the use that begins with a lock."""
        return cls(lock.id, lock.owner, lock.use, lock.since, lock.until, seen_at)

    def end(self, at: int) -> None:
        """Let it end at ``at``: never before its beginning, nor after its deadline, nor later than was known."""
        latest = self.deadline if self.ended_at is None else min(self.ended_at, self.deadline)
        self.ended_at = max(self.started_at, min(at, latest))


@dataclass
class Holding:
    """What is known of who has a board and of what its users said. Everything that changes it is a method here."""

    told_at: int = 0
    """When the newest word about who has it was true."""
    lock: Lock | None = None
    error_since: int | None = None
    error_reason: str | None = None
    sdk_version: str | None = None
    last_sdk_update_at: int | None = None
    notes: str | None = None
    notes_at: int | None = None
    last_used_at: int | None = None
    uses: dict[str, Use] = field(default_factory=dict)
    """The open one, and those that words now speak of, by lock."""

    def told(self, at: int, record: BoardRecord) -> None:
        """Take what a verdict carries besides: the lock that held at ``at``, and the fault."""
        if at < self.told_at:
            if record.lock:
                self.held(at, record.lock)
            return
        self._fault(at, record.fault)
        if record.lock:
            self.held(at, record.lock)
        else:
            self._free(at)

    def held(self, at: int, lock: Lock) -> None:
        """Take that ``lock`` held at ``at``."""
        use = self.uses.get(lock.id)
        if use and use.end_reported:
            return
        if use is None:
            use = self.uses[lock.id] = Use.of(lock, at)
        elif at > use.seen_at:
            use.seen_at, use.deadline, use.purpose = at, lock.until, lock.use
        elif self.lock is None or self.lock.id != lock.id:
            return
        if at >= self.told_at:
            self._becomes(at, lock, use)
        elif self.lock is None or self.lock.id != lock.id:
            use.ended_at = None
            use.end(self.told_at)
        self._used(lock.since)

    def ended(self, at: int, lock: Lock) -> None:
        """Take that ``lock`` ended at ``at``; of several reports the first that comes counts."""
        use = self.uses.get(lock.id)
        if use and use.end_reported:
            return
        if use is None:
            use = self.uses[lock.id] = Use.of(lock, at)
        use.end(at)
        use.end_reported = True
        if self.lock and self.lock.id == lock.id:
            self.lock = None
        self.told_at = max(self.told_at, at)
        self._used(use.ended_at or at)

    def stepped(self, at: int, step: CommandStep) -> None:
        """Take a step of a command for this board: what was written down, and that it was used."""
        if step.state is not State.SUCCEEDED:
            return
        if step.action == Action.SET:
            self._written_down(at, step.facts)
        elif step.action in _USES:
            self._used(at)

    def note(self, at: int, notes: str | None) -> None:
        """Take a note; the last one that was written counts."""
        if at >= (self.notes_at or 0):
            self.notes, self.notes_at = notes or None, at

    def _written_down(self, at: int, facts: dict[str, str]) -> None:
        if "sdk_version" in facts and at >= (self.last_sdk_update_at or 0):
            self.sdk_version, self.last_sdk_update_at = facts["sdk_version"][:100] or None, at
        if "note" in facts:
            self.note(at, facts["note"])

    def _becomes(self, at: int, lock: Lock, use: Use) -> None:
        """Let ``lock`` be the one that holds now; whatever held before has ended."""
        use.ended_at = None
        for other in self.uses.values():
            if other is not use and other.ended_at is None:
                other.end(lock.since)
        self.lock, self.told_at = lock, at

    def _free(self, at: int) -> None:
        if self.lock is None:
            return
        use = self.uses.get(self.lock.id)
        if use and at <= use.seen_at:
            return
        if use:
            use.end(at)
        self.lock, self.told_at = None, at

    def _fault(self, at: int, fault: str | None) -> None:
        if not fault:
            self.error_since = self.error_reason = None
        else:
            self.error_since, self.error_reason = self.error_since or at, fault

    def _used(self, at: int) -> None:
        self.last_used_at = max(self.last_used_at or 0, at)
