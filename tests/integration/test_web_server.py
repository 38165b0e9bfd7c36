"""The web server on real sockets: what it refuses to start with, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from boardherd_collector.counters import Counters
from boardherd_collector.settings import HttpSettings
from boardherd_collector.web.listen import PortBusy, is_loopback, listen, read_token, url_for
from boardherd_collector.web.server import serve
from boardherd_shared.settings import ConfigError
from support import shown

TOKEN = "f3a9c1d2e4b5f6a7" * 2


async def test_a_busy_port_is_one_sentence() -> None:
    """OPS-4: refused before anything is served, in words that name the key."""
    with listen(HttpSettings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy) as refusal:
            await serve(
                HttpSettings(port=port),
                fleet=shown.ShownFleet(),
                health=shown.healthy(),
                counters=Counters(),
                store=shown.Rows(),  # type: ignore[arg-type]
            )
    assert str(refusal.value) == (
        f"127.0.0.1 port {port} is in use by another program; stop it, or set http.port to a free port"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_one_sentence(host: str) -> None:
    with pytest.raises(PortBusy, match=rf"http\.host {host} is no address of this machine"):
        listen(HttpSettings(host=host, port=0))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("lab.example", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_other_machines_need_a_token() -> None:
    """OPS-4: an open page on an open network is refused."""
    with pytest.raises(ConfigError, match=r"http\.token_file is required"):
        read_token(HttpSettings(host="0.0.0.0"))
    assert read_token(HttpSettings()) is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"short", "one word of at least 16 characters"),
        (b"", "one word of at least 16 characters"),
        (b"two words that are long enough", "one word of at least 16 characters"),
        ("schlüssel-schlüssel".encode(), "is not plain ASCII"),
    ],
)
def test_a_token_that_is_none(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        read_token(HttpSettings(host="0.0.0.0", token_file=file))


async def test_the_token_opens_the_page(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with shown.Site(token_file=file) as site, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{site.url}/")).status_code == 401
        assert (await http.get(f"{site.url}/healthz")).status_code == 200
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.get(f"{site.url}/", headers=headers)).status_code == 200
        assert (await http.get(f"{site.url}/api/v1/fleet", auth=("maria", TOKEN))).status_code == 200


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", f"http://{socket.gethostname()}:8080"),
    ],
)
def test_the_url_can_be_opened(host: str, url: str) -> None:
    assert url_for(host, 8080) == url


async def test_it_ends_though_a_browser_listens() -> None:
    """OPS-2: an open event stream and an idle connection keep nothing from stopping."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        async with shown.Site() as site:
            await http.get(f"{site.url}/healthz")  # stays open, idle
            async with http.stream("GET", f"{site.url}/events") as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                lines = stream.aiter_lines()
                assert await anext(lines) == "retry: 2000"
                stopping = asyncio.create_task(site.stop(), name="stop")
                async with asyncio.timeout(10):
                    async for _ in lines:
                        pass
                    await stopping
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{site.url}/healthz")


async def test_a_reader_that_leaves_is_forgotten() -> None:
    """SEC-2: abandoned event streams do not pile up."""
    async with shown.Site() as site, httpx.AsyncClient(trust_env=False) as http:
        before = len(asyncio.all_tasks())
        for _ in range(5):
            async with http.stream("GET", f"{site.url}/events") as stream:
                await anext(stream.aiter_lines())
        async with asyncio.timeout(10):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - the server's tasks tell nobody
                await asyncio.sleep(0.02)
