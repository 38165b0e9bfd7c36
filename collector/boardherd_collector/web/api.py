"""The JSON API, version 1: the current state from memory, history from the store.

Read-only. Lists come newest first; times are Unix seconds. What goes wrong is answered as ``{"error": ...}`` with
one sentence.
"""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.requests import Request

from boardherd_collector.stores.answers import (
    BoardRow,
    BootRow,
    CommandRow,
    Counts,
    DeadLetterRow,
    EventRow,
    LossRow,
    PcStatsRow,
    UsageRow,
)
from boardherd_collector.stores.base import BoardFilter
from boardherd_collector.web import inventory, pasts, questions, whys
from boardherd_collector.web.endpoints import ID, LIMIT, PREFIX, Parameter, find, json_endpoint, limit
from boardherd_collector.web.sources import Sources
from boardherd_collector.web.whys import if_readable
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView

_RECENT = 20
_MAX_SUBJECT = 200

HOURS = Parameter("hours", "how far back", "number", default=24, lowest=1 / 60, highest=720)
SUBJECT = Parameter(
    "subject", "only what is about this, or below it: board/evm-07, relay/eth-1; pc/pc-01 is all it reported"
)
AGO = Parameter(
    "hours", "how far back, as far as is stored unless given", "number", lowest=0, highest=24 * 3660
)
BOARD = Parameter("board", "only this board, by id")


class PcAnswer(BaseModel):
    """Everything about a test PC."""

    pc: PcView
    boards: tuple[BoardView, ...] = Field(description="the boards it controls")
    events: tuple[EventRow, ...] | None = Field(description="newest first; null while history cannot be read")


class BoardAnswer(BaseModel):
    """Everything about a board."""

    board: BoardView
    ports: tuple[PortView, ...] = Field(description="the relay ports that feed it")
    detail: BoardRow | None = Field(description="all that is stored about it; null: it cannot be read")
    commands: tuple[CommandRow, ...] | None = Field(description="newest first; null: history cannot be read")
    events: tuple[EventRow, ...] | None = Field(description="newest first; null: history cannot be read")
    boots: tuple[BootRow, ...] | None = Field(description="newest first; null: history cannot be read")
    uses: tuple[UsageRow, ...] | None = Field(description="oldest first; null: history cannot be read")


class RelayAnswer(BaseModel):
    """Everything about a relay."""

    relay: RelayView
    events: tuple[EventRow, ...] | None = Field(description="newest first; null: history cannot be read")


async def _fleet(sources: Sources, request: Request) -> FleetView:
    del request
    return sources.view()


async def _pc(sources: Sources, request: Request) -> PcAnswer:
    view = sources.view()
    pc = find(view.pcs, request, "test PC")
    boards = tuple(board for board in view.boards if board.pc == pc.id)
    events = await if_readable(sources.store.events(f"pc/{pc.id}", _RECENT))
    return PcAnswer(pc=pc, boards=boards, events=events)


async def _board(sources: Sources, request: Request) -> BoardAnswer:
    view = sources.view()
    board = find(view.boards, request, "board")
    subject = f"board/{board.id}"
    return BoardAnswer(
        board=board,
        ports=tuple(port for relay in view.relays for port in relay.ports if port.board == board.id),
        detail=await _detail(sources, board.id),
        commands=await if_readable(sources.store.commands(subject, _RECENT)),
        events=await if_readable(sources.store.events(subject, _RECENT)),
        boots=await if_readable(sources.store.boots(board.id, _RECENT)),
        uses=await if_readable(sources.store.usage(board.id, 0, _RECENT)),
    )


async def _detail(sources: Sources, board: str) -> BoardRow | None:
    rows = await if_readable(sources.store.boards(BoardFilter(board=board)))
    return rows[0] if rows else None


async def _relay(sources: Sources, request: Request) -> RelayAnswer:
    relay = find(sources.view().relays, request, "relay")
    events = await if_readable(sources.store.events(f"relay/{relay.id}", _RECENT))
    return RelayAnswer(relay=relay, events=events)


async def _stats(sources: Sources, request: Request) -> list[PcStatsRow]:
    pc = find(sources.view().pcs, request, "test PC")
    since = int((sources.now() - HOURS.number(request) * 3600) * 1e6)
    return await sources.store.host_history(pc.id, since)


async def _events(sources: Sources, request: Request) -> list[EventRow]:
    subject = request.query_params.get(SUBJECT.name)
    hours = AGO.optional(request)
    since = 0 if hours is None else questions.since(sources, hours)
    return await sources.store.events(subject and subject[:_MAX_SUBJECT], limit(request), since)


async def _commands(sources: Sources, request: Request) -> list[CommandRow]:
    board = request.query_params.get(BOARD.name)
    return await sources.store.commands(board and f"board/{board[:_MAX_SUBJECT]}", limit(request))


async def _boots(sources: Sources, request: Request) -> list[BootRow]:
    board = request.query_params.get(BOARD.name)
    return await sources.store.boots(board and board[:_MAX_SUBJECT], limit(request))


async def _losses(sources: Sources, request: Request) -> list[LossRow]:
    return await sources.store.losses(limit(request))


async def _dead_letters(sources: Sources, request: Request) -> list[DeadLetterRow]:
    return await sources.store.dead_letters(limit(request))


async def _counts(sources: Sources, request: Request) -> Counts:
    del request
    return await sources.store.counts()


ENDPOINTS = (
    json_endpoint("/fleet", "Everything that is current: PCs, boards, relays.", FleetView, _fleet),
    json_endpoint("/pcs/{id}", "Everything about a test PC.", PcAnswer, _pc, ID),
    json_endpoint(
        "/pcs/{id}/stats", "Samples of a test PC, oldest first.", list[PcStatsRow], _stats, ID, HOURS
    ),
    json_endpoint("/boards/{id}", "Everything about a board.", BoardAnswer, _board, ID),
    json_endpoint("/relays/{id}", "Everything about a relay.", RelayAnswer, _relay, ID),
    json_endpoint("/events", "What happened, newest first.", list[EventRow], _events, SUBJECT, LIMIT, AGO),
    json_endpoint(
        "/commands", "Commands with their outcome, newest first.", list[CommandRow], _commands, BOARD, LIMIT
    ),
    json_endpoint(
        "/boots", "How long boards took to boot, newest first.", list[BootRow], _boots, BOARD, LIMIT
    ),
    json_endpoint("/losses", "Records reported as lost, newest first.", list[LossRow], _losses, LIMIT),
    json_endpoint(
        "/dead-letters",
        "Records that could not be stored, newest first.",
        list[DeadLetterRow],
        _dead_letters,
        LIMIT,
    ),
    json_endpoint("/counts", "How much is stored, by table and by stream.", Counts, _counts),
    *questions.ENDPOINTS,
    *inventory.ENDPOINTS,
    *pasts.ENDPOINTS,
    *whys.ENDPOINTS,
)
"""Every endpoint of the API but its own description."""

__all__ = ["ENDPOINTS", "PREFIX"]
