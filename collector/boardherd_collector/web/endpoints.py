"""What an endpoint is: its path, what it takes, what it answers. The OpenAPI document is made from the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from boardherd_collector.web.sources import Sources
from boardherd_shared.views import BoardView, PcView, RelayView

PREFIX = "/api/v1"
MAX_ROWS = 1000
"""No answer of a list has more rows than this."""

V = TypeVar("V", PcView, BoardView, RelayView)


class BadRequestError(ValueError):
    """A request that cannot be understood; the message says why to its sender."""


class NotFoundError(LookupError):
    """There is no such thing; the message names it."""


@dataclass(frozen=True)
class Parameter:
    """Something that a request may carry, in its path or its query."""

    name: str
    help: str
    kind: Literal["string", "integer", "number", "boolean"] = "string"
    where: Literal["query", "path"] = "query"
    default: float | None = None
    lowest: float | None = None
    highest: float | None = None
    choices: tuple[str, ...] = ()
    repeated: bool = False
    """May come several times."""

    def flag(self, request: Request) -> bool:
        """Return whether the query says true; raises BadRequestError when it says neither that nor false."""
        text = request.query_params.get(self.name, "false")
        if text not in {"true", "false"}:
            raise BadRequestError(f'{self.name} must be true or false, not "{text[:40]}"')
        return text == "true"

    def choice(self, request: Request) -> str:
        """Return which of the choices the query names, the first unless it does; raises BadRequestError."""
        text = request.query_params.get(self.name, self.choices[0])
        if text not in self.choices:
            raise BadRequestError(f'{self.name} must be one of {", ".join(self.choices)}, not "{text[:40]}"')
        return text

    def number(self, request: Request) -> float:
        """Return the number in the query, within bounds; raises BadRequestError when it is none."""
        assert self.default is not None
        given = self.optional(request)
        return self.default if given is None else given

    def optional(self, request: Request) -> float | None:
        """Return the number in the query, within bounds, or None; raises BadRequestError when it is none."""
        assert self.lowest is not None
        assert self.highest is not None
        text = request.query_params.get(self.name)
        if text is None:
            return None
        try:
            value = float(text) if self.kind == "number" else int(text)
        except ValueError as error:
            raise BadRequestError(f'{self.name} must be a number, not "{text[:40]}"') from error
        if value != value:  # noqa: PLR0124 - NaN, which no bound would catch
            raise BadRequestError(f"{self.name} must be a number")
        return min(max(value, self.lowest), self.highest)


ID = Parameter("id", "its id", where="path")
LIMIT = Parameter("limit", "how many at most", "integer", default=100, lowest=1, highest=MAX_ROWS)


def limit(request: Request) -> int:
    """Return how many rows are asked for at most."""
    return int(LIMIT.number(request))


def find(things: Iterable[V], request: Request, what: str) -> V:
    """Return the one whose id is in the path; raises NotFoundError."""
    wanted = request.path_params["id"]
    for thing in things:
        if thing.id == wanted:
            return thing
    raise NotFoundError(f'there is no {what} "{wanted[:64]}"')


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


def json_endpoint(
    path: str,
    summary: str,
    answer: Any,
    handle: Callable[[Sources, Request], Awaitable[Any]],
    *parameters: Parameter,
) -> Endpoint:
    """Return an endpoint whose answer, what ``handle`` returns, is of the type ``answer``."""
    body: TypeAdapter[Any] = TypeAdapter(answer)

    async def respond(sources: Sources, request: Request) -> Response:
        return Response(body.dump_json(await handle(sources, request)), media_type="application/json")

    return Endpoint(PREFIX + path, summary, respond, answer, parameters=parameters)
