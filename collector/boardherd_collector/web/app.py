"""All routes put together, and what every answer has in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from boardherd_collector.exposition import CONTENT_TYPE, Exposition, Snapshot
from boardherd_collector.health import Component
from boardherd_collector.stores.base import StoreError
from boardherd_collector.web import api, page
from boardherd_collector.web.endpoints import BadRequestError, Endpoint, NotFoundError, Respond
from boardherd_collector.web.guard import SecurityHeaders, TokenGuard
from boardherd_collector.web.live import changes
from boardherd_collector.web.openapi import document
from boardherd_collector.web.shared import Shared
from boardherd_collector.web.sources import Sources
from boardherd_shared.views import FleetView

_RECENT = 12
_HISTORY_S = 2.0
"""A page without history now is better than one with history later."""


class ComponentAnswer(BaseModel):
    """How one part of the collector stands."""

    ok: bool
    text: str = Field(description="the trouble, or what it is connected to")


class Readiness(BaseModel):
    """Whether the collector can do its work."""

    ready: bool
    components: dict[str, ComponentAnswer]
    banner: str | None = Field(description="what everybody should know, or null")


def make_app(sources: Sources, *, token: str | None, stopping: asyncio.Event) -> Starlette:
    """Return the application; streams end when ``stopping`` is set, ``token`` None lets everybody read."""
    endpoints = (*_own_endpoints(sources, stopping), *api.ENDPOINTS)
    endpoints = (*endpoints, _openapi(endpoints, sources.version))
    middleware = [Middleware(SecurityHeaders)]
    if token is not None:
        middleware.append(Middleware(TokenGuard, token=token))
    return Starlette(
        routes=[*(_route(endpoint, sources) for endpoint in endpoints), _static()],
        middleware=middleware,
        exception_handlers={
            BadRequestError: _says(400),
            NotFoundError: _says(404),
            StoreError: _says(503, "history cannot be read: "),
            HTTPException: _http_error,
            Exception: _bug,
        },
    )


def _route(endpoint: Endpoint, sources: Sources) -> Route:
    async def handle(request: Request) -> Response:
        return await endpoint.respond(sources, request)

    return Route(endpoint.path, handle, name=endpoint.path, methods=["GET"])


def _static() -> BaseRoute:
    return Mount("/static", StaticFiles(directory=page.STATIC), name="static")


def _own_endpoints(sources: Sources, stopping: asyncio.Event) -> tuple[Endpoint, ...]:
    """Return what is neither API nor file."""
    exposition = Exposition()

    async def make_metrics() -> bytes:
        fleet = await asyncio.to_thread(sources.view)
        snapshot = Snapshot.take(fleet, sources.counters, sources.health, sources.version)
        return await asyncio.to_thread(exposition.render, snapshot)

    shared_metrics = Shared(make_metrics)

    async def metrics(sources: Sources, request: Request) -> Response:
        del sources, request
        return Response(await shared_metrics.get(), headers={"content-type": CONTENT_TYPE})

    async def events(sources: Sources, request: Request) -> Response:
        del request
        return StreamingResponse(changes(sources.fleet, stopping), media_type="text/event-stream")

    whole, parts = _page(sources, page.render_page), _page(sources, page.render_sections)
    return (
        Endpoint("/", "The read-only page.", whole, media="text/html"),
        Endpoint("/sections", "What changes of the page.", parts, media="text/html"),
        Endpoint("/events", "Tells that the fleet has changed.", events, media="text/event-stream"),
        Endpoint("/metrics", "Everything that Prometheus reads.", metrics, media="text/plain"),
        Endpoint("/healthz", "200 while the process lives.", _healthz, dict[str, bool]),
        Endpoint("/readyz", "Each component; 503 when one does not work.", _readyz, Readiness),
    )


async def _healthz(sources: Sources, request: Request) -> Response:
    del sources, request
    return JSONResponse({"alive": True})


async def _readyz(sources: Sources, request: Request) -> Response:
    del request
    health = sources.health
    answer = Readiness(
        ready=health.ready,
        components={
            name: ComponentAnswer(ok=component.ok, text=component.text)
            for name, component in health.components.items()
        },
        banner=health.banner(),
    )
    return JSONResponse(answer.model_dump(), status_code=200 if answer.ready else 503)


def _page(
    sources: Sources, render: Callable[[FleetView, dict[str, Component], page.History | None], str]
) -> Respond:
    async def make() -> str:
        history = await _history(sources)
        fleet = await asyncio.to_thread(sources.view)
        return await asyncio.to_thread(render, fleet, dict(sources.health.components), history)

    shared = Shared(make)

    async def respond(sources: Sources, request: Request) -> Response:
        del sources, request
        return HTMLResponse(await shared.get())

    return respond


async def _history(sources: Sources) -> page.History | None:
    try:
        async with asyncio.timeout(_HISTORY_S):
            return page.History(
                commands=await sources.store.commands(limit=_RECENT),
                events=await sources.store.events(limit=_RECENT),
            )
    except (StoreError, TimeoutError):
        return None


def _openapi(endpoints: tuple[Endpoint, ...], version: str) -> Endpoint:
    """Return the endpoint of the document that describes ``endpoints`` and itself."""

    async def respond(sources: Sources, request: Request) -> Response:
        del sources, request
        return JSONResponse(description)

    own = Endpoint(f"{api.PREFIX}/openapi.json", "This document.", respond)
    description = document((*endpoints, own), version)
    return own


Handler = Callable[[Request, Exception], Response]


def _says(status: int, before: str = "") -> Handler:
    def answer(request: Request, error: Exception) -> Response:
        del request
        return JSONResponse({"error": f"{before}{error}"}, status_code=status)

    return answer


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = error.detail
    if error.status_code == 404:
        sentence = (
            f"there is nothing at {request.url.path[:100]}; {api.PREFIX}/openapi.json lists what there is"
        )
    elif error.status_code == 405:
        sentence = f"{request.method[:20]} is not possible, nothing can be changed here; use GET"
    return JSONResponse({"error": sentence}, status_code=error.status_code, headers=error.headers)


def _bug(request: Request, error: Exception) -> Response:
    """Answer in words; the server logs the traceback."""
    del request, error
    return JSONResponse({"error": "the collector failed to answer; its log says why"}, status_code=500)
