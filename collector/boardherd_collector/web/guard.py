"""Who may read, and what every answer carries: the token check and the security headers."""

from __future__ import annotations

import base64
import binascii
import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz"})
"""Answered without a token: says nothing but that the process lives."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that keep a browser from running or loading anything that is not ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the head of its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class TokenGuard:
    """Lets requests through that carry the token, as ``Authorization: Bearer`` or as a password.

    The password form (any user name, the token as password) is for people: a browser asks for it by itself and
    then also sends it for the page's own requests.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401 in words."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._is_let_in(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "a token is required: send Authorization: Bearer with the collector's http.token_file"},
            status_code=401,
            headers={
                "www-authenticate": 'Bearer realm="boardherd", Basic realm="boardherd", charset="UTF-8"'
            },
        )
        await refusal(scope, receive, send)

    def _is_let_in(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        given = _password(credentials) if scheme.lower() == "basic" else credentials.strip().encode()
        return scheme.lower() in {"bearer", "basic"} and hmac.compare_digest(given, self._token)


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
