"""The past of boards and ports: power, boots and uses, one call each, answered by the store."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.requests import Request

from boardherd_collector.boot_times import usual
from boardherd_collector.stores.answers import BootRow, PortStateRow, UsageRow
from boardherd_collector.web.endpoints import ID, LIMIT, MAX_ROWS, find, json_endpoint, limit
from boardherd_collector.web.questions import HOURS, PORT, WEEK, port_number, since
from boardherd_collector.web.sources import Sources
from boardherd_shared.records import BootTimes


class BootsAnswer(BaseModel):
    """How long a board took to boot, and what it usually takes."""

    board: str
    usual: BootTimes = Field(description="the median of each stage over these boots")
    boots: tuple[BootRow, ...] = Field(description="newest first; slow says what took longer than before")


async def _board_power(sources: Sources, request: Request) -> list[PortStateRow]:
    board = find(sources.view().boards, request, "board")
    ports = [(relay, int(number)) for relay, _, number in (feed.rpartition(":") for feed in board.power)]
    return await sources.store.port_history(ports, since(sources, HOURS.number(request)), MAX_ROWS)


async def _port_power(sources: Sources, request: Request) -> list[PortStateRow]:
    relay = find(sources.view().relays, request, "relay")
    port = relay.id, port_number(relay, request)
    return await sources.store.port_history([port], since(sources, HOURS.number(request)), MAX_ROWS)


async def _boots(sources: Sources, request: Request) -> BootsAnswer:
    board = find(sources.view().boards, request, "board")
    rows = await sources.store.boots(board.id, limit(request))
    return BootsAnswer(board=board.id, usual=usual(row.times for row in rows), boots=tuple(rows))


async def _usage(sources: Sources, request: Request) -> list[UsageRow]:
    board = find(sources.view().boards, request, "board")
    return await sources.store.usage(board.id, since(sources, WEEK.number(request)), MAX_ROWS)


ENDPOINTS = (
    json_endpoint(
        "/boards/{id}/power",
        "States of the relay ports that power a board, oldest first.",
        list[PortStateRow],
        _board_power,
        *(ID, HOURS),
    ),
    json_endpoint(
        "/relays/{id}/ports/{port}/history",
        "States of a relay port, oldest first.",
        list[PortStateRow],
        _port_power,
        *(ID, PORT, HOURS),
    ),
    json_endpoint(
        "/boards/{id}/boots",
        "How long a board took to boot, newest first, and what it usually takes.",
        BootsAnswer,
        _boots,
        *(ID, LIMIT),
    ),
    json_endpoint(
        "/boards/{id}/usage",
        "Who used a board, when and what for, oldest first.",
        list[UsageRow],
        _usage,
        *(ID, WEEK),
    ),
)
"""The endpoints of the past."""
