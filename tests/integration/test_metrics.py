"""The metrics over a real socket, read by the real promtool and scraped by a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from support import shown
from support.ports import free_port


async def test_promtool_finds_nothing_to_say_of_the_live_page() -> None:
    async with shown.Site() as site, httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{site.url}/metrics")).content
    program = shutil.which("promtool")
    assert program, "promtool is missing; `make test` installs it: sudo apt-get install prometheus"
    process = await asyncio.create_subprocess_exec(
        program,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text)
    assert (process.returncode, said) == (0, b"")


@asynccontextmanager
async def prometheus(directory: Path, target: str) -> AsyncIterator[str]:
    """Run a Prometheus that scrapes ``target`` every half second; yield its address."""
    program = shutil.which("prometheus")
    assert program, "prometheus is missing; `make test` installs it: sudo apt-get install prometheus"
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 400ms}\n"
        f"scrape_configs: [{{job_name: boardherd, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    address = f"127.0.0.1:{free_port()}"
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address={address}",
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def ask(http: httpx.AsyncClient, address: str, query: str) -> list[dict[str, Any]]:
    """Return the series that answer ``query``, none as long as Prometheus is starting."""
    try:
        answer = await http.get(f"{address}/api/v1/query", params={"query": query})
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
    except (httpx.TransportError, json.JSONDecodeError, KeyError):
        return []
    return found


async def until(http: httpx.AsyncClient, address: str, query: str, *, empty: bool = False) -> list[Any]:
    """Return the answer to ``query`` once there is one, or once there is none when ``empty``."""
    async with asyncio.timeout(40):
        while True:
            found = await ask(http, address, query)
            if bool(found) is not empty:
                return found
            await asyncio.sleep(0.1)


async def test_a_real_prometheus_scrapes_and_answers(tmp_path: Path) -> None:
    """OPS-1: a board that falls silent, and a PC that does, are seen by a query a moment later."""
    async with (
        shown.Site() as site,
        httpx.AsyncClient(trust_env=False) as http,
        prometheus(tmp_path, site.url.removeprefix("http://")) as address,
    ):
        (found,) = await until(http, address, 'boardherd_board_alive{board="evm-01"} == 1')
        assert found["metric"]["pc"] == "pc-01"
        assert await ask(http, address, 'up{job="boardherd"} == 1')
        silent = await ask(http, address, 'boardherd_board_verdict{verdict="silent"} == 1')
        assert [series["metric"]["board"] for series in silent] == ["evm-02"]
        assert await ask(http, address, 'boardherd_host_load1{pc="pc-01"}')

        quiet = shown.pc("pc-01", status="OFFLINE", sample=None, last_seen_s=31.0)
        site.fleet.show(shown.fleet(pcs=(quiet,)))
        await until(http, address, 'boardherd_host_load1{pc="pc-01"}', empty=True)
        assert await until(http, address, 'boardherd_agent_up{pc="pc-01"} == 0')
