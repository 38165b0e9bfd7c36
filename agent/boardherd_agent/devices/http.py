"""HTTP to a device: one request at a time over one kept connection, and every way it fails, in words.

Uses httpx, which comes with the extra ``http`` and is imported when the first device is opened. Proxies that
the environment names are ignored: a device of the lab is never behind one. Redirects are not followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from boardherd_agent.devices.codecs.json_replies import Refusal, shown
from boardherd_agent.devices.codecs.replies import BadReply
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.extras import needs
from boardherd_shared.command import Duration
from boardherd_shared.inventory import RelayConfig

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

EXTRA = "http"
"""The extra of the agent's package that brings httpx."""
_LONGEST_BODY = 256 * 1024
"""More than any of these devices has to say."""

Login = Literal["basic", "digest", "inline"]
"""Which way a device takes a login; ``inline`` means that its requests carry it in a way of their own."""


class HttpOptions(BaseModel):
    """Keys in lab.toml that every device with an HTTP interface has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | None = Field(None, description="user name, if the device asks for a login")
    password: SecretStr | None = Field(None, description="password, if the device asks for a login")
    tls: bool = Field(False, description="speak HTTPS")
    verify: bool = Field(
        True, description="with HTTPS: check the device's certificate; false for a self-signed one"
    )
    connect_timeout: Duration = Field(3.0, gt=0, description="how long connecting may take")
    reply_timeout: Duration = Field(3.0, gt=0, description="how long one answer may take")

    def word(self) -> str | None:
        """Return the password as it is, None for none."""
        return self.password.get_secret_value() if self.password else None


@dataclass(frozen=True)
class Reply:
    """What a device answered, whatever the status; a refused login never gets this far."""

    status: int
    body: bytes

    @property
    def fine(self) -> bool:
        """Whether the status says that the request was carried out."""
        return 200 <= self.status < 300


class HttpTransport:
    """One device's HTTP server."""

    def __init__(
        self, config: RelayConfig, options: HttpOptions, *, login: Login = "basic", user: str | None = None
    ) -> None:
        """Describe the way to a device; nothing is opened yet.

        Args:
            config: where the device is; its ``address`` is set.
            options: login, TLS and patience.
            login: which way the device takes the login, when there is a password.
            user: the user name of a device that has only one, unless the options name one.
        """
        host = config.address or ""
        port = config.tcp_port or (443 if options.tls else 80)
        self.place = f"{host}:{port}"
        """The device in messages."""
        name = f"[{host}]" if ":" in host else host
        self._base = f"{'https' if options.tls else 'http'}://{name}:{port}"
        self._options, self._login, self._user = options, login, options.user or user or ""
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Prepare for requests; the device is only connected to by the first one. Raises DeviceRefused."""
        with needs(EXTRA):
            import httpx
        # its line for each request would show the query, in which some devices want their password
        logging.getLogger("httpx").setLevel(logging.WARNING)
        options = self._options
        try:
            self._client = httpx.AsyncClient(
                auth=self._auth(),
                base_url=self._base,
                follow_redirects=False,
                headers={"Accept-Encoding": "identity"},
                limits=httpx.Limits(max_connections=1, keepalive_expiry=None),
                timeout=httpx.Timeout(options.reply_timeout, connect=options.connect_timeout),
                trust_env=False,
                verify=_trust(options),
            )
        except httpx.InvalidURL as error:
            raise DeviceOffline(f"{self.place}: this is no host name") from error

    async def close(self) -> None:
        """Close the connection, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                await client.aclose()

    async def ask(self, method: str, path: str, **content: Any) -> bytes:
        """Send a request and return the body of its answer; see :meth:`request` for the arguments.

        Raises DeviceRefused when the device answers with a status from 400 to 499, DeviceOffline from 500 on,
        DeviceGarbled for a redirect; and whatever :meth:`request` raises.
        """
        reply = await self.request(method, path, **content)
        if reply.fine:
            return reply.body
        raise self.fault(reply)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | float] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and return what was answered, whatever its status.

        Args:
            method: ``GET``, ``POST`` or ``PUT``.
            path: from the first slash on.
            params: what goes into the query.
            headers: beside the usual ones.
            json: the body as a JSON value, None for none.
            form: the body as a form, None for none.

        Raises:
            DeviceOffline: it cannot be reached, has gone, or does not answer in time.
            DeviceRefused: it does not accept the login.
            DeviceGarbled: what it answers is no HTTP, or far too long.
        """
        if self._client is None:
            raise DeviceOffline(f"{self.place} is not open")
        import httpx

        try:
            async with self._client.stream(
                method, path, params=params, headers=headers, json=json, data=form
            ) as response:
                reply = Reply(response.status_code, await self._body(response))
        except httpx.TransportError as error:
            raise self._explain(error) from error
        except UnicodeError as error:
            raise DeviceOffline(f"{self.place}: this is no host name") from error
        except (KeyError, ValueError, NotImplementedError) as error:  # the client's words for odd challenges
            raise DeviceGarbled(f"{self.place} asks for a login that nobody knows: {error}") from error
        if reply.status in {401, 403}:
            raise self._shut_out(reply)
        return reply

    def fault(self, reply: Reply) -> DeviceOffline | DeviceRefused | DeviceGarbled:
        """Return what an answer with a status that is not fine means."""
        status = f"{self.place} says {_phrase(reply.status)}{_remark(reply.body)}"
        if 400 <= reply.status < 500:
            return DeviceRefused(status)
        return DeviceOffline(status) if reply.status >= 500 else DeviceGarbled(status)

    def decode(self, parse: Callable[[bytes], T], body: bytes) -> T:
        """Return what a codec makes of a body; raises DeviceRefused for a Refusal, DeviceGarbled for a BadReply."""
        try:
            return parse(body)
        except Refusal as refusal:
            raise DeviceRefused(f"{self.place} refuses: {refusal}") from refusal
        except BadReply as error:
            raise DeviceGarbled(f"{self.place}: {error}") from error

    async def _body(self, response: httpx.Response) -> bytes:
        import httpx

        body = b""
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _LONGEST_BODY:
                    # with its connection gone the client's reading ends in order; left half done it would not
                    await response.extensions["network_stream"].aclose()
        except httpx.TransportError as error:
            if len(body) > _LONGEST_BODY:
                raise DeviceGarbled(f"{self.place} does not stop answering: {shown(body)}") from error
            raise
        return body

    def _auth(self) -> httpx.Auth | None:
        import httpx

        password = self._options.word()
        if password is None or self._login == "inline":
            return None
        kind = httpx.BasicAuth if self._login == "basic" else httpx.DigestAuth
        return kind(self._user, password)

    def _explain(self, error: httpx.TransportError) -> DeviceOffline | DeviceGarbled:
        import httpx

        options, place = self._options, self.place
        match error:
            case httpx.ConnectTimeout():
                return DeviceOffline(f"{place} takes no connection within {options.connect_timeout:g} s")
            case httpx.TimeoutException():
                return DeviceOffline(f"{place} does not answer within {options.reply_timeout:g} s")
            case httpx.RemoteProtocolError() if "disconnected" in str(error) or "closed" in str(error):
                return DeviceOffline(f"{place} has closed the connection")
            case httpx.ProtocolError():
                return DeviceGarbled(f"{place} does not answer in HTTP: {error}")
            case _:
                return DeviceOffline(f"{place}: {_cause(error)}")

    def _shut_out(self, reply: Reply) -> DeviceRefused:
        if reply.status == HTTPStatus.FORBIDDEN:
            return DeviceRefused(f"{self.place} forbids it{_remark(reply.body)}")
        if self._options.password is None:
            return DeviceRefused(f"{self.place} asks for a password")
        return DeviceRefused(f"{self.place} does not accept the user name and password")


def _trust(options: HttpOptions) -> ssl.SSLContext:
    """Return how certificates are checked; without TLS nothing is loaded, which takes its time."""
    if options.tls and options.verify:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _cause(error: BaseException) -> str:
    """Return what the operating system says at the bottom of a chain of errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"it does not speak TLS: {cause.reason or cause}"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)


def _remark(body: bytes) -> str:
    return f": {shown(body)}" if body.strip() else ""
