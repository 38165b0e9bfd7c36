"""A bound for connections that wait for a request: who never finishes one keeps nobody else out.

Such a connection has shown no token yet, and the server has no time limit for the head of a request. Without
this bound a few hundred clients that send half a head would use up all connections that are allowed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import RequestResponseCycle

MAX_WAITING = 100
"""Connections of one server that may be without a request under way."""


def bounded_protocol(limit: int = MAX_WAITING) -> type[H11Protocol]:
    """Return an HTTP protocol for one server, which closes the connection that has waited longest for one too many."""

    class Bounded(_BoundedProtocol):
        waiting: ClassVar[dict[_BoundedProtocol, None]] = {}
        limit: ClassVar[int]

    Bounded.limit = limit
    return Bounded


class _BoundedProtocol(H11Protocol):
    waiting: ClassVar[dict[_BoundedProtocol, None]]
    """In the order in which they began to wait."""
    limit: ClassVar[int]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._sort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._sort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._sort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def _sort(self) -> None:
        # uvicorn declares this as always there; it is None before the first request.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.waiting.pop(self, None)
        elif not self.transport.is_closing():
            self.waiting.setdefault(self)
            if len(self.waiting) > self.limit:
                longest = next(iter(self.waiting))
                del self.waiting[longest]
                longest.transport.close()
