"""``why``, ``show``, ``history`` and ``events`` over a real store, the real web server, and the real command line."""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from boardherd.__main__ import cli
from boardherd_collector.fleet import Fleet
from boardherd_collector.stores.sqlite import SqliteStore
from boardherd_shared.command import State
from boardherd_shared.locks import Lock
from boardherd_shared.records import Blame, BootTimes, Power, ProbeResult, Verdict, Wiring
from integration.test_questions import Lab as OutsideLab
from support import shown
from support.telemetry import LAB, SECOND, board, event, host, lab, received, relay, step

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
WORDS = ("VFS: Cannot open root device", "Kernel panic - not syncing: VFS")
SLOW = "login took 61.0 s, usually 20.0 s"


def past(now: int) -> list[Any]:
    """Return what pc-01 said: evm-07 was used, cycled and hung; evm-08 hangs on the wrong port."""
    used = Lock(id="1" * 32, owner="ci", use="busy", since=now - 3 * HOUR, until=now - HOUR)
    silent = board(
        now,
        Verdict.SILENT,
        blame=Blame.BOARD,
        reason="ping unanswered",
        wiring=Wiring(state="proved", at=now - 2 * HOUR),
        slow=SLOW,
        probes=(ProbeResult(probe="ping", answer="no", at=now - 5 * SECOND, text="no answer within 1 s"),),
    )
    suspect = Wiring(state="suspect", at=now - HOUR, text="evm-07 fell silent in its place")
    boots = [
        BootTimes(console_s=2, login_s=20),
        BootTimes(console_s=2, login_s=20),
        BootTimes(login_s=61, slow=SLOW),
    ]
    return [
        host(now),
        event(now - 3 * HOUR, event="lock", text="locked by ci", lock=used),
        event(now - 2 * HOUR, event="lock", text="released", lock=used, lock_ended="released by ci"),
        *(
            event(now - (3 - number) * HOUR, event="boot", text="booted", boot=boot)
            for number, boot in enumerate(boots)
        ),
        relay(now - 3 * HOUR, Power.OFF, board="evm-07", asked=Power.OFF),
        relay(
            now - 2 * HOUR, board="evm-07", asked=Power.ON, switched_at=now - 2 * HOUR, switched_by="ci",
            proved_at=now - 2 * HOUR,
        ),
        relay(now, board="evm-07", asked=Power.ON, switched_at=now - 2 * HOUR, switched_by="ci", change=False,
              proved_at=now - 2 * HOUR),
        step(State.SUCCEEDED, now - 2 * HOUR, id_="c-1", operator="ci", reason="nightly", observed="on"),
        event(now - 14 * MINUTE, text="evm-07 is silent (was alive)", words=WORDS),
        silent.model_copy(update={"since": now - 14 * MINUTE}),
        board(now, name="evm-08", wiring=suspect),
    ]  # fmt: skip


class Lab(OutsideLab):
    """The same, with the command line in a thread of the test's own process: starting one takes seconds."""

    async def run(self, *args: str) -> str:
        call = functools.partial(CliRunner().invoke, cli, self.command(*args)[3:], env=self.environment)
        result = await asyncio.to_thread(call, prog_name="boardherd")
        assert result.exit_code == 0, result.stderr
        return result.stdout


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Lab]:
    now = round(time.time() * SECOND)
    inventory = lab(LAB.replace('[board.evm-08]\npc = "pc-02"', '[board.evm-08]\npc = "pc-01"'))
    async with SqliteStore(tmp_path / "history.db") as store:
        await store.sync_inventory(inventory, now)
        await store.commit([received(1, *past(now), received_at=now)])
        fleet = Fleet(inventory)
        fleet.restore(await store.snapshot())
        site = shown.Site(fleet=fleet, store=store)
        async with site, httpx.AsyncClient(trust_env=False, base_url=site.url) as http:
            yield Lab(site.url, http, store, tmp_path)


async def test_why_a_board_hangs_in_five_lines(place: Lab) -> None:
    lines = (await place.run("why", "J721E_EVM #7")).splitlines()
    assert len(lines) == 5
    assert lines[0] == "evm-07  SILENT for 14 min, blame: board"
    assert lines[1].startswith("  power    eth-1:3 measured ON ")
    assert "asked ON by ci " in lines[1]
    assert lines[1].endswith("(cycle, succeeded), wiring proved 2 h ago")
    assert lines[2].startswith("  evidence ping no answer (")
    assert 'console: last words "Kernel panic - not syncing: VFS" 14 min ' in lines[2]
    assert lines[2].endswith(f"slow boot: {SLOW}")
    assert lines[3].startswith("  holder   nobody since ")
    assert lines[4] == "  try      boardherd power cycle evm-07 --wait-alive"


