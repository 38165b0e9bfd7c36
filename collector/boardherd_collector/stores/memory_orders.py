"""What the store in memory keeps of commands that the collector answers, and of who has which board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from boardherd_collector.holdings import Holding
from boardherd_collector.marks import Done, Order
from boardherd_collector.stores.answers import CommandRow, EventRow
from boardherd_collector.stores.base import Closed, Unanswered
from boardherd_collector.stores.intake import (
    MAY_PRECEDE,
    SAME_COMMAND,
    same_command,
    told,
    unanswered_event,
    unanswered_row,
)
from boardherd_collector.stores.memory_reader import MemoryReader
from boardherd_collector.times import SECOND
from boardherd_shared.command import CommandStep, State


class MemoryOrders(MemoryReader):
    """Commands that the collector answers."""

    async def administer(self, order: Order) -> Done | None:
        """Keep a command to the collector, and what it changes."""
        if (known := self._done.get(order.id)) is not None:
            return known
        self._done[order.id] = Done(order.fingerprint, order.step)
        self._commands["collector", order.id] = told(None, "collector", order.step)
        self._tell("collector", order.at, order.step, f"{order.step.operator}: {order.step.text}")
        if order.thing is not None and order.marks is not None:
            self._marks[order.thing] = order.marks
            kind, id_ = order.thing
            if kind == "board":
                held = self._holdings.setdefault(id_, Holding())
                if held.notes != order.marks.notes:
                    held.note(order.at, order.marks.notes)
        return None

    def _tell(self, pc: str, at: int, step: CommandStep, text: str) -> None:
        subject = step.target or "collector"
        row = EventRow(at=at / SECOND, pc=pc, event="command", subject=subject, text=text, command=step.id)
        self._series.events.append(row)

    async def note_open(self, seen: Sequence[tuple[str, int, str]], gone: Sequence[str]) -> None:
        """Keep commands that wait for an answer, and forget others."""
        self._open.update({id_: (at, text) for id_, at, text in seen})
        for id_ in gone:
            self._open.pop(id_, None)

    async def open_commands(self) -> list[str]:
        """Return the commands that wait for an answer, oldest first."""
        return [text for _, text in sorted(self._open.values())]

    async def close_unanswered(self, closed: Sequence[Unanswered]) -> Closed:
        """Write down that commands were not answered, unless it is known that they were."""
        finished: Counter[tuple[str, str]] = Counter()
        return Closed(tuple([self._close(each, finished) for each in closed]), finished)

    def _close(self, closed: Unanswered, finished: Counter[tuple[str, str]]) -> bool:
        step = closed.step
        self._open.pop(step.id, None)
        if any(self._answers(row, closed) for row in self._commands.values()):
            return False
        pc = (
            step.agent
            if step.agent in self._declared["pc"] or step.agent in self._strangers["pc"]
            else "collector"
        )
        if (pc, step.id) not in self._commands:
            self._commands[pc, step.id] = unanswered_row(closed, pc)
            self._unnamed |= set() if closed.named else {(pc, step.id)}
            self._tell(pc, round(step.at * SECOND), step, unanswered_event(closed))
            finished[pc, step.state.value] += 1
        return True

    def _answers(self, row: CommandRow, closed: Unanswered) -> bool:
        if row.state is State.UNANSWERED:
            return False
        if closed.named:
            return row.id == closed.step.id
        first, last = closed.received_at - MAY_PRECEDE, closed.received_at + SAME_COMMAND
        return _request(row) == _request(closed.step) and first <= row.began_at * SECOND <= last

    def _withdraw_unanswered(self, pc: str, step: CommandStep) -> None:
        """Take back that nobody answered a command, now that an agent has: under another PC or another id."""
        first, last = same_command(round(step.at * SECOND))
        for key, row in list(self._commands.items()):
            same = row.id == step.id and row.pc != pc
            if key in self._unnamed and first <= row.began_at * SECOND <= last:
                same = same or _request(row) == _request(step)
            if same and row.state is State.UNANSWERED:
                del self._commands[key]


def _request(of: CommandRow | CommandStep) -> tuple[str, str, str]:
    return of.operator, of.action, of.target
