"""Every route: its answer, its refusals, its headers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from boardherd_collector.counters import Counters
from boardherd_collector.health import BROKER, STORE, Health
from boardherd_collector.web.app import make_app
from boardherd_collector.web.sources import Sources
from boardherd_shared.records import Verdict
from boardherd_shared.views import FleetView
from support import shown

TOKEN = "f3a9c1d2e4b5f6a7" * 2


@dataclass
class World:
    """The application with everything around it."""

    fleet: shown.ShownFleet = field(default_factory=shown.ShownFleet)
    health: Health = field(default_factory=shown.healthy)
    rows: shown.Rows = field(default_factory=shown.Rows)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self, token: str | None = None) -> Any:
        sources = Sources(
            self.fleet,
            self.health,
            Counters(),
            self.rows,  # type: ignore[arg-type]
            version="0.1.0",
            now=lambda: shown.NOW,
        )
        return make_app(sources, token=token, stopping=self.stopping)

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app(token), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://collector")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


async def test_the_fleet_is_told_as_the_command_line_reads_it(world: World, http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/fleet")
    assert FleetView.model_validate_json(answer.content) == world.fleet.current


async def test_everything_about_a_board_is_one_call(world: World, http: httpx.AsyncClient) -> None:
    answer = (await http.get("/api/v1/boards/evm-04")).json()
    assert answer["board"]["name"] == ""
    assert [(port["relay"], port["port"]) for port in answer["ports"]] == [("eth-1", 4), ("pdu-1", 12)]
    assert answer["commands"][0]["state"] == "running"
    assert answer["boots"][0]["times"]["ssh_s"] == 19.8
    assert ("commands", ("board/evm-04", 20)) in world.rows.asked


async def test_everything_about_a_relay_and_a_pc_is_one_call(world: World, http: httpx.AsyncClient) -> None:
    relay = (await http.get("/api/v1/relays/eth-1")).json()
    assert relay["relay"]["name"] == "Rack 1, top"
    assert len(relay["relay"]["ports"]) == 5
    pc = (await http.get("/api/v1/pcs/pc-02")).json()
    assert pc["pc"]["text"] == "silent for 14 min"
    assert [board["id"] for board in pc["boards"]] == ["evm-05"]
    assert len(pc["events"]) == 2
    assert [arguments for _, arguments in world.rows.asked] == [
        ("relay/eth-1", 20, 0),
        ("pc/pc-02", 20, 0),
    ]


async def test_current_state_is_told_while_history_cannot_be_read(
    world: World, http: httpx.AsyncClient
) -> None:
    """OPS-1: the page and the API stay up without the database, and say what is missing."""
    world.rows.trouble = "the disk is full"
    board = (await http.get("/api/v1/boards/evm-01")).json()
    assert board["board"]["verdict"] == "alive"
    assert board["events"] is None
    events = await http.get("/api/v1/events")
    assert (events.status_code, events.json()) == (
        503,
        {"error": "history cannot be read: the disk is full"},
    )
    page = await http.get("/")
    assert page.status_code == 200
    assert "The history cannot be read" in page.text
    assert "J721E_EVM #1" in page.text


@pytest.mark.parametrize(
    ("path", "question", "arguments"),
    [
        ("/api/v1/events", "events", (None, 100, 0)),
        ("/api/v1/events?subject=board/evm-07&limit=5", "events", ("board/evm-07", 5, 0)),
        ("/api/v1/events?limit=999999", "events", (None, 1000, 0)),
        ("/api/v1/events?limit=-3", "events", (None, 1, 0)),
        ("/api/v1/events?hours=2", "events", (None, 100, int((shown.NOW - 7200) * 1e6))),
        ("/api/v1/commands?board=evm-07", "commands", ("board/evm-07", 100)),
        ("/api/v1/boots?board=evm-07&limit=2", "boots", ("evm-07", 2)),
        ("/api/v1/boards/evm-02/boots?limit=5", "boots", ("evm-02", 5)),
        (
            "/api/v1/boards/evm-04/power?hours=2",
            "port_history",
            ([("eth-1", 4), ("pdu-1", 12)], int((shown.NOW - 7200) * 1e6), 1000),
        ),
        (
            "/api/v1/relays/eth-1/ports/3/history?hours=2",
            "port_history",
            ([("eth-1", 3)], int((shown.NOW - 7200) * 1e6), 1000),
        ),
        ("/api/v1/boards/evm-02/usage?hours=2", "usage", ("evm-02", int((shown.NOW - 7200) * 1e6), 1000)),
        ("/api/v1/losses", "losses", 100),
        ("/api/v1/dead-letters?limit=7", "dead_letters", 7),
        ("/api/v1/counts", "counts", None),
        ("/api/v1/pcs/pc-01/stats?hours=2", "host_history", ("pc-01", int((shown.NOW - 7200) * 1e6))),
        ("/api/v1/pcs/pc-01/stats?hours=1e9", "host_history", ("pc-01", int((shown.NOW - 720 * 3600) * 1e6))),
    ],
)
async def test_questions_reach_the_store_within_bounds(
    world: World, http: httpx.AsyncClient, path: str, question: str, arguments: Any
) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200
    assert world.rows.asked == [(question, arguments)]


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/api/v1/boards/evm-99", 404, 'there is no board "evm-99"'),
        ("/api/v1/pcs/nobody/stats", 404, 'there is no test PC "nobody"'),
        ("/api/v1/events?limit=many", 400, 'limit must be a number, not "many"'),
        ("/api/v1/pcs/pc-01/stats?hours=nan", 400, "hours must be a number"),
        ("/admin.php", 404, "there is nothing at /admin.php; /api/v1/openapi.json lists what there is"),
        ("/static/../page.py", 404, None),
    ],
)
async def test_refusals_are_in_words(
    http: httpx.AsyncClient, path: str, status: int, sentence: str | None
) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    assert sentence in {None, answer.json()["error"]}


async def test_nothing_can_be_changed(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1/fleet", json={})
    assert answer.status_code == 405
    assert "use GET" in answer.json()["error"]


async def test_a_fault_of_our_own_is_answered_in_words(world: World, http: httpx.AsyncClient) -> None:
    world.fleet.current = None  # type: ignore[assignment]
    answer = await http.get("/api/v1/boards/evm-01")
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the collector failed to answer; its log says why"},
    )


async def test_readyz_names_each_component(world: World, http: httpx.AsyncClient) -> None:
    """OPS-1: what does not work is named, and gone when it works again."""
    assert (await http.get("/readyz")).status_code == 200
    world.health.set(STORE, ok=False, text="the disk is full")
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    body = answer.json()
    assert body["ready"] is False
    assert body["components"]["store"] == {"ok": False, "text": "the disk is full"}
    assert body["components"]["broker"]["ok"] is True
    assert "the disk is full" in body["banner"]
    assert (await http.get("/healthz")).json() == {"alive": True}
    world.health.set(STORE, ok=True, text="SQLite")
    assert (await http.get("/readyz")).status_code == 200


async def test_metrics_are_in_the_text_format(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text;version=nonsense"})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'boardherd_agent_up{pc="pc-01"} 1.0' in answer.text


async def test_openapi_lists_every_route(world: World, http: httpx.AsyncClient) -> None:
    document = (await http.get("/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {route.path for route in world.app().routes if isinstance(route, Route)}
    fleet = document["paths"]["/api/v1/fleet"]["get"]["responses"]["200"]["content"]["application/json"]
    assert fleet["schema"] == {"$ref": "#/components/schemas/FleetView"}
    identifiers = [path["get"]["operationId"] for path in document["paths"].values()]
    assert len(set(identifiers)) == len(identifiers)
    limit = document["paths"]["/api/v1/events"]["get"]["parameters"][1]
    assert limit["schema"] == {"type": "integer", "default": 100, "minimum": 1, "maximum": 1000}


async def test_every_reference_of_openapi_is_defined(http: httpx.AsyncClient) -> None:
    document = (await http.get("/api/v1/openapi.json")).json()

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()

    defined = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= defined


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/fleet", "/static/page.js", "/nothing"])
async def test_a_browser_may_load_nothing_from_elsewhere(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


async def test_without_the_token_nothing_is_told_but_health(world: World) -> None:
    async with world.client(TOKEN) as http:
        assert (await http.get("/healthz")).status_code == 200
        for path in ("/", "/metrics", "/readyz", "/api/v1/fleet", "/events", "/static/page.js", "/nothing"):
            answer = await http.get(path)
            assert answer.status_code == 401
            assert "a token is required" in answer.json()["error"]
            assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer", 401),
        (TOKEN, 401),
        (f"Digest {TOKEN}", 401),
        ("Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode(), 401),
        ("Basic !!!", 401),
        ("Basic \xff", 401),
    ],
)
async def test_who_is_let_in(world: World, authorization: str, status: int) -> None:
    async with world.client(TOKEN) as http:
        headers = {"authorization": authorization.encode("latin-1")}
        assert (await http.get("/api/v1/fleet", headers=headers)).status_code == status


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


async def test_hostile_texts_are_escaped_on_the_page(world: World, http: httpx.AsyncClient) -> None:
    """SEC-2: whatever agents and operators write is text, never markup."""
    world.rows.event_rows = [
        row.model_copy(update={"text": HOSTILE, "subject": HOSTILE, "pc": HOSTILE})
        for row in world.rows.event_rows
    ]
    world.rows.command_rows = [
        row.model_copy(
            update={"text": HOSTILE, "operator": HOSTILE, "target": HOSTILE, "on_behalf_of": HOSTILE}
        )
        for row in world.rows.command_rows
    ]
    world.health.set(BROKER, ok=False, text=HOSTILE)
    probe = shown.probe("ssh", text=HOSTILE)
    world.fleet.show(
        shown.fleet(
            site="lab",
            banner=HOSTILE,
            pcs=(shown.pc("pc-01", name=HOSTILE, ip_address=HOSTILE, os_version=HOSTILE, text=HOSTILE),),
            boards=(
                shown.board("evm-01", Verdict.SILENT, name=HOSTILE, platform=HOSTILE, reason=HOSTILE),
                shown.board("evm-02", text=HOSTILE, probes=(probe,), power=(HOSTILE,)),
            ),
            relays=(
                shown.relay(
                    "eth-1",
                    shown.port("eth-1", 1, reason=HOSTILE, switched_by=HOSTILE, switched_at=1),
                    name=HOSTILE,
                    module=HOSTILE,
                    address=HOSTILE,
                ),
            ),
        )
    )
    for path in ("/", "/sections"):
        text = (await http.get(path)).text
        assert "<img src=x" not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert "{{7*7}}" in text
        assert "onerror=alert(1)>" not in text


async def test_an_empty_lab_is_shown_with_what_to_do_next(world: World, http: httpx.AsyncClient) -> None:
    world.fleet.show(shown.fleet(pcs=(), boards=(), relays=()))
    world.rows.event_rows = []
    world.rows.command_rows = []
    text = (await http.get("/")).text
    assert "Add them to <code>lab.toml</code>" in text
    assert "Start <code>boardherd-agent</code>" in text


async def test_unknown_is_never_shown_as_off(world: World, http: httpx.AsyncClient) -> None:
    bare = shown.fleet().boards[0].model_copy(update={"verdict": Verdict.UNKNOWN, "state": None})
    port = shown.port("eth-1", 1).model_copy(update={"state": None})
    world.fleet.show(shown.fleet(boards=(bare,), relays=(shown.relay("eth-1", port),)))
    text = (await http.get("/sections")).text
    assert '<span class="power unknown">UNKNOWN</span>' in text
    assert ">OFF<" not in text