async def test_the_command_line_and_the_api_say_the_same(place: Lab) -> None:
    said, told = await place.json("why", "evm-08"), await place.ask("boards/evm-08/why")
    assert said["try"] == told["try"]
    assert said["try"].startswith("boardherd relay trace eth-1 (lock its boards first); ")
    assert "wiring SUSPECT since " in said["power"]
    assert said["blame"] == "nobody"


async def test_why_a_pc_and_a_relay(place: Lab) -> None:
    assert (await place.run("why", "pc-01")).startswith(
        "pc-01  ONLINE\n  boards   1 silent, 1 alive (evm-07)\n"
    )
    assert "3 ON evm-07" in await place.run("why", "eth-1")


async def test_all_that_is_not_alive(place: Lab) -> None:
    heading, row = (await place.run("why")).splitlines()
    assert heading.split() == ["WHAT", "STATE", "FOR", "BLAME", "WHY"]
    assert row.split()[:3] == ["evm-07", "●", "silent"]
    assert [cause["subject"] for cause in await place.json("why")] == ["evm-07"]
    assert await place.ask("why") == await place.json("why")


async def test_show_tells_wiring_boots_and_uses(place: Lab) -> None:
    text = await place.run("show", "evm-07")
    for words in (
        "wiring     proved 2 h ago",
        f"slow boot  {SLOW}",
        "boots",
        "uses",
        "probes",
        'last words "Kernel panic',
    ):
        assert words in text, text
    answer = await place.json("show", "eth-1:3")
    assert answer["port"]["state"]["proved_at"]
    assert answer["switches"][0]["operator"] == "ci"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("history evm-07", ["silent"]),
        ("history verdicts evm-07", ["silent"]),
        ("history power evm-07", ["OFF", "ON"]),
        ("history power eth-1:3", ["OFF", "ON"]),
        ("history eth-1:3", ["cycle", "ci"]),
        ("history commands evm-07", ["cycle", "ci"]),
        ("history boots evm-07", ["61.0 s", SLOW, "usually", "20.0 s"]),
        ("history usage evm-07", ["ci", "busy", "60 min"]),
        ("history events evm-07", ["locked by ci", 'last words "Kernel panic - not syncing: VFS"']),
        ("history events pc-01", ["evm-07 is silent"]),
        ("history pc-01 --step raw", ["HEALTHY"]),
    ],
)
async def test_every_past_is_one_command(place: Lab, words: str, expected: list[str]) -> None:
    text = await place.run(*words.split())
    assert all(word in text for word in expected), text


async def test_pasts_as_json(place: Lab) -> None:
    boots = await place.json("history", "boots", "evm-07")
    assert boots["usual"]["login_s"] == 20
    assert [row["times"].get("slow") for row in boots["boots"]] == [None, None, SLOW]
    assert await place.ask("boards/evm-07/power?hours=24") == await place.json("history", "power", "evm-07")
    (use,) = await place.json("history", "usage", "evm-07")
    assert (use["who"], use["ended_at"] - use["started_at"]) == ("ci", pytest.approx(3600))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("history moods evm-07", 'there is no history of "moods"; there is verdicts, power'),
        ("history boots eth-1:3", "of eth-1 there is no history of boots; there is commands, power, events"),
        ("history boots evm-07 evm-08", "name one thing"),
        ("why evm-77", 'there is no board, PC or relay "evm-77"; did you mean evm-07'),
        ("events --board evm-07 --subject x", "say --board or --subject, not both"),
    ],
)
async def test_what_makes_no_sense_is_one_sentence(place: Lab, words: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        await place.run(*words.split())


async def test_events_by_subject_and_since(place: Lab) -> None:
    found = await place.json("events", "--subject", "board/evm-07", "--since", "20m")
    assert [row["text"] for row in found] == ["evm-07 is silent (was alive)"]
    assert found[0]["words"] == list(WORDS)
    assert len(await place.json("events", "--board", "evm-07", "--limit", "2")) == 2


async def test_events_are_followed_until_ctrl_c(place: Lab) -> None:
    process = await asyncio.create_subprocess_exec(
        *place.command("events", "--follow", "--json", "--limit", "1"),
        stdout=asyncio.subprocess.PIPE,
        env=place.environment,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        first = json.loads(await process.stdout.readline())
        now = round(time.time() * SECOND)
        await place.store.commit([received(2, event(now, text="evm-07 is booting"), received_at=now)])
        second = json.loads(await process.stdout.readline())
        while "booting" not in second["text"]:
            second = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert first["text"]
    assert second["text"] == "evm-07 is booting"
