"""What is live: watch, completion, and what a terminal sees."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from boardherd_shared.records import Power, Verdict
from support.broker import Mosquitto
from support.played_agent import (
    CYCLE,
    Agent,
    Shell,
    environment,
    leaving_quietly,
    on_terminal,
)
from support.ports import free_port


async def test_watch_tells_each_change_on_a_line_until_interrupted(agent: Agent, shell: Shell) -> None:
    process = await shell.start("watch", "--json")
    assert process.stdout
    async with asyncio.timeout(20):
        initial = {json.loads(await process.stdout.readline())["subject"] for _ in range(3)}
        assert initial == {"pc/pc-01", "board/evm-07", "relay/eth-1/3"}
        await agent.say_port(Power.ON)
        await agent.say_board(Verdict.SILENT, "silent since 09:20")
        change = json.loads(await process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (change["subject"], change["text"], change["initial"]) == (
        "board/evm-07",
        "silent since 09:20",
        False,
    )
    assert change["detail"]["record"]["verdict"] == "silent"
    assert (process.returncode, err) == (0, b"")


async def test_watch_tells_a_lost_broker_and_goes_on(own_mosquitto: Mosquitto, tmp_path: Path) -> None:
    shell = Shell(own_mosquitto.url, "lab", tmp_path)
    async with leaving_quietly(Agent(own_mosquitto.url, "lab")):
        process = await shell.start("watch", "--json")
        assert process.stdout
        async with asyncio.timeout(40):
            for _ in range(3):
                await process.stdout.readline()
            await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
            lost = json.loads(await process.stdout.readline())
            await asyncio.to_thread(own_mosquitto.start)
            found = json.loads(await process.stdout.readline())
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert (lost["subject"], lost["detail"]) == ("broker", {"connected": False})
    assert (found["subject"], found["detail"]) == ("broker", {"connected": True})
    assert (process.returncode, err) == (0, b"")


async def test_boards_and_ports_are_completed_and_an_absent_lab_is_silent(agent: Agent, shell: Shell) -> None:
    async def completed(words: str, url: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "boardherd"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(shell.directory)
            | {
                "BOARDHERD_BROKER": url,
                "BOARDHERD_API": f"http://127.0.0.1:{free_port()}",
                "BOARDHERD_SITE": agent.site,
            }
            | {"_BOARDHERD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"},
        )
        out, _ = await process.communicate()
        return out.decode().strip()

    assert await completed("boardherd power cycle evm", shell.url) == "plain,evm-07"
    assert await completed("boardherd relay set eth", shell.url) == "plain,eth-1:3"
    assert await completed("boardherd power cycle evm", f"mqtt://127.0.0.1:{free_port()}") == ""


async def test_a_terminal_sees_the_progress(agent: Agent, shell: Shell) -> None:
    agent.script = CYCLE
    code, seen = await on_terminal(shell, "power", "cycle", "evm-07")
    assert code == 0
    places = [seen.index(words) for words in ("switching evm-07 off", "off, waiting 5 s", "for console, ssh")]
    assert places == sorted(places)
    assert seen.rstrip().endswith("evm-07: off 5.0 s, console 1.9 s, ssh 9.8 s; alive")
    assert "\x1b[" in seen


async def test_no_color_is_honoured(agent: Agent, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    del agent
    _, colourful = await on_terminal(shell, "boards")
    assert "\x1b[32m" in colourful
    monkeypatch.setenv("NO_COLOR", "1")
    _, plain = await on_terminal(shell, "boards")
    assert "\x1b[32m" not in plain
    assert "alive" in plain
