"""F03, F05: agents that nobody has ever heard of, by the thousand, and readers that wear the web side out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from boardherd_collector.fleet import MAX_UNKNOWN_AGENTS
from boardherd_shared.topics import Kind, Topics
from faults import web
from faults.laboratory import Laboratory
from faults.raw_mqtt import raw_client
from faults.systems import SITE, Boardherd
from support.faults import all_is_well, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(100)]

MIB = 1024**2
STRANGERS = 1200
TOKEN = "f3a9c1d2e4b5f6a7" * 2
_LISTED = 'boardherd_agent_up{pc="'


async def test_thousands_of_agents_that_nobody_knows(tmp_path: Path) -> None:
    """SEC-3, SEC-2, DEL-1 (F03): series, memory and tables stay bounded, and the honest agent is served."""
    topics = Topics(SITE)
    async with Laboratory(Boardherd(), tmp_path, rate=100) as lab:
        await lab.fresh()
        before = lab.collector.figures()["rss"]
        heard = 'boardherd_collector_messages_total{kind="hello"}'
        async with raw_client(lab.broker.port) as client:
            for number in range(STRANGERS):
                now, name = round(time.time() * 1e6), f"stranger-{number:05}"
                hello = {
                    "v": 1,
                    "session": "5" * 16,
                    "boot": "b",
                    "wall": now,
                    "up": 1,
                    "host": {"hostname": name},
                }
                board = {"at": now, "up": 1, "kind": "board", "board": name, "verdict": "alive", "since": now}
                envelope = {
                    "v": 1, "agent": name, "stream": f"{number:032x}", "seq": 1, "class": "samples", "boot": "b",
                    "records": [board, {"at": now, "up": 1, "kind": "host", "status": "HEALTHY"}],
                }  # fmt: skip
                await client.publish(topics.build(Kind.TELEMETRY, agent=name), json.dumps(envelope).encode())
                await client.publish(topics.build(Kind.HELLO, agent=name), json.dumps(hello).encode())
                if number % 100 == 99:  # what a broker cannot pass on at once it drops
                    await until(lambda least=number // 2: web.metrics(tmp_path)[heard] > least)
            await client.heard()
        await all_is_well(lab)
        found = web.metrics(tmp_path)
        assert found[heard] > STRANGERS / 2
        assert sum(series.startswith(_LISTED) for series in found) <= MAX_UNKNOWN_AGENTS + 1
        assert len(found) < 60 * (MAX_UNKNOWN_AGENTS + 1)
        assert lab.collector.figures()["rss"] < before + 50 * MIB
        with closing(sqlite3.connect(tmp_path / "history.db")) as db:
            (known,) = db.execute("SELECT count(*) FROM test_pcs").fetchone()
        assert known < STRANGERS / 2


@asynccontextmanager
async def half_open(port: int, count: int, beginning: bytes) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Hold connections that have begun to ask and go no further."""
    async with AsyncExitStack() as stack:
        writers = []
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.transport.abort)
            writer.write(beginning)
            writers.append(writer)
        yield writers


async def test_readers_without_a_token_without_an_end_and_without_number(tmp_path: Path) -> None:
    """SEC-2, OPS-1 (F05): 401 for whoever has no token; who never finishes a question keeps no scrape out."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    async with Laboratory(Boardherd(), tmp_path, rate=50) as lab:
        config = tmp_path / "collector.toml"
        await lab.collector.end()
        config.write_text(
            config.read_text().replace("[http]\n", f'[http]\ntoken_file = "{tmp_path}/token"\n')
        )
        lab.collector.start()
        await lab.fresh()
        for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "0", TOKEN.upper()):
            for path in ("", "metrics", "api/v1/fleet", "events", "static/page.css", "nothing"):
                assert web.get(tmp_path, path, token)[0] == 401, (token, path)
        port = web.port(tmp_path)
        head = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
        async with half_open(port, 550, head + b"X-Slow: "), half_open(port, 50, b""):
            assert await asyncio.to_thread(lambda: web.metrics(tmp_path, TOKEN))
            requests = b"".join([head + b"\r\n"] * 20)
            async with half_open(port, 25, requests):  # five hundred scrapes at once, by nobody who listens
                assert await asyncio.to_thread(lambda: web.metrics(tmp_path, TOKEN))
        assert lab.collector.figures()["fds"] < 1000
        await until(lambda: lab.collector.figures()["fds"] < 50)
        await all_is_well(lab)
