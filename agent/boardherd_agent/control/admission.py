"""Whether a command may run: every reason to refuse one, in the order of the contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from boardherd_agent.control.locks import Locks, held
from boardherd_agent.control.power import Target
from boardherd_agent.control.refusal import Refused
from boardherd_agent.control.safety import Safety
from boardherd_agent.control.wiring import WiringBook
from boardherd_shared.clock import Clock, seconds
from boardherd_shared.command import Action, Command, Refusal

POWER = frozenset({Action.ON, Action.OFF, Action.TOGGLE, Action.CYCLE})
LINES = frozenset({Action.RESET, Action.LINE})
PORTS = frozenset({Action.RESTORE, Action.ACCEPT})
BOARDS = frozenset({Action.LOCK, Action.UNLOCK, Action.SET, Action.PROBE})
"""What can be asked of a board only, and moves nothing."""

_ALWAYS = frozenset({Action.OFF, Action.ALL_OFF})
"""Nothing but a lock keeps anybody from switching off."""

_SWITCHES_ON = frozenset({Action.ON, Action.TOGGLE, Action.CYCLE, Action.RESTORE})


@dataclass(frozen=True)
class Arrival:
    """When a command arrived; fixed then, since both the clock and what is known of the server's may change."""

    server: float
    """Unix seconds of the server's clock."""
    up: int
    """Microseconds of CLOCK_BOOTTIME."""


