"""What an endpoint is: its path, what it takes, what it answers. The OpenAPI document is made from the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from boardherd_collector.web.sources import Sources


class BadRequestError(ValueError):
    """A request that cannot be understood; the message says why to its sender."""


class NotFoundError(LookupError):
    """There is no such thing; the message names it."""


@dataclass(frozen=True)
class Parameter:
    """Something that a request may carry, in its path or its query."""

    name: str
    help: str
    kind: Literal["string", "integer", "number"] = "string"
    where: Literal["query", "path"] = "query"
    default: float | None = None
    lowest: float | None = None
    highest: float | None = None

    def number(self, request: Request) -> float:
        """Return the number in the query, within bounds; raises BadRequestError when it is none."""
        text = request.query_params.get(self.name)
        assert self.default is not None
        assert self.lowest is not None
        assert self.highest is not None
        if text is None:
            return self.default
        try:
            value = float(text) if self.kind == "number" else int(text)
        except ValueError as error:
            raise BadRequestError(f'{self.name} must be a number, not "{text[:40]}"') from error
        if value != value:  # noqa: PLR0124 - NaN, which no bound would catch
            raise BadRequestError(f"{self.name} must be a number")
        return min(max(value, self.lowest), self.highest)


Respond = Callable[[Sources, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One path that answers to GET."""

    path: str
    summary: str
    respond: Respond
    answer: Any = None
    """The pydantic type of a JSON body; None when the body is something else."""
    media: str = "application/json"
    parameters: tuple[Parameter, ...] = ()
