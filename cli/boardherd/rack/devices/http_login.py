"""HTTP authentication as simulated devices ask for it: Basic, and Digest by RFC 7616."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Literal, Protocol

from boardherd.rack.devices.http_device import Request, Response

_FIELD = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
_HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


class Login(Protocol):
    """Decides whether a request may pass."""

    def challenge(self, request: Request) -> Response | None:
        """Return the answer to a request that may not pass, None for one that may."""
        ...


class Basic:
    """User name and password in every request."""

    def __init__(self, realm: str, user: str, password: str) -> None:
        """Let in one user."""
        self._realm = realm
        self._right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def challenge(self, request: Request) -> Response | None:
        """Return the answer to a request that may not pass, None for one that may."""
        if request.headers.get("authorization") == self._right:
            return None
        return Response(401, b"", {"WWW-Authenticate": f'Basic realm="{self._realm}"'})


class Digest:
    """A hash over the password and a number used once, with ``qop=auth``."""

    def __init__(
        self,
        realm: str,
        user: str,
        password: str,
        *,
        algorithm: Literal["MD5", "SHA-256"] = "MD5",
        reusable: bool = True,
    ) -> None:
        """Let in one user.

        Args:
            realm: name of the protected space; older ones of these devices put their own name here.
            user: the only user name.
            password: its password.
            algorithm: which hash is asked for.
            reusable: whether a nonce holds for several requests with a rising count; else for one.
        """
        self._realm, self._user, self._password = realm, user, password
        self._algorithm, self._reusable = algorithm, reusable
        self._counts: dict[str, int] = {}
        """The highest count seen with each nonce that still holds."""

    def challenge(self, request: Request) -> Response | None:
        """Return the answer to a request that may not pass, None for one that may."""
        if self._right(request):
            return None
        nonce = secrets.token_hex(8)
        self._counts[nonce] = 0
        fields = f'qop="auth", realm="{self._realm}", nonce="{nonce}", algorithm={self._algorithm}'
        return Response(401, b"", {"WWW-Authenticate": f"Digest {fields}"})

    def _right(self, request: Request) -> bool:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        said = {name: quoted or plain for name, quoted, plain in _FIELD.findall(rest)}
        nonce, count = said.get("nonce", ""), said.get("nc", "")
        if scheme != "Digest" or nonce not in self._counts or not re.fullmatch("[0-9a-f]{8}", count):
            return False
        if said.get("uri") != request.target or said.get("response") != self._response(request, said):
            return False
        if int(count, 16) <= self._counts[nonce]:
            return False
        self._counts[nonce] = int(count, 16)
        if not self._reusable:
            del self._counts[nonce]
        return True

    def _response(self, request: Request, said: dict[str, str]) -> str:
        who = self._hash(f"{self._user}:{self._realm}:{self._password}")
        what = self._hash(f"{request.method}:{request.target}")
        return self._hash(f"{who}:{said['nonce']}:{said['nc']}:{said.get('cnonce', '')}:auth:{what}")

    def _hash(self, text: str) -> str:
        return _HASHES[self._algorithm](text.encode()).hexdigest()
