"""The collector's JSON API, as far as the command line needs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from boardherd_shared.views import FleetView

_CONNECT_TIMEOUT_S = 2.0
_READ_TIMEOUT_S = 5.0

Value = str | int | float | list[str]
"""What a question may carry; a list comes as several values of one name."""


class ApiAway(Exception):  # noqa: N818 - a state of the world
    """The collector's API gives no usable answer; the message says why, without a full stop."""


class Api:
    """The API at one address; nothing is kept open between calls."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self.url = url
        self._token_file = token_file

    async def fleet(self) -> FleetView:
        """Return the current fleet; raises ApiAway."""
        answer = await self._get("/api/v1/fleet", {})
        try:
            return FleetView.model_validate_json(answer)
        except ValidationError as error:
            raise ApiAway("what answers there is no boardherd collector of this version") from error

    async def ask(self, path: str, query: Mapping[str, Value]) -> Any:
        """Return what the API answers below ``/api/v1/``; raises ApiAway."""
        return await self._get_json(f"/api/v1/{path}", query)

    async def ready(self) -> Any:
        """Return what ``/readyz`` tells of the collector's components, whether it can serve or not; raises ApiAway."""
        return await self._get_json("/readyz", {}, also=httpx.codes.SERVICE_UNAVAILABLE)

    async def _get_json(self, path: str, query: Mapping[str, Value], also: int = httpx.codes.OK) -> Any:
        import json

        answer = await self._get(path, query, also)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise ApiAway("what answers there is no boardherd collector of this version") from error

    async def _get(self, path: str, query: Mapping[str, Value], also: int = httpx.codes.OK) -> bytes:
        # A proxy of the environment leads out of the lab, never to its collector.
        timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        try:
            async with httpx.AsyncClient(timeout=timeout, trust_env=False, headers=self._headers()) as http:
                response = await http.get(self.url + path, params=dict(query))
        except httpx.HTTPError as error:
            raise ApiAway(_why(error)) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise ApiAway("it wants a token; set api_token_file or BOARDHERD_API_TOKEN_FILE")
        if response.status_code not in {httpx.codes.OK, also}:
            raise ApiAway(f"it answered {response.status_code} {response.reason_phrase}")
        return response.content

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise ApiAway(f"the token file {self._token_file} cannot be read: {error.strerror}") from error


def _why(error: httpx.HTTPError) -> str:
    """Return the system's own words for a failed call."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.errno and inner.errno > 0:
            return os.strerror(inner.errno).lower()  # asyncio's own text repeats the address
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__