@dataclass
class Admission:
    """The reasons to refuse a command; every method raises Refused."""

    agent: str
    everything: str
    """Name of the target of ``all-off``."""
    targets: Mapping[str, Target]
    boards: Collection[str]
    admins: Collection[str]
    locks: Locks
    safety: Safety
    wiring: WiringBook
    clock: Clock
    server_offset: Callable[[], float]
    alive: Callable[[str], bool]
    """Tells whether a board is alive now."""
    in_use: Callable[[str], str]
    """Returns who uses a board without a lock, in words; empty for nobody."""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    """Relays that boards of other PCs use too, each with those boards in words."""
    contested: dict[str, str] = field(default_factory=dict)
    """Boards that another agent owns, each with that agent."""
    draining: bool = False

    def arrival(self, received_at: float) -> Arrival:
        """Return the moment of an arrival now, which the wall clock called ``received_at``."""
        return Arrival(received_at + self.server_offset(), self.clock.up())

    def lateness(self, command: Command, arrival: Arrival) -> float:
        """Return by how many seconds the deadline has passed by the server's clock; negative before.

        Since it was received, only the clock that never jumps counts.
        """
        waited = seconds(self.clock.up() - arrival.up)
        return arrival.server + waited - command.deadline(arrival.server)

    def check_time(self, command: Command, arrival: Arrival) -> None:
        """Refuse what comes too late."""
        if (late := self.lateness(command, arrival)) > 0:
            raise Refused(Refusal.EXPIRED, f"it expired {late:.1f} s ago and was not carried out")

    def check_holder(self, command: Command, operator: str, target: Target) -> None:
        """Refuse if somebody else has taken a board of the target since :meth:`check`."""
        if command.action is Action.TRACE:
            self._check_holds_all(command, operator, target)
            return
        taken = {target.board} if target.board else self._boards_of(target)
        for board in taken if not (command.force and command.action is Action.ALL_OFF) else ():
            self.locks.check(board, operator, command.lock)

    def _boards_of(self, target: Target) -> set[str]:
        return {board for board in self.boards if self.targets[f"board/{board}"].ports & target.ports}

    def may_restore(self, relay: str, port: int) -> bool:
        """Tell whether a port may be brought back after an outage without anybody asking for it now."""
        target = self.targets[f"relay/{relay}/{port}"]
        board = target.board
        return not (
            self.draining
            or board in self.contested
            or self.locks.unsure
            or self.locks.of(board)
            or self.in_use(board)
            or self.safety.tripped(board)
            or (self._powers(target) and self.wiring.suspect(board))
        )

    def target(self, command: Command) -> Target:
        """Return what a command acts on."""
        if command.action is Action.ALL_OFF:
            return self._everything(command)
        target = self.targets.get(self._name(command))
        if target is None:
            raise Refused(Refusal.UNKNOWN_TARGET, self._unknown(command))
        if not target.feeds and command.action not in BOARDS:
            raise Refused(
                Refusal.UNKNOWN_TARGET, f"{target.label} has no power feed in lab.toml, nothing can switch it"
            )
        return target

    def check(self, command: Command, operator: str, target: Target) -> None:
        """Refuse what this agent or this operator may not do now."""
        action, board = command.action, target.board
        if self.draining and action not in _ALWAYS:
            raise Refused(Refusal.DRAINING, f"{self.agent} is being drained and takes no more commands")
        if board and (owner := self.contested.get(board)):
            raise Refused(Refusal.CONTESTED, f"{board} belongs to {owner}, which declared it first")
        _check_reason(command)
        if action is Action.TRACE:
            self._check_trace(command, operator, target)
        if board and action not in {Action.LOCK, Action.UNLOCK, Action.PROBE}:
            self.locks.check(board, operator, command.lock)
        if board and action in (POWER | LINES | PORTS) - _ALWAYS:
            self._check_use(board, command)
        if board and action in POWER | LINES | PORTS:
            self._check_maintenance(target)
        if action in _SWITCHES_ON and board:
            self._check_interlocks(command, target)
            if self._powers(target) and not command.force:
                self.wiring.check(board)

    def _powers(self, target: Target) -> bool:
        """Tell whether a target is power of its board, and not a line."""
        return bool(target.ports & self.wiring.powered_by(target.board))

    def _check_trace(self, command: Command, operator: str, target: Target) -> None:
        """Only who has every board on a relay to himself may switch all of them to see what is what."""
        for board in self._boards_on(target):
            if owner := self.contested.get(board):
                raise Refused(Refusal.CONTESTED, f"{board} belongs to {owner}, which declared it first")
        self._check_holds_all(command, operator, target)
        if not command.force and (others := self.neighbours.get(target.label)):
            text = f"{target.label} also serves {others}, which cannot be seen from here"
            raise Refused(Refusal.IN_USE, f"{text}; send it with force and a reason")
        self._check_maintenance(target)
        for feed in target.feeds:
            self.safety.check_rate(self.targets[f"relay/{feed.relay}/{feed.port}"].board, [feed.id])

    def _check_holds_all(self, command: Command, operator: str, target: Target) -> None:
        """Refuse if somebody does not hold the lock on every board that has a port on a relay."""
        boards = self._boards_on(target)
        held_locks = {board: lock for board in boards if (lock := self.locks.of(board))}
        if command.lock and command.lock not in {lock.id for lock in held_locks.values()}:
            raise Refused(Refusal.NOT_LOCKED, "the lock named by this command has ended")
        for board in boards:
            lock = held_locks.get(board)
            self.locks.check(board, operator, command.lock if lock and lock.id == command.lock else None)
        if free := [board for board in boards if board not in held_locks]:
            text = f"trace switches every board on {target.label}: lock {', '.join(free)} first"
            raise Refused(Refusal.NOT_LOCKED, text)

    def _boards_on(self, target: Target) -> list[str]:
        """Return the boards that have any port on the relay that is to be traced."""
        ports = [it for name, it in self.targets.items() if name.startswith(f"{target.name}/")]
        return sorted({port.board for port in ports})

    def _check_use(self, board: str, command: Command) -> None:
        """A board that somebody uses without a lock is not switched under his hands."""
        if self.locks.of(board) or command.force:
            return
        if who := self.in_use(board):
            raise Refused(Refusal.IN_USE, f"{board} is in use: {who}; send it with force and a reason")

    def _check_maintenance(self, target: Target) -> None:
        """Somebody works on the relay itself: nobody switches anything there, off included."""
        for feed in target.feeds:
            if feed.worker.maintenance:
                raise Refused(
                    Refusal.MAINTENANCE, f"{feed.relay} is in maintenance: {feed.worker.maintenance}"
                )

    def _check_interlocks(self, command: Command, target: Target) -> None:
        self.safety.check_rate(target.board, target.ports)
        if not command.force and not self.alive(target.board):
            self.safety.check_breaker(target.board)

    def _everything(self, command: Command) -> Target:
        if command.board or command.relay:
            raise Refused(Refusal.INVALID, "all-off names no target; it is everything that the agent powers")
        return self.targets[self.everything]

    def _name(self, command: Command) -> str:
        """Return the name of the target; raises Refused for a target that does not fit the action."""
        action, board = command.action, command.board
        if board is None and command.relay is None:
            raise Refused(Refusal.INVALID, "it names no board and no relay port")
        if action in LINES:
            line = "reset" if action is Action.RESET else command.line
            if board is None or line is None:
                raise Refused(Refusal.INVALID, f"{action} needs a board and the name of its line")
            return f"line/{board}/{line}"
        if board is not None:
            return f"board/{board}"
        if action is Action.TRACE:
            return f"relay/{command.relay}"
        if action in BOARDS:
            raise Refused(Refusal.INVALID, f"{action} needs a board, not a relay port")
        return f"relay/{command.relay}/{command.port}"

    def _unknown(self, command: Command) -> str:
        if command.board in self.boards:
            line = command.line or "reset"
            return f"{command.board} has no line {line}; add lines.{line} to it in lab.toml"
        if command.action is Action.TRACE:
            return f"{self.agent} powers no board from a relay {command.relay}"
        name = f"board {command.board}" if command.board else f"relay {command.relay}/{command.port}"
        return f"{self.agent} controls no {name}"

    def unlocked(self, target: Target, operator: str, lock_id: str | None) -> tuple[Target, str]:
        """Return a target without the boards that ``operator`` may not touch, and who holds those, in words."""
        kept: dict[str, str] = {}
        for board in self.boards:
            try:
                self.locks.check(board, operator, lock_id)
            except Refused as refused:
                lock = self.locks.of(board)
                kept[board] = held(board, lock) if lock else refused.text
        spared = {feed.id for board in kept for feed in self.targets[f"board/{board}"].feeds}
        feeds = [feed for feed in target.feeds if feed.id not in spared]
        return replace(target, feeds=feeds), "".join(f"; left alone: {words}" for words in kept.values())


def _check_reason(command: Command) -> None:
    if command.reason:
        return
    if command.force:
        raise Refused(Refusal.INVALID, "force needs a reason")
    if command.action is Action.ALL_OFF:
        raise Refused(Refusal.INVALID, "all-off needs a reason")
