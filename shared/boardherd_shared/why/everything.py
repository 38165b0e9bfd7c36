"""Everything that is not alive in one list: what has a common cause is told once, the worst first. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.model import BoardStatus, PcStatus
from boardherd_shared.records import Blame, Power, Verdict
from boardherd_shared.values import one_line
from boardherd_shared.views import BoardView, FleetView
from boardherd_shared.why.answer import explain
from boardherd_shared.why.case import Case
from boardherd_shared.why.parents import explain_pc, explain_relay

_SEVERITY = {
    Verdict.SILENT: 1,
    Verdict.DEGRADED: 2,
    Verdict.UNKNOWN: 3,
    Verdict.BOOTING: 4,
    Verdict.POWERED_OFF: 5,
}
_COMMON, _RESTING = 0, 9
_TOGETHER = 2
"""So many boards with the same network to blame are told as one."""
_NAMED = 5


class Cause(BaseModel):
    """One thing that keeps boards from being alive."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True)

    subject: str = Field(description="what to look at: a board, a test PC, a relay")
    state: str = Field(description="how it is: a verdict, or the status of a PC or a relay")
    since: float | None = Field(None, description="when that began, Unix seconds; null when nobody knows")
    blame: Blame = Field(description="the part to blame")
    boards: tuple[str, ...] = Field(description="the boards that are not alive because of it")
    text: str = Field(description="why, in words")
    try_: str = Field(
        validation_alias="try",
        serialization_alias="try",
        description="what to do next, a command where there is one",
    )


def causes(fleet: FleetView, now: float) -> tuple[Cause, ...]:
    """Return what keeps boards of ``fleet`` from being alive, the worst first; empty when all of them are.

    A test PC that is not heard, a relay that does not answer and a network that is gone are told once for all
    their boards. What a person took out of use comes last.
    """
    down = [board for board in fleet.boards if board.verdict is not Verdict.ALIVE]
    groups: dict[tuple[str, str], list[BoardView]] = defaultdict(list)
    for board in down:
        groups[_cause_of(Case(fleet, board, now))].append(board)
    found: list[tuple[int, Cause]] = []
    for (kind, id_), boards in groups.items():
        if kind == "board" or (kind == "network" and len(boards) < _TOGETHER):
            found += [_alone(fleet, board, now) for board in boards]
        else:
            found.append((_COMMON, _common(fleet, kind, id_, boards, now)))
    found.sort(key=lambda it: (it[0], -len(it[1].boards), it[1].subject))
    return tuple(cause for _, cause in found)


def _cause_of(case: Case) -> tuple[str, str]:
    """Return what a board's trouble is told with: its PC, its relay, its network, or itself alone."""
    board = case.board
    if board.status is BoardStatus.DEACTIVATED:
        return "board", board.id
    if case.doubt and case.pc is not None and not case.pc.online:
        return "pc", case.pc.id
    if case.blame is Blame.RELAY and (relay := next(_dead_relays(case), None)):
        return "relay", relay
    if case.blame is Blame.NETWORK and board.pc:
        return "network", board.pc
    return "board", board.id


def _dead_relays(case: Case) -> Iterator[str]:
    for feed in case.feeds:
        state = feed.port.state if feed.port else None
        if feed.relay and state and state.observed is Power.UNKNOWN:
            yield feed.relay.id


def _alone(fleet: FleetView, board: BoardView, now: float) -> tuple[int, Cause]:
    why = explain(fleet, board.id, now=now)
    severity = _RESTING if board.status is BoardStatus.DEACTIVATED else _SEVERITY[board.verdict]
    reason = board.deactivated if severity == _RESTING else None
    told = board.state.reason if board.state and board.state.verdict is board.verdict else board.text
    cause = Cause(
        subject=board.id,
        state=board.verdict.replace("_", " ") if severity != _RESTING else "deactivated",
        since=why.since,
        blame=why.blame,
        boards=(board.id,),
        text=one_line(reason or told or board.text),
        try_=why.try_,
    )
    return severity, cause


def _common(fleet: FleetView, kind: str, id_: str, boards: Sequence[BoardView], now: float) -> Cause:
    ids = tuple(board.id for board in boards)
    since = [at for board in boards if (at := Case(fleet, board, now).since) is not None]
    if kind == "relay":
        parent = explain_relay(fleet, id_)
        state, blame, text, try_ = parent.state, Blame.RELAY, _after(parent.headline), parent.try_
    elif kind == "pc":
        pc = explain_pc(fleet, id_)
        view = next(pc for pc in fleet.pcs if pc.id == id_)
        state, blame, text, try_ = pc.state, Blame.AGENT, view.text, pc.try_
        if view.status is PcStatus.MAINTENANCE:
            state = PcStatus.OFFLINE.value
    else:
        state, blame, text = "cut off", Blame.NETWORK, "cut off from the network together"
        try_ = explain(fleet, ids[0], now=now).try_
    return Cause(
        subject=f"network of {id_}" if kind == "network" else id_,
        state=state.lower(),
        since=min(since, default=None),
        blame=blame,
        boards=ids,
        text=one_line(f"{text}: {_counted(ids)}" if text else _counted(ids)),
        try_=try_,
    )


def _after(headline: str) -> str:
    """Return the reason in the headline of a relay."""
    return headline.partition(": ")[2]


def _counted(ids: Sequence[str]) -> str:
    named = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    return f"{len(ids)} board{'' if len(ids) == 1 else 's'} ({named})"
