"""The questions people ask about boards, ports and PCs: one call each, answered by the store."""

from __future__ import annotations

from typing import Literal, cast

from starlette.requests import Request

from boardherd_collector.stores.answers import (
    BoardRow,
    CommandRow,
    DiskRow,
    LivenessRow,
    ReportRow,
    Step,
    SummaryRow,
    TrendRow,
)
from boardherd_collector.stores.base import BoardFilter
from boardherd_collector.web.endpoints import (
    ID,
    LIMIT,
    MAX_ROWS,
    NotFoundError,
    Parameter,
    find,
    json_endpoint,
    limit,
)
from boardherd_collector.web.sources import Sources
from boardherd_shared.views import RelayView

_YEARS = 24 * 3660
AVAILABLE = Parameter("available", "only those that can run a test now", "boolean")
LOCKED = Parameter("locked", "only those that somebody has locked", "boolean")
DEAD_FOR = Parameter(
    "dead_for", "only those dead for so many hours, with a part to blame", "number", lowest=0, highest=_YEARS
)
PLATFORM = Parameter("platform", "only those of this platform: j721e")
TEST_FARM = Parameter("test_farm", "only those of this test farm: HLOS")
PC = Parameter("pc", "only those of this test PC")
CAPABILITY = Parameter("capability", "only those that have all of these: CAMERA", repeated=True)
HOURS = Parameter("hours", "how far back", "number", default=24, lowest=1 / 60, highest=_YEARS)
WEEK = Parameter("hours", "how far back", "number", default=168, lowest=1, highest=_YEARS)
WITHIN = Parameter("within", "full within so many hours", "number", default=168, lowest=1, highest=_YEARS)
STEP = Parameter("step", "how long each rollup is", choices=("5m", "1h", "1d"))
BY = Parameter("by", "what groups them", choices=("test_farm", "platform"))
PORT = Parameter("port", "number of the port, from 1", "integer", where="path", lowest=1, highest=100)
_TOO_MANY = 20


async def _boards(sources: Sources, request: Request) -> list[BoardRow]:
    query = request.query_params
    dead_for = DEAD_FOR.optional(request)
    wanted = BoardFilter(
        available=AVAILABLE.flag(request),
        locked=LOCKED.flag(request),
        dead_for_s=None if dead_for is None else dead_for * 3600,
        platform=query.get(PLATFORM.name),
        test_farm=query.get(TEST_FARM.name),
        pc=query.get(PC.name),
        capabilities=tuple(query.getlist(CAPABILITY.name)[:_TOO_MANY]),
    )
    return await sources.store.boards(wanted)


async def _history(sources: Sources, request: Request) -> list[LivenessRow]:
    board = find(sources.view().boards, request, "board")
    return await sources.store.board_history(board.id, since(sources, HOURS.number(request)), MAX_ROWS)


async def _trend(sources: Sources, request: Request) -> list[TrendRow]:
    pc = find(sources.view().pcs, request, "test PC")
    step = cast("Step", STEP.choice(request))
    return await sources.store.host_trend(pc.id, since(sources, HOURS.number(request)), step)


async def _switches(sources: Sources, request: Request) -> list[CommandRow]:
    relay = find(sources.view().relays, request, "relay")
    return await sources.store.switches(relay.id, port_number(relay, request), limit(request))


def port_number(relay: RelayView, request: Request) -> int:
    """Return the number of the port in the path; raises NotFoundError when it is none."""
    text: str = request.path_params["port"]
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise NotFoundError(f'{relay.id} has no port "{text[:20]}"')
    return int(text)


async def _summary(sources: Sources, request: Request) -> list[SummaryRow]:
    return await sources.store.summary(cast("Literal['test_farm', 'platform']", BY.choice(request)))


async def _report(sources: Sources, request: Request) -> list[ReportRow]:
    return await sources.store.report(since(sources, WEEK.number(request)), since(sources, 0))


async def _disks(sources: Sources, request: Request) -> list[DiskRow]:
    within_s = WITHIN.number(request) * 3600
    return await sources.store.disks(within_s, since(sources, WEEK.number(request)))


def since(sources: Sources, hours: float) -> int:
    """Return the time so many hours ago, microseconds since 1970 UTC."""
    return int((sources.now() - hours * 3600) * 1e6)


ENDPOINTS = (
    json_endpoint(
        "/boards",
        "The boards that are asked for, with everything that is stored about them.",
        list[BoardRow],
        _boards,
        *(AVAILABLE, LOCKED, DEAD_FOR, PLATFORM, TEST_FARM, PC, CAPABILITY),
    ),
    json_endpoint(
        "/boards/{id}/history", "Verdicts on a board, oldest first.", list[LivenessRow], _history, ID, HOURS
    ),
    json_endpoint(
        "/pcs/{id}/trend",
        "Samples of a test PC rolled up, oldest first.",
        list[TrendRow],
        _trend,
        ID,
        HOURS,
        STEP,
    ),
    json_endpoint(
        "/relays/{id}/ports/{port}/switches",
        "Who switched a relay port and why, newest first.",
        list[CommandRow],
        _switches,
        *(ID, PORT, LIMIT),
    ),
    json_endpoint("/summary", "How many boards there are and how they are.", list[SummaryRow], _summary, BY),
    json_endpoint(
        "/report",
        "Hours in use, idle, alive and dead of each board, and its power cycles.",
        list[ReportRow],
        _report,
        WEEK,
    ),
    json_endpoint("/disks", "Test PCs whose disk fills, soonest first.", list[DiskRow], _disks, WITHIN, WEEK),
)
"""The endpoints of the questions."""
