"""Why a board, a PC or a relay is as it is, and the past of a board, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from boardherd_collector.boot_times import usual
from boardherd_collector.stores.answers import BootRow, EventRow
from boardherd_shared.records import BootTimes
from boardherd_shared.why import Why
from support import shown
from unit.collector_web.test_app import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as http:
        yield http


async def test_why_a_board_is_silent_with_its_past(world: World, http: httpx.AsyncClient) -> None:
    words = ("[1.2] VFS: Cannot open root device", "Kernel panic - not syncing: VFS")
    world.rows.event_rows = [
        EventRow(
            at=shown.NOW - 7199, pc="pc-01", event="transition", subject="board/evm-02", text="", words=words
        )
    ]
    answer = await http.get("/api/v1/boards/evm-02/why")
    assert answer.status_code == 200
    why = Why.model_validate(answer.json())
    assert why.lines()[0] == "evm-02  SILENT for 2 h, blame: board"
    assert why.power.startswith("eth-1:2 measured ON 3 s ago, asked ON by ops1")
    assert why.holder.startswith("nobody since ")
    assert answer.json()["try"] == why.try_ != ""
    assert [question for question, _ in world.rows.asked] == ["commands", "boots", "events", "usage"]


async def test_without_history_the_answer_is_made_of_what_is_current(
    world: World, http: httpx.AsyncClient
) -> None:
    """OPS-1: a database that is away takes nothing from the answer but the past."""
    world.rows.trouble = "the disk is full"
    answer = await http.get("/api/v1/boards/evm-02/why")
    assert answer.json()["holder"] == "nobody now"
    assert answer.json()["headline"] == "evm-02  SILENT for 2 h, blame: board"


async def test_why_a_pc_and_a_relay_are_as_they_are(http: httpx.AsyncClient) -> None:
    pc = (await http.get("/api/v1/pcs/pc-02/why")).json()
    assert pc["headline"] == "pc-02  OFFLINE for 14 min: silent for 14 min"
    relay = (await http.get("/api/v1/relays/pdu-1/why")).json()
    assert relay["state"] == "FAULT"
    assert "10.0.5.9 does not answer" in relay["headline"]


@pytest.mark.parametrize("path", ["boards/evm-77", "pcs/pc-77", "relays/eth-77"])
async def test_what_is_not_there_is_said_in_words(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"/api/v1/{path}/why")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there is no ")


async def test_the_boots_of_a_board_come_with_what_is_usual(world: World, http: httpx.AsyncClient) -> None:
    answer = (await http.get("/api/v1/boards/evm-01/boots")).json()
    assert answer["usual"]["ssh_s"] == 19.8
    assert [BootRow.model_validate(row).times.console_s for row in answer["boots"]] == [1.9]


def test_what_is_usual_is_the_median_of_those_that_came_so_far() -> None:
    boots = [
        BootTimes(ping_s=10, login_s=20),
        BootTimes(ping_s=12),
        BootTimes(ping_s=50, slow="ping took 50 s"),
    ]
    assert usual(boots) == BootTimes(ping_s=12, login_s=20)
    assert usual([]) == BootTimes()
