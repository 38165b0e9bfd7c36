"""Who may send its backlog now. Pure; times are seconds of any steady clock.

A broker queues only so much for one client, and drops what comes beyond that. So all agents together get a
credit of envelopes that may be on their way. For a few agents it is enough for all at once. Of many, some get a
share that is worth having, and the others wait: they send only what is new, one envelope at a time, which is
bounded by what they measure. Turns are short and go round, so that every backlog shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CREDIT = 400
"""Envelopes of backlogs that may be on their way: with what is new, less than a broker queues for one client."""
MAX_WINDOW = 32
MIN_WINDOW = 8
"""A smaller share is not worth a turn: each acknowledgement would carry a single envelope."""
SPARE = 200
"""What agents without a backlog may use together, as far as one for each leaves a choice."""
TURN_ENVELOPES = 128
"""A turn ends after so many envelopes of the backlog, if others wait."""
TURN_S = 10.0
"""A turn ends after so long, if others wait: a slow agent must not hold up a quick one."""
IDLE_S = 5.0
"""An agent that does not use its turn for so long has no backlog, or has gone."""


@dataclass(frozen=True)
class Grant:
    """What an agent may send."""

    window: int
    """Envelopes that may be on their way at once."""
    wait: bool = False
    """Whether its backlog has to wait for its turn."""


@dataclass
class _Debt:
    """What the ledger lacks of an agent's numbers."""

    stream: str
    tops: dict[str, int]
    """The highest number known, by stream."""
    owed: int
    """How many numbers below these are not in; no more than a guess once something was declared lost."""


@dataclass
class _Turn:
    began: float
    used: float
    """When something of the backlog came last, or was stored."""
    inside: int = 0
    """Envelopes that have come and wait for their commit."""
    envelopes: int = 0
    """How many of the backlog were stored in this turn."""


@dataclass
class Turns:
    """Hands the credit round."""

    credit: int = CREDIT
    _debts: dict[str, _Debt] = field(default_factory=dict)
    _turns: dict[str, _Turn] = field(default_factory=dict)
    _queue: dict[str, None] = field(default_factory=dict)

    def greeted(self, agent: str, tops: Mapping[str, int], owed: int) -> None:
        """Take what a hello and the ledger tell: the highest number of each stream, and how many are lacking.

        The stream that is named first is the present one.
        """
        if tops:
            self._debts[agent] = _Debt(next(iter(tops)), dict(tops), owed)
            self._line_up(agent)

    def arrived(self, agent: str, stream: str, seq: int, now: float) -> None:
        """Note that an envelope has come, which :meth:`settled` is said of later."""
        if turn := self._turns.get(agent):
            turn.inside += 1
            if seq < self._debts[agent].tops.get(stream, 0):
                turn.used = now

    def settled(self, agent: str, stream: str, seq: int, now: float, *, new: bool) -> None:
        """Note that an envelope was stored or refused; ``new`` when its number was not in the ledger before.

        What is left out below it was made and not sent yet.
        """
        debt = self._debts.get(agent)
        if debt is None:
            return
        of_backlog = new and seq < debt.tops.get(stream, 0)
        if of_backlog:
            debt.owed = max(0, debt.owed - 1)
        elif new:
            debt.owed += seq - debt.tops.get(stream, 0) - 1
            debt.tops[stream], debt.stream = seq, stream
        if turn := self._turns.get(agent):
            turn.inside = max(0, turn.inside - 1)
            turn.envelopes += of_backlog
            turn.used = now if of_backlog else turn.used
        self._line_up(agent)

    def _line_up(self, agent: str) -> None:
        if self._debts[agent].owed == 0:
            self._queue.pop(agent, None)
        elif agent not in self._turns:
            self._queue.setdefault(agent)

    def go_round(self, now: float) -> list[str]:
        """End turns and begin others; return who has got one."""
        for agent, turn in list(self._turns.items()):
            debt = self._debts[agent]
            if turn.inside == 0 and now - turn.used > IDLE_S:
                debt.owed = 0
            if debt.owed == 0 or (self._queue and _over(turn, now)):
                del self._turns[agent]
                self._line_up(agent)
        begun = list(self._queue)[: max(0, self.credit // MIN_WINDOW - len(self._turns))]
        for agent in begun:
            del self._queue[agent]
            self._turns[agent] = _Turn(now, now)
        return begun

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._queue)

    def grant(self, agent: str, online: int) -> Grant:
        """Return what ``agent`` may send while ``online`` agents are connected."""
        if agent in self._turns:
            return Grant(max(1, min(MAX_WINDOW, self.credit // len(self._turns))))
        if agent in self._queue:
            return Grant(1, wait=True)
        return Grant(max(1, min(MAX_WINDOW, SPARE // online)))

    def __contains__(self, agent: str) -> bool:
        """Tell whether ``agent`` has said hello, and named a stream."""
        return agent in self._debts

    def stream(self, agent: str) -> str:
        """Return a stream of ``agent``, which has said hello."""
        return self._debts[agent].stream


def _over(turn: _Turn, now: float) -> bool:
    return turn.envelopes >= TURN_ENVELOPES or now - turn.began > TURN_S
