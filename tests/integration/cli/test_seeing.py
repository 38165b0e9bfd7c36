"""Seeing the fleet, through a collector or from what the broker remembers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import Verdict
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView
from support.broker import Mosquitto
from support.played_agent import (
    DONE,
    Agent,
    Shell,
)
from support.ports import free_port, wait_for_port


def fleet(site: str) -> FleetView:
    board = BoardView(
        id="evm-07",
        name="J721E_EVM #7",
        pc="pc-01",
        platform="j721e",
        capabilities=("CMD",),
        status=BoardStatus.IDLE,
        verdict=Verdict.ALIVE,
        is_alive=True,
        power=("eth-1:3",),
    )
    ports = (PortView(relay="eth-1", port=3, pc="pc-01", board="evm-07"),)
    return FleetView(
        site=site,
        at=time.time(),
        banner="history not stored since 02:10",
        pcs=(PcView(id="pc-01", status=PcStatus.ONLINE, last_seen_s=1.0),),
        boards=(board, board.model_copy(update={"id": "evm-08", "name": "", "is_alive": False})),
        relays=(RelayView(id="eth-1", status=RelayStatus.ACTIVE, ports=ports),),
    )


class Collector:
    """A collector's API, as far as the command line asks it."""

    def __init__(self, site: str, token: str | None = None) -> None:
        self.asked: list[str] = []
        self._view = fleet(site)
        self._token = token

    async def fleet(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return PlainTextResponse("a token is required", 401)
        return Response(self._view.model_dump_json(), media_type="application/json")

    async def events(self, request: Request) -> Response:
        self.asked.append(str(request.url))
        event = {"at": time.time(), "pc": "pc-01", "event": "transition", "subject": "board/evm-07"}
        return JSONResponse([{**event, "text": "second"}, {**event, "text": "first"}])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        routes = [Route("/api/v1/fleet", self.fleet), Route("/api/v1/events", self.events)]
        port = free_port()
        config = uvicorn.Config(Starlette(routes=routes), port=port, log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(), name="collector")
        try:
            await asyncio.to_thread(wait_for_port, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


async def test_without_the_collector_the_broker_tells_what_it_remembers(agent: Agent, shell: Shell) -> None:
    del agent
    done = await shell.run("boards")
    assert done.code == 0
    heading, row = done.out.splitlines()
    assert heading.split() == ["BOARD", "PC", "VERDICT", "FOR", "POWER"]
    assert row.startswith("evm-07  pc-01  ● alive")
    assert row.endswith("eth-1:3 on")
    assert "does not answer (connection refused)" in done.err
    relays = (await shell.run("relays", "--json")).json
    assert relays[0]["ports"][0]["state"]["observed"] == "on"
    told = await shell.run("status")
    assert told.code == 0
    assert "1 test PC  1 online\n  1 board    1 alive\n  1 relay    1 active\n" in told.out


async def test_why_and_show_work_from_what_the_broker_remembers(agent: Agent, shell: Shell) -> None:
    del agent
    why = await shell.run("why", "evm-07")
    assert why.code == 0
    assert why.out.startswith("evm-07  ALIVE")
    assert "  power    eth-1:3 measured ON" in why.out
    assert "  holder   nobody now\n" in why.out
    assert len(why.out.splitlines()) == 5
    assert "this is what the broker remembers, without history" in why.err
    said = (await shell.run("why", "evm-07", "--json")).json
    assert (said["source"], said["verdict"]) == ("broker", "alive")
    assert (await shell.run("why")).err.endswith("all boards are alive\n")
    show = await shell.run("show", "evm-07")
    assert "eth-1:3" in show.out
    assert "without history" in show.err
    assert (await shell.run("show", "evm-07", "--json")).json["commands"] is None
    assert (await shell.run("why", "evm-70")).code == 2


async def test_the_only_site_is_found_and_two_are_told(own_mosquitto: Mosquitto, tmp_path: Path) -> None:
    shell = Shell(own_mosquitto.url, None, tmp_path)
    nobody = await shell.run("boards")
    assert nobody.code == 3
    assert "no boardherd has ever spoken on the broker" in nobody.err
    async with Agent(own_mosquitto.url, "lab-a").at_work():
        assert (await shell.run("status", "--json")).json["site"] == "lab-a"
        async with Agent(own_mosquitto.url, "lab-b").at_work():
            done = await shell.run("boards")
            assert done.code == 2
            assert "serves several sites (lab-a, lab-b); choose one with --site" in done.err


async def test_the_collector_tells_names_and_its_banner(agent: Agent, shell: Shell, site: str) -> None:
    agent.script = [DONE]
    async with Collector(site).serving() as api:
        shell.api = api
        done = await shell.run("boards", "--alive", "--platform", "j721e", "--capability", "CMD")
        assert done.code == 0
        assert [line.split()[0] for line in done.out.splitlines()] == ["BOARD", "evm-07"]
        assert done.err == "history not stored since 02:10\n"
        nothing = await shell.run("boards", "--pc", "pc-99")
        assert (nothing.code, nothing.out) == (0, "")
        assert nothing.err.endswith("no board is like that\n")
        by_name = await shell.run("power", "cycle", "J721E_EVM #7")
        assert by_name.code == 0
        assert agent.heard[0][1].board == "evm-07"


async def test_the_collector_of_another_site_is_not_believed(agent: Agent, shell: Shell) -> None:
    del agent
    async with Collector("another").serving() as api:
        shell.api = api
        done = await shell.run("boards")
    assert done.out.splitlines()[1].startswith("evm-07  pc-01")
    assert 'is that of the site "another"' in done.err


async def test_events_come_from_the_collector_alone(shell: Shell, site: str) -> None:
    lonely = await shell.run("events")
    assert lonely.code == 3
    assert "it alone has history" in lonely.err
    collector = Collector(site)
    async with collector.serving() as api:
        shell.api = api
        done = await shell.run("events", "--board", "evm-07", "--limit", "2")
        assert [line.split()[-1] for line in done.out.splitlines()] == ["EVENT", "first", "second"]
        assert collector.asked[-1].endswith("/api/v1/events?limit=2&subject=board%2Fevm-07")
        assert [event["text"] for event in (await shell.run("events", "--json")).json] == ["second", "first"]


async def test_a_token_is_sent_and_its_absence_is_told(
    agent: Agent, shell: Shell, site: str, tmp_path: Path
) -> None:
    del agent
    (tmp_path / "token").write_text("secret\n")
    async with Collector(site, token="secret").serving() as api:
        shell.api = api
        without = await shell.run("boards")
        assert "it wants a token; set api_token_file or BOARDHERD_API_TOKEN_FILE" in without.err
        config = tmp_path / "boardherd" / "config.toml"
        config.parent.mkdir()
        config.write_text(f'api_token_file = "{tmp_path}/token"\n')
        assert (await shell.run("boards")).err == "history not stored since 02:10\n"
