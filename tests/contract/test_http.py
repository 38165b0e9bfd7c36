"""The HTTP transport against servers that answer oddly, slowly, too much, or not in HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.http_device import HttpDevice, Request, Response
from boardherd.rack.devices.http_login import Basic, Digest, Login
from boardherd_agent.devices.device import DeviceGarbled, DeviceOffline, DeviceRefused
from boardherd_agent.devices.http import HttpOptions, HttpTransport
from boardherd_shared.inventory import RelayConfig

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted(HttpDevice):
    """A server that answers what it was told to."""

    def __init__(self, *answers: Response, login: Login | None = None) -> None:
        super().__init__([1])
        self.answers, self.login = list(answers), login
        self.opened_so_far = 0

    def stanza(self) -> dict[str, Any]:
        return self.where()

    def opened(self, connection: Any) -> None:
        self.opened_so_far += 1
        super().opened(connection)

    def respond(self, request: Request) -> Response:
        if self.login and (refused := self.login.challenge(request)):
            return refused
        return self.answers.pop(0) if self.answers else Response.text("ok")


@contextlib.asynccontextmanager
async def transport(
    port: int, *, host: str = "127.0.0.1", login: Any = "basic", **options: Any
) -> AsyncIterator[HttpTransport]:
    keys = {"reply_timeout": 0.3, "connect_timeout": 1.0} | options
    http = HttpTransport(
        RelayConfig(address=host, tcp_port=port), HttpOptions.model_validate(keys), login=login
    )
    await http.open()
    try:
        yield http
    finally:
        await http.close()


@contextlib.asynccontextmanager
async def bytes_server(answer: bytes, *, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server that sends the same bytes to everybody, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_requests_share_a_connection_and_one_that_was_closed_costs_nothing() -> None:
    async with Scripted() as device, transport(device.port) as http:
        for _ in range(3):
            assert await http.ask("GET", "/x") == b"ok"
        assert device.opened_so_far == 1
        await device.dead()
        await device.heal()
        assert await http.ask("GET", "/x") == b"ok"
        assert device.opened_so_far == 2


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (400, DeviceRefused, "says 400 Bad Request: no such thing"),
        (404, DeviceRefused, "says 404 Not Found"),
        (403, DeviceRefused, "forbids it: no such thing"),
        (401, DeviceRefused, "asks for a password"),
        (500, DeviceOffline, "says 500 Internal Server Error"),
        (503, DeviceOffline, "says 503 Service Unavailable"),
        (302, DeviceGarbled, "says 302 Found"),
    ],
)
async def test_every_status_is_said_in_words(status: int, error: type[Exception], words: str) -> None:
    answer = Response(status, b"no such thing", {"Location": "http://127.0.0.1:1/"})
    async with Scripted(answer) as device, transport(device.port) as http:
        with pytest.raises(error, match=rf"127\.0\.0\.1:{device.port} {words}"):
            await http.ask("GET", "/x")
        assert await http.ask("GET", "/x") == b"ok"


@pytest.mark.parametrize("login", ["basic", "digest"])
async def test_a_right_and_a_wrong_login(login: str) -> None:
    door: Login = Basic("here", "me", "pear") if login == "basic" else Digest("here", "me", "pear")
    async with Scripted(login=door) as device:
        async with transport(device.port, login=login, user="me", password="pear") as http:
            assert await http.ask("GET", "/x?a=b") == b"ok"
            assert await http.ask("PUT", "/y", form={"value": "true"}) == b"ok"
        async with transport(device.port, login=login, user="me", password="apple") as http:
            with pytest.raises(DeviceRefused, match="does not accept the user name and password"):
                await http.ask("GET", "/x")
        async with transport(device.port) as http:
            with pytest.raises(DeviceRefused, match="asks for a password"):
                await http.ask("GET", "/x")


@pytest.mark.parametrize("reusable", [True, False])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_digest_is_renewed_when_the_device_wants_it(reusable: bool, algorithm: Any) -> None:
    door = Digest("here", "me", "pear", algorithm=algorithm, reusable=reusable)
    async with (
        Scripted(login=door) as device,
        transport(device.port, login="digest", user="me", password="pear") as http,
    ):
        for _ in range(3):
            assert await http.ask("GET", "/x") == b"ok"
        assert len(device.requests) == (4 if reusable else 6)


@pytest.mark.parametrize(
    "challenge",
    [
        'realm="x"',
        'realm="x", nonce="1", algorithm=ROT13',
        'realm="x", nonce="1", qop="auth-int"',
        "nonsense",
    ],
)
async def test_a_login_that_nobody_knows_is_said_in_words(challenge: str) -> None:
    answer = Response(401, b"", {"WWW-Authenticate": f"Digest {challenge}"})
    async with (
        Scripted(answer) as device,
        transport(device.port, login="digest", user="me", password="pear") as http,
    ):
        with pytest.raises(DeviceGarbled):
            await http.ask("GET", "/x")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", DeviceOffline, "has closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", DeviceOffline, "has closed the connection"),
        (b"\x13\x02\x1c", DeviceGarbled, "does not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", DeviceGarbled, "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", DeviceGarbled, "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, DeviceGarbled, "does not stop answering: xxx"),
    ],
)
async def test_what_is_no_proper_answer(answer: bytes, error: type[Exception], words: str) -> None:
    async with bytes_server(answer) as port, transport(port) as http:
        with pytest.raises(error, match=words):
            await http.ask("GET", "/x")


async def test_a_cancelled_request_leaves_no_connection() -> None:
    async with Scripted() as device, transport(device.port) as http:
        await http.ask("GET", "/x")
        device.delay = 30
        task = asyncio.create_task(http.ask("GET", "/x"), name="to be cancelled")
        async with asyncio.timeout(5):
            while len(device.requests) < 2:  # noqa: ASYNC110 - a state of the outside world has no event
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while device.connections:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)


async def test_a_proxy_that_the_environment_names_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Scripted() as device, transport(device.port) as http:
        assert await http.ask("GET", "/x") == b"ok"


async def test_a_missing_library_is_said_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(DeviceRefused, match=r"httpx is not installed here; install boardherd-agent\[http\]"):
        async with transport(1):
            pass


def certified(directory: Path) -> ssl.SSLContext:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=strip"
    )
    command = [*request.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_self_signed_certificate_is_accepted_only_on_request(tmp_path: Path) -> None:
    async with bytes_server(OK, context=certified(tmp_path)) as port:
        async with transport(port, tls=True, verify=False) as http:
            assert await http.ask("GET", "/x") == b"ok"
        async with transport(port, tls=True) as http:
            with pytest.raises(DeviceOffline, match="certificate is not accepted: self-signed"):
                await http.ask("GET", "/x")


async def test_a_device_without_tls_is_said_to_have_none() -> None:
    async with bytes_server(OK) as port, transport(port, tls=True, verify=False) as http:
        with pytest.raises(DeviceOffline, match="does not speak TLS"):
            await http.ask("GET", "/x")


async def test_an_ipv6_address_is_understood() -> None:
    async with transport(1, host="::1") as http:
        with pytest.raises(DeviceOffline, match=r"::1:1: (Connection refused|Cannot assign)"):
            await http.ask("GET", "/x")


async def test_a_transport_that_is_not_open_says_so() -> None:
    http = HttpTransport(RelayConfig(address="127.0.0.1"), HttpOptions())
    with pytest.raises(DeviceOffline, match="not open"):
        await http.ask("GET", "/x")
    await http.close()
