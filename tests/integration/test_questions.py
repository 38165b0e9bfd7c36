"""The questions people ask: one call to the API and one command each, over a real store and the real web server."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from boardherd_collector.fleet import Fleet
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from boardherd_shared.records import Blame, Verdict
from support import shown
from support.ports import free_port
from support.telemetry import LAB, SECOND, board, host, lab, received, relay, step

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND


@dataclass
class Lab:
    """A collector's web side over a store with a past, and the command line beside it."""

    url: str
    http: httpx.AsyncClient
    store: SqliteStore
    directory: Path

    async def ask(self, path: str) -> Any:
        answer = await self.http.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARDHERD_")}
        return kept | {"XDG_CONFIG_HOME": str(self.directory), "XDG_RUNTIME_DIR": str(self.directory)}

    def command(self, *args: str) -> list[str]:
        broker = f"mqtt://127.0.0.1:{free_port()}"
        return [sys.executable, "-m", "boardherd", "--api", self.url, "--broker", broker, *args]

    async def run(self, *args: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.command(*args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def json(self, *args: str) -> Any:
        return json.loads(await self.run(*args, "--json"))


def past(now: int) -> list[Any]:
    """Return what pc-01 said in the last hours."""
    hours = [
        host(
            now - hour * HOUR, disk_used=(400 - hour) * 10**9, disk_free=100 * 10**9, cpu_percent=float(hour)
        )
        for hour in range(5)
    ]
    silent = board(now, Verdict.SILENT, name="evm-08", blame=Blame.BOARD, reason="ssh closed")
    return [
        *hours,
        *[board(now - minute * MINUTE, change=minute == 59) for minute in range(60)],
        silent.model_copy(update={"since": now - 2 * HOUR}),
        relay(now, board="evm-07"),
        step(
            State.SUCCEEDED,
            now - HOUR,
            id_="c-1",
            operator="ci",
            on_behalf_of="maria",
            reason="nightly",
            observed="on",
        ),
        step(State.FAILED, now - MINUTE, id_="c-2", operator="ops1", reason="hung"),
        step(State.SUCCEEDED, now, id_="c-3", action="off", target="relay/eth-1/3", operator="ops2"),
    ]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Lab]:
    now = round(time.time() * SECOND)
    inventory = lab(LAB.replace('[board.evm-08]\npc = "pc-02"', '[board.evm-08]\npc = "pc-01"'))
    async with SqliteStore(tmp_path / "history.db") as store:
        await store.sync_inventory(inventory, now)
        await store.commit([received(1, *past(now), received_at=now)])
        while (await store.roll_up(0, 1.0)).left:
            pass
        fleet = Fleet(inventory)
        fleet.restore(await store.snapshot())
        site = shown.Site(fleet=fleet, store=store)
        async with site, httpx.AsyncClient(trust_env=False, base_url=site.url) as http:
            yield Lab(site.url, http, store, tmp_path)


async def lock(place: Lab, purpose: str) -> None:
    until = round((time.time() + 3600) * SECOND)
    await place.store._writer.run(
        lambda db: db.execute(
            "UPDATE boards SET lock_id = 'l-1', lock_owner = 'maria', lock_purpose = ?, lock_deadline = ?"
            " WHERE id = 'evm-07'",
            (purpose, until),
        )
    )


async def test_free_boards_with_a_capability_on_a_platform(place: Lab) -> None:
    path = "boards?available=true&capability=CAMERA&capability=CMD&platform=j721e"
    (board,) = await place.ask(path)
    assert (board["id"], board["can_execute_test"], board["capabilities"]) == (
        "evm-07",
        True,
        ["CAMERA", "CMD"],
    )
    assert await place.ask(path + "&capability=SOUND") == []
    assert await place.ask("boards?available=true&platform=am62x") == []


async def test_locked_boards_by_whom_and_until_when(place: Lab) -> None:
    assert await place.ask("boards?locked=true") == []
    await lock(place, "camera test")
    (board,) = await place.ask("boards?locked=true")
    assert (board["id"], board["lock_owner"]) == ("evm-07", "maria")
    assert board["lock_deadline"] > time.time() + 3000
    heading, row = (await place.run("boards", "--locked")).splitlines()
    assert {"LOCKED", "UNTIL"} <= set(heading.split())
    assert "evm-07" in row
    assert "maria" in row
    assert "camera test" in row


async def test_boards_dead_for_more_than_an_hour_with_the_part_to_blame(place: Lab) -> None:
    (board,) = await place.ask("boards?dead_for=1")
    assert (board["id"], board["blame"], board["reason"]) == ("evm-08", "board", "ssh closed")
    assert await place.ask("boards?dead_for=3") == []
    assert [row["id"] for row in await place.json("boards", "--dead-for", "1h")] == ["evm-08"]
    text = await place.run("boards", "--dead-for", "1h", "--platform", "am62x")
    assert "ssh closed" in text.splitlines()[1]
    assert await place.run("boards", "--dead-for", "3h") == ""


async def test_everything_about_a_board(place: Lab) -> None:
    await lock(place, "busy")
    answer = await place.ask("boards/evm-07")
    assert answer["detail"]["test_farm"] == "HLOS"
    assert answer["detail"]["lock_owner"] == "maria"
    assert [row["id"] for row in answer["commands"]] == ["c-2", "c-1"]
    shown_again = await place.json("show", "J721E_EVM #7")
    for part in ("commands", "events", "boots"):
        assert shown_again[part] == answer[part]
    text = await place.run("show", "evm-07")
    for words in (
        "J721E_EVM #7",
        "HLOS",
        "CAMERA, CMD",
        "maria (busy) until",
        "eth-1:3",
        "hung",
        "ci for maria",
    ):
        assert words in text, text


async def test_everything_about_the_other_things(place: Lab) -> None:
    text = await place.run("show", "pc-01")
    assert "evm-07" in text
    assert "10.0.0.1" in text
    assert "ETH008" in await place.run("show", "eth-1")
    assert "ops2" in await place.run("show", "eth-1:3")


async def test_the_last_hours_of_a_pc(place: Lab) -> None:
    rows = await place.ask("pcs/pc-01/trend?hours=24&step=1h")
    assert [row["samples"] for row in rows] == [1] * 5
    assert rows[0]["gauges"]["cpu_percent"] == {"avg": 4.0, "min": 4.0, "max": 4.0}
    assert await place.ask("pcs/pc-01/trend?hours=24&step=5m") == await place.json(
        "history", "pc-01", "--since", "24h", "--step", "5m"
    )
    assert len((await place.run("history", "pc-01", "--since", "24h")).splitlines()) == 6
    assert len(await place.json("history", "pc-01", "--since", "150m", "--step", "raw")) == 3
    assert len((await place.run("history", "pc-01", "--step", "raw")).splitlines()) == 6


async def test_the_history_of_a_board(place: Lab) -> None:
    rows = await place.ask("boards/evm-07/history?hours=2")
    assert [(row["verdict"], row["change"]) for row in rows] == [("alive", True)]
    assert "silent" in await place.run("history", "evm-08")
    assert (await place.json("history", "evm-08"))[0]["blame"] == "board"


async def test_who_switched_a_port_and_why(place: Lab) -> None:
    rows = await place.ask("relays/eth-1/ports/3/switches")
    assert [(row["operator"], row["reason"]) for row in rows] == [
        ("ops2", None),
        ("ops1", "hung"),
        ("ci", "nightly"),
    ]
    assert [row["id"] for row in await place.json("history", "eth-1:3", "--since", "30m")] == ["c-2", "c-3"]
    assert "ci for maria" in await place.run("history", "eth-1:3")


async def test_use_idle_hours_and_cycles_of_each_board(place: Lab) -> None:
    rows = {row["board"]: row for row in await place.ask("report?hours=168")}
    assert (rows["evm-07"]["cycles"], rows["evm-07"]["cycles_succeeded"]) == (2, 1)
    assert rows["evm-07"]["idle_h"] == rows["evm-07"]["alive_h"]
    (one, two) = await place.json("report", "--by", "platform", "--since", "7d")
    assert (one["name"], two["name"], two["success_percent"]) == ("am62x", "j721e", 50.0)
    table = list(csv.DictReader(io.StringIO(await place.run("report", "--csv"))))
    assert [(row["name"], row["cycles"]) for row in table] == [("evm-07", "2"), ("evm-08", "0")]
    assert "50 %" in await place.run("report")


async def test_pcs_whose_disk_fills_within_a_week(place: Lab) -> None:
    (row,) = await place.ask("disks?within=168")
    assert (row["pc"], row["free_gb"]) == ("pc-01", 100.0)
    assert row["gb_per_day"] == pytest.approx(24, rel=0.01)
    assert await place.ask("disks?within=24") == []
    assert "pc-01" in await place.run("pcs", "--disk-full-within", "7d")


async def test_boards_are_summed_up(place: Lab) -> None:
    assert [
        (row["name"], row["boards"], row["available"]) for row in await place.ask("summary?by=platform")
    ] == [
        ("am62x", 1, 0),
        ("j721e", 1, 1),
    ]
    assert [row["name"] for row in await place.ask("summary")] == ["HLOS", "RTOS"]


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("boards?available=maybe", 400, 'available must be true or false, not "maybe"'),
        ("boards?dead_for=nan", 400, "dead_for must be a number"),
        ("pcs/pc-01/trend?step=2h", 400, 'step must be one of 5m, 1h, 1d, not "2h"'),
        ("summary?by=colour", 400, "by must be one of test_farm, platform"),
        ("pcs/pc-77/trend", 404, 'there is no test PC "pc-77"'),
        ("boards/evm-77/history", 404, 'there is no board "evm-77"'),
        ("relays/eth-1/ports/x/switches", 404, 'eth-1 has no port "x"'),
        ("relays/eth-9/ports/1/switches", 404, 'there is no relay "eth-9"'),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_in_words(
    place: Lab, path: str, status: int, sentence: str
) -> None:
    """SEC-2."""
    answer = await place.http.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


async def test_the_document_describes_them(place: Lab) -> None:
    paths = (await place.ask("openapi.json"))["paths"]
    parameters = {it["name"]: it["schema"] for it in paths["/api/v1/boards"]["get"]["parameters"]}
    assert parameters["capability"] == {"type": "array", "items": {"type": "string"}}
    assert parameters["locked"] == {"type": "boolean"}
    (step,) = [it for it in paths["/api/v1/pcs/{id}/trend"]["get"]["parameters"] if it["name"] == "step"]
    assert step["schema"] == {"type": "string", "enum": ["5m", "1h", "1d"], "default": "5m"}
