"""The web server: binds first, serves until it is cancelled, and is gone within three seconds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from starlette.types import ASGIApp

from boardherd_collector.counters import Counters
from boardherd_collector.health import Health
from boardherd_collector.settings import HttpSettings
from boardherd_collector.stores.base import Store
from boardherd_collector.web.app import make_app
from boardherd_collector.web.listen import listen, read_token, url_for
from boardherd_collector.web.sources import FleetSource, Sources
from boardherd_collector.web.waiting import bounded_protocol
from boardherd_shared.definitions import Definitions

_DRAIN_S = 1
"""How long requests in flight may take to finish when the server stops."""
_STOP_S = 3.0
_MAX_CONNECTIONS = 500
_ACCEPTED_AT_ONCE = 1
"""asyncio tries to accept so many in one go, and when the process may open no more files it complains as often."""

log = structlog.get_logger()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the program has one handler for them, and it cancels us."""
        yield


async def serve(
    http: HttpSettings,
    *,
    fleet: FleetSource,
    health: Health,
    counters: Counters,
    store: Store,
    definitions: Definitions | None = None,
    on_listening: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve metrics, health, API and page until cancelled; ``on_listening`` hears the page's address.

    Raises PortBusy or ConfigError, each with one sentence, before anything is served.
    """
    token = read_token(http)
    sock = listen(http)
    try:
        stopping = asyncio.Event()
        sources = Sources(fleet, health, counters, store, definitions=definitions)
        app = make_app(sources, token=token, stopping=stopping)
        url = url_for(*sock.getsockname()[:2])
        log.info("page", url=url)
        await _serve(app, sock, stopping, lambda: on_listening(url))
    finally:
        sock.close()


async def _serve(
    app: ASGIApp, sock: socket.socket, stopping: asyncio.Event, on_listening: Callable[[], None]
) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            http=bounded_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            backlog=_ACCEPTED_AT_ONCE,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )
    task = asyncio.create_task(server.serve([sock]), name="http server")
    try:
        on_listening()  # the socket listens already: a request that comes now waits for the server
        await asyncio.shield(task)
    finally:
        stopping.set()
        server.should_exit = True
        await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    """Wait for the server to end by itself; end it when that takes too long or we are hurried."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await asyncio.shield(task)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
