"""Whether a board hangs on the relay ports that the inventory names, judged by what a cut of their power did.

Pure. A board that was answering and falls silent when its own ports are cut hangs on them; so does one whose
console begins a boot when they come on again. A board that goes on answering does not, or a contact is welded;
if another one falls silent instead, these two are mixed up. What was off, switched or booting anyway proves
nothing, and the order in which things were seen changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from boardherd_agent.watch.texts import listed
from boardherd_shared.clock import seconds

TOO_SOON_US = 500_000
"""No board answers this soon after its power came on: whoever does was never without."""

TOGETHER_US = 5_000_000
"""A board whose console begins a boot this soon after power came on somewhere got it from there."""

READ_BACK_US = 1_000_000
"""A relay's read-back may tell so much later that a port is on; the board behind it has begun by then."""

_SURE = 2
"""Looks in a row that must go unanswered before a board counts as silent."""


@dataclass(frozen=True, order=True)
class Round:
    """One look at a board with every probe that it answered before. Times are microseconds since the PC's boot."""

    began: int
    ended: int
    answered: bool | None
    """Whether any probe was answered; None when none of them could look."""


@dataclass(frozen=True)
class Account:
    """What was seen of one board around a cut."""

    board: str
    alive: bool = False
    """It answered just before the cut."""
    rounds: frozenset[Round] = frozenset()
    boots: frozenset[int] = frozenset()
    """When its console showed the beginning of a boot."""
    excused: bool = False
    """Its own power was off or switched, or it was booting: its silence says nothing."""


@dataclass(frozen=True)
class Cut:
    """Power that was cut, or given back, or both."""

    pc: str
    board: str
    """The board that the inventory names for these ports."""
    ports: str
    """The ports in words: "eth-1:3", or "eth-1:3 and apc-r1:12" of a board that has two feeds."""
    off: int | None = None
    """When they were measured off; None if they were off before."""
    on: int | None = None
    """When they were measured on again; None while they are off."""


@dataclass(frozen=True)
class Rules:
    """How patient the judgement is."""

    hold_up_s: float = 5.0
    """How long a board may live on what its supply holds."""
    boot_time_s: float = 90.0
    """How long after power-on the beginning of a boot belongs to it."""


@dataclass(frozen=True)
class Finding:
    """What a cut has shown of the wiring of the board that it named."""

    kind: Literal["proved", "mixed_up", "not_cut", "nothing"]
    """``proved``: the board hangs on its ports. ``mixed_up``: it went on, and another board fell silent.
    ``not_cut``: it went on, and nobody else fell silent. ``nothing`` was learned."""
    text: str
    others: tuple[str, ...] = ()
    """``mixed_up``: who fell silent."""


def judge(cut: Cut, named: Account, others: Iterable[Account], rules: Rules) -> Finding:
    """Return what ``cut`` has shown, given what was seen of its board and of the ``others`` of the PC."""
    silent, kept, booted = _silent_after(cut, named), _kept_for(cut, named, rules), _booted(cut, named, rules)
    if silent is not None:
        return Finding("proved", f"{named.board} fell silent within {silent:.1f} s of the cut of {cut.ports}")
    if kept is None and booted is not None:
        return Finding("proved", f"{named.board} began to boot {booted:.1f} s after {cut.ports} came on")
    if kept is None:
        return Finding("nothing", _why_nothing(cut, named, rules))
    still = f"{named.board} still answered {kept:.1f} s after {cut.ports} went off"
    if booted is not None:
        return Finding("nothing", f"{still}, yet its console began a boot: check board_ip and serial_port")
    if fallen := sorted({other.board for other in others if _fell(cut, other)} - {named.board}):
        return Finding("mixed_up", f"{still}, and {listed(fallen)} fell silent instead", tuple(fallen))
    return Finding("not_cut", f"{still}, and no other board of {cut.pc} fell silent")


def _dwell(cut: Cut, account: Account) -> list[Round]:
    """Return the looks while the ports were off, or so soon after that power come back could not matter."""
    if cut.off is None:
        return []
    end = float("inf") if cut.on is None else cut.on + TOO_SOON_US
    return sorted(it for it in account.rounds if it.answered is not None and cut.off <= it.began <= end)


def _silent_after(cut: Cut, account: Account) -> float | None:
    """Return after how many seconds a board that was alive had fallen silent; None if it had not."""
    rounds = _dwell(cut, account)
    last = rounds[-_SURE:]
    if not account.alive or len(last) < _SURE or any(it.answered for it in last):
        return None
    return seconds(last[0].began - (cut.off or 0))


def _kept_for(cut: Cut, account: Account, rules: Rules) -> float | None:
    """Return how many seconds after the cut a board still answered, longer than its supply can hold."""
    end = float("inf") if cut.on is None else cut.on + TOO_SOON_US
    kept = [
        seconds(it.began - (cut.off or 0)) for it in _dwell(cut, account) if it.answered and it.ended <= end
    ]
    return max((after for after in kept if after >= rules.hold_up_s), default=None)


def _booted(cut: Cut, account: Account, rules: Rules) -> float | None:
    """Return how many seconds after power-on a board's console began a boot."""
    if cut.on is None:
        return None
    after = [seconds(at - cut.on) for at in account.boots if at >= cut.on - READ_BACK_US]
    return max(0.0, min(after)) if after and min(after) <= rules.boot_time_s else None


def _fell(cut: Cut, other: Account) -> bool:
    """Tell whether another board lost its power with this cut."""
    if other.excused:
        return False
    came_on = cut.on is not None and any(-READ_BACK_US <= at - cut.on <= TOGETHER_US for at in other.boots)
    return came_on or _silent_after(cut, other) is not None


def _why_nothing(cut: Cut, named: Account, rules: Rules) -> str:
    if cut.off is None or not named.alive:
        return f"{named.board} was not answering before, and its console has shown no boot"
    rounds = _dwell(cut, named)
    if rounds and rounds[-1].answered:
        off = seconds((cut.on or rounds[-1].ended) - cut.off)
        return (
            f"{named.board} still answered, but was off for {off:.1f} s only:"
            f" supplies may hold up for {rules.hold_up_s:g} s"
        )
    return f"too few looks at {named.board} could be taken while it was off"
