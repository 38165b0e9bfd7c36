"""Why a board, a test PC or a relay is as it is: one call each, worked out from the fleet and the board's past."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from boardherd_collector.stores.base import StoreError
from boardherd_collector.web.endpoints import ID, NotFoundError, json_endpoint
from boardherd_collector.web.sources import Sources
from boardherd_shared.views import FleetView
from boardherd_shared.why import UnknownThingError, Why, explain
from boardherd_shared.why.everything import Cause, causes
from boardherd_shared.why.parents import WhyParent, explain_pc, explain_relay

_RECENT = 20
_RECENT_US = 90 * 86400 * 10**6
"""Who used a board before that does not matter any more."""

R = TypeVar("R")


async def if_readable(rows: Awaitable[list[R]]) -> tuple[R, ...] | None:
    """Return what the store answers, None while it cannot be read."""
    try:
        return tuple(await rows)
    except StoreError:
        return None


async def why_of(sources: Sources, view: FleetView, board: str) -> Why:
    """Return why a board of ``view`` is as it is, with as much of its past as can be read."""
    store, subject = sources.store, f"board/{board}"
    since = int(sources.now() * 1e6) - _RECENT_US
    commands = await if_readable(store.commands(subject, _RECENT))
    boots = await if_readable(store.boots(board, 1))
    events = await if_readable(store.events(subject, _RECENT))
    uses = await if_readable(store.usage(board, since, _RECENT))
    return explain(
        view, board, commands=commands or (), boots=boots or (), events=events or (), uses=uses, now=view.at
    )


async def _causes(sources: Sources, request: Request) -> list[Cause]:
    del request
    view = sources.view()
    return list(causes(view, view.at))


async def _board(sources: Sources, request: Request) -> Why:
    view, wanted = sources.view(), request.path_params["id"]
    if all(board.id != wanted for board in view.boards):
        raise NotFoundError(f'there is no board "{wanted[:64]}"')
    return await why_of(sources, view, wanted)


async def _pc(sources: Sources, request: Request) -> WhyParent:
    try:
        return explain_pc(sources.view(), request.path_params["id"][:64])
    except UnknownThingError as unknown:
        raise NotFoundError(str(unknown)) from unknown


async def _relay(sources: Sources, request: Request) -> WhyParent:
    try:
        return explain_relay(sources.view(), request.path_params["id"][:64])
    except UnknownThingError as unknown:
        raise NotFoundError(str(unknown)) from unknown


ENDPOINTS = (
    json_endpoint(
        "/why",
        "What keeps boards from being alive: common causes once, the worst first.",
        list[Cause],
        _causes,
    ),
    json_endpoint(
        "/boards/{id}/why",
        "Why a board is as it is, in five lines; times in them are local.",
        Why,
        _board,
        ID,
    ),
    json_endpoint("/pcs/{id}/why", "Why a test PC is as it is, in five lines.", WhyParent, _pc, ID),
    json_endpoint("/relays/{id}/why", "Why a relay is as it is, in five lines.", WhyParent, _relay, ID),
)
"""The endpoints that explain."""
