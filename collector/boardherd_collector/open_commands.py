"""Commands that were seen, and that no agent has answered yet. Pure; times are Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from boardherd_shared.command import Action, Command, CommandStep, parse_command
from boardherd_shared.ids import new_command_id
from boardherd_shared.topics import Address
from boardherd_shared.values import one_line

GRACE_S = 5.0
"""So much later than a command may be acted on, its answer may come."""
LONGEST_S = 3600.0
"""No answer is waited for longer, however long a command is good for: an agent that is there answers at once."""
MAX_OPEN = 2000
"""More commands are not watched at a time."""
_ANSWERED_KEPT = 2000
_UNREADABLE = "unreadable"
"""What agents, too, call the action of a command that cannot be read."""


class Seen(BaseModel):
    """A command as it was seen, as far as it could be read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    named: bool
    """Whether the id is its own; else it was made here."""
    operator: str
    action: str
    target: str
    agent: str = ""
    """The agent it was sent to; empty for one that was sent to a board."""
    on_behalf_of: str | None = None
    reason: str | None = None
    received_at: float
    due: float
    """When its answer is overdue."""

    @property
    def board(self) -> str:
        """The board that it is for; empty for another target."""
        kind, _, rest = self.target.partition("/")
        return rest.partition("/")[0] if kind in {"board", "line"} else ""


def read(address: Address, payload: bytes, received_at: float) -> Seen:
    """Return what is to be known of a command that came by a topic of an agent or of a board."""
    try:
        command: Command | None = parse_command(payload)
    except (ValueError, RecursionError):  # pydantic's and our own complaints are ValueErrors
        command = None
    due = received_at
    if command is not None:
        due = min(max(received_at, command.deadline(received_at)), received_at + LONGEST_S)
    return Seen(
        id=(command.id if command else None) or new_command_id(),
        named=command is not None and command.id is not None,
        operator=address.operator,
        action=str(command.action) if command else _UNREADABLE,
        target=_target(command, address),
        agent=address.agent,
        on_behalf_of=command.on_behalf_of if command else None,
        reason=command.reason if command else None,
        received_at=received_at,
        due=due + GRACE_S,
    )


def _target(command: Command | None, address: Address) -> str:
    """Return the target as agents name it in their steps."""
    if command is None:
        return f"board/{address.board}" if address.board else ""
    if command.action in {Action.ALL_OFF, Action.REPORT, Action.DRAIN} and address.agent:
        return f"agent/{address.agent}"
    if command.relay:
        return f"relay/{command.relay}" if command.port is None else f"relay/{command.relay}/{command.port}"
    board = command.board or address.board
    line = "reset" if command.action is Action.RESET else command.line
    if board and line and command.action in {Action.RESET, Action.LINE}:
        return one_line(f"line/{board}/{line}")
    return f"board/{board}" if board else ""


class OpenCommands:
    """What waits for an answer, by id; and what of that has still to be kept or forgotten by the database."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._open: dict[str, Seen] = {}
        self._answered: dict[str, None] = {}
        self._unkept: dict[str, Seen] = {}
        self._gone: dict[str, None] = {}
        self.overlooked = 0
        """How many were too many to be watched."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._open)

    def restore(self, seen: Iterable[Seen]) -> None:
        """Take up what waited before a restart."""
        for each in seen:
            self._open.setdefault(each.id, each)

    def add(self, seen: Seen) -> None:
        """Wait for an answer; one that is waited for already, or came before its command, is not waited for anew."""
        if seen.id in self._open or self._answered.pop(seen.id, "") is None:
            return
        if len(self._open) >= MAX_OPEN:
            self.overlooked += 1
            return
        self._open[seen.id] = self._unkept[seen.id] = seen

    def step(self, step: CommandStep) -> None:
        """Take what an agent says of a command: whatever it is, the command is answered."""
        found = self._open.get(step.id) or next(
            (seen for seen in self._open.values() if _is_answer(step, seen)), None
        )
        if found is None:
            self._answered[step.id] = None
            while len(self._answered) > _ANSWERED_KEPT:
                del self._answered[next(iter(self._answered))]
        else:
            self.close(found.id)

    def close(self, id_: str) -> None:
        """Wait for a command no longer."""
        if self._open.pop(id_, None) is not None and self._unkept.pop(id_, None) is None:
            self._gone[id_] = None

    def overdue(self, now: float) -> list[Seen]:
        """Return what should have been answered by ``now``."""
        return [seen for seen in self._open.values() if now > seen.due]

    def news(self) -> tuple[list[Seen], list[str]]:
        """Return what the database has still to keep, and what it has to forget."""
        return list(self._unkept.values()), list(self._gone)

    def kept(self, seen: Iterable[Seen], gone: Iterable[str]) -> None:
        """Note that the database has done so."""
        for each in seen:
            if self._unkept.pop(each.id, None) is None and each.id not in self._open:
                self._gone[each.id] = None  # answered while it was being written
        for id_ in gone:
            self._gone.pop(id_, None)


def _is_answer(step: CommandStep, seen: Seen) -> bool:
    """Tell whether a step, whose id nobody knows, is of a command that had none."""
    if seen.named or (step.operator, step.action) != (seen.operator, seen.action):
        return False
    if seen.agent and step.agent != seen.agent:
        return False
    kind, _, rest = step.target.partition("/")
    same_board = kind in {"board", "line"} and rest.partition("/")[0] == seen.board
    return step.target == seen.target or (bool(seen.board) and same_board)
