"""Why a board is as it is: the answer in five lines. Pure.

What is wrong, since when, and whose fault it is; what its power measures and who asked for that; what was seen of
it; who has it; and what to try next. It is worked out from the fleet as the collector or the broker tells it; the
past of the board (commands, boots, events, uses) makes it better where somebody has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from boardherd_shared.model import BoardStatus
from boardherd_shared.records import Blame, Verdict
from boardherd_shared.spans import coarse, moment
from boardherd_shared.values import one_line
from boardherd_shared.views import BoardView, FleetView
from boardherd_shared.why.case import ROOM, WIDTH, Booted, Case, Done, Happened, Used
from boardherd_shared.why.evidence import evidence
from boardherd_shared.why.power import power
from boardherd_shared.why.remedy import remedy

LABELS = ("power", "evidence", "holder", "try")
"""What stands before the second and the following lines."""
_PLAIN = {Verdict.ALIVE, Verdict.POWERED_OFF}
_TOLD_BY_EVIDENCE = {Verdict.SILENT, Verdict.DEGRADED}


class UnknownThingError(LookupError):
    """There is no such thing; the message names it, and what may have been meant."""


class Why(BaseModel):
    """Why a board is as it is; each text is a line without its label."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, serialize_by_alias=True)

    board: str = Field(description="its id")
    name: str = Field("", description="its name, where it has one")
    verdict: Verdict
    since: float | None = Field(None, description="when that began, Unix seconds; null when nobody knows")
    blame: Blame = Field(description="the part that keeps it from being alive; nobody while nothing does")
    headline: str = Field(description="id, verdict, for how long, blame")
    power: str = Field(description="what its ports measure, who asked for that, whether the wiring is proved")
    evidence: str = Field(description="what each probe saw, and how long ago")
    holder: str = Field(description="who has it, or since when nobody has")
    try_: str = Field(
        validation_alias="try",
        serialization_alias="try",
        description="what to do next, a command where there is one",
    )
    banner: str | None = Field(None, description="what everybody should know of the collector now")
    source: str = Field(
        "collector", description='"collector", or "broker" when worked out without the past of the board'
    )

    def lines(self) -> tuple[str, ...]:
        """Return the five lines as people read them."""
        texts = (self.power, self.evidence, self.holder, self.try_)
        labelled = (f"  {label:<8} {text}" for label, text in zip(LABELS, texts, strict=True))
        return (self.headline, *labelled)


def explain(
    fleet: FleetView,
    board: str,
    *,
    commands: Sequence[Done] = (),
    boots: Sequence[Booted] = (),
    events: Sequence[Happened] = (),
    uses: Sequence[Used] | None = None,
    now: float,
    operator: str = "",
) -> Why:
    """Return why ``board``, an id or a name, is as it is.

    Args:
        fleet: the current fleet; ages in it count from its own moment.
        board: the id of a board, or a name that one board has.
        commands: its commands, in any order; without them the port tells who switched last, and not how it ended.
        boots: its boots, in any order.
        events: its events, in any order.
        uses: its uses, in any order; None when nobody knows them.
        now: Unix seconds.
        operator: who asks, where that is known: whose lock is one's own is not in the way.

    Raises:
        UnknownThingError: there is no such board, in words that name those that may be meant.
    """
    view = find_board(fleet, board)
    case = Case(fleet, view, now, commands, boots, events, uses, operator)
    return Why(
        board=view.id,
        name=view.name,
        verdict=view.verdict,
        since=case.since,
        blame=case.blame,
        headline=f"{view.id}  {one_line(_headline(case), WIDTH - len(view.id) - 2)}",
        power=_fitting(power(case)),
        evidence=_fitting(evidence(case)),
        holder=_fitting(_holder(case)),
        try_=_fitting(remedy(case)),
        banner=fleet.banner,
        source=fleet.source,
    )


def find_board(fleet: FleetView, name: str) -> BoardView:
    """Return the board whose id, or else whose name is ``name``; raises UnknownThingError."""
    wanted = name.lower()
    found = [it for it in fleet.boards if it.id == name]
    found = found or [it for it in fleet.boards if wanted in {it.id, it.name.lower()}]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(it.id for it in found)
        raise UnknownThingError(f'"{name}" is the name of several boards: {ids}; use the id')
    known = [it.id for it in fleet.boards] + [it.name for it in fleet.boards if it.name]
    raise UnknownThingError(f'there is no board "{name}"{did_you_mean(name, known)}')


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint at what may have been meant, as the end of a sentence; empty when nothing is near."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _headline(case: Case) -> str:
    """Return verdict, for how long and the blame; and the reason, where the evidence does not tell it."""
    board, state = case.board, case.state
    words = board.verdict.replace("_", " ").upper()
    if case.since is not None:
        words += f" for {coarse(case.now - case.since)}"
    if case.blame is not Blame.NOBODY:
        words += f", blame: {case.blame}"
    if board.status in {BoardStatus.DEACTIVATED, BoardStatus.ERROR}:
        words += f", {board.status}"
    if board.contested_by:
        words += ", CONTESTED"
    told = board.verdict in _TOLD_BY_EVIDENCE and case.blame is Blame.BOARD
    if state and state.reason and not (told or case.doubt or board.verdict in _PLAIN):
        words += f": {state.reason}"
    return words


def _holder(case: Case) -> str:
    """Return who has the board, or since when nobody has."""
    lock = case.lock
    if lock is not None:
        whom = f" for {lock.on_behalf_of}" if lock.on_behalf_of else ""
        what = f"{lock.use}: {lock.reason}" if lock.reason else lock.use
        since, until = moment(lock.since, case.now), moment(lock.until, case.now)
        return f"{lock.owner}{whom} since {since} until {until} ({what})"
    if case.uses is None:
        return "nobody now"
    ends = [use.ended_at for use in case.uses if use.ended_at is not None]
    if not ends:
        return "nobody, as far as is stored"
    last = max(ends)
    return f"nobody since {moment(last, case.now)}"


def _fitting(text: str) -> str:
    return one_line(text, ROOM)
