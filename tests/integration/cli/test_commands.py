"""Commands and how they end, against a real Mosquitto and an agent played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from boardherd_shared.command import Refusal, State
from support.broker import Mosquitto
from support.played_agent import (
    ACCEPTED,
    CYCLE,
    DONE,
    Agent,
    Done,
    Shell,
    leaving_quietly,
)
from support.ports import free_port, wait_for_port


async def test_a_cycle_ends_with_one_sentence_and_asks_for_what_was_said(agent: Agent, shell: Shell) -> None:
    agent.script = CYCLE
    done = await shell.run(
        "power", "cycle", "evm-07", "--wait-alive=60s", "--off-time", "5s", "--reason", "hung"
    )
    assert done == Done(0, "evm-07: off 5.0 s, console 1.9 s, ssh 9.8 s; alive\n", "")
    [(message, command)] = agent.heard
    assert message.topic.endswith("/boards/evm-07/cmd/ops1")
    assert not message.retain
    assert (command.action, command.board, command.reason) == ("cycle", "evm-07", "hung")
    assert (command.wait_alive, command.off_time, command.valid_for) == (60.0, 5.0, 15.0)
    assert command.sent_at == pytest.approx(time.time(), abs=30)


async def test_json_tells_the_whole_life_once(agent: Agent, shell: Shell) -> None:
    """Every step comes on two topics; it is told once."""
    agent.script = CYCLE
    done = await shell.run("power", "cycle", "evm-07", "--id", "job-7", "--json")
    assert done.code == 0
    life = done.json
    assert (life["id"], life["state"], life["exit_code"]) == ("job-7", "succeeded", 0)
    assert [step.get("phase") or step["state"] for step in life["steps"]] == [
        *("accepted", "off", "dwell", "on", "waiting", "succeeded")
    ]
    assert life["times"] == {"off_s": 5.0, "ssh_s": 9.8}


@pytest.mark.parametrize(
    ("end", "code", "sentence"),
    [
        (
            {"state": State.REFUSED, "code": Refusal.BUSY, "text": "refused: evm-07 is being switched"},
            4,
            "boardherd: refused: evm-07 is being switched\n",
        ),
        (
            {"state": State.FAILED, "text": "evm-07: eth-1 does not answer", "observed": "unknown"},
            1,
            "boardherd: evm-07: eth-1 does not answer\n",
        ),
        (
            {
                "state": State.FAILED,
                "phase": "waiting",
                "observed": "on",
                "text": "evm-07 is on but did not come alive",
            },
            5,
            "boardherd: evm-07 is on but did not come alive\n",
        ),
        (
            {"state": State.INTERRUPTED, "text": "the agent stopped", "observed": "on"},
            1,
            "boardherd: the agent stopped\n",
        ),
    ],
)
async def test_a_bad_end_is_one_sentence_and_its_exit_code(
    agent: Agent, shell: Shell, end: dict[str, Any], code: int, sentence: str
) -> None:
    agent.script = [ACCEPTED, end]
    assert await shell.run("power", "on", "evm-07") == Done(code, "", sentence)


async def test_a_failure_in_json_is_a_document_too(agent: Agent, shell: Shell) -> None:
    agent.script = [{"state": State.REFUSED, "code": Refusal.EXPIRED, "text": "refused: it expired"}]
    done = await shell.run("--json", "power", "off", "evm-07")
    assert (done.code, done.json["exit_code"], done.json["steps"][0]["code"]) == (4, 4, "expired")


async def test_nobody_answering_says_where_the_agent_is(agent: Agent, shell: Shell) -> None:
    """CMD-2: after that the command is no longer valid either."""
    await agent.say_status("offline")
    done = await shell.run("--timeout", "700ms", "power", "cycle", "evm-07")
    assert (done.code, done.out) == (3, "")
    assert "nobody answered within 0.7 s, and the command is no longer valid; pc-01 is offline" in done.err
    assert agent.heard[0][1].valid_for == pytest.approx(0.7)


async def test_nobody_answering_in_json(agent: Agent, shell: Shell) -> None:
    del agent
    done = await shell.run("power", "cycle", "evm-07", "--timeout", "300ms", "--json")
    assert (done.code, done.json["exit_code"], done.json["steps"], done.json["state"]) == (3, 3, [], None)


async def test_a_relay_port_is_switched_at_its_agent(agent: Agent, shell: Shell) -> None:
    agent.script = [{**DONE, "text": "eth-1:3: off"}]
    assert await shell.run("relay", "set", "eth-1:3", "off", "--expect", "on") == Done(
        0, "eth-1:3: off\n", ""
    )
    [(message, command)] = agent.heard
    assert message.topic.endswith("/pc-01/cmd/ops1")
    assert (command.relay, command.port, command.action, command.expect) == ("eth-1", 3, "off", "on")


async def test_an_unknown_board_is_told_without_asking_anybody(agent: Agent, shell: Shell) -> None:
    done = await shell.run("power", "on", "evm-70")
    assert done == Done(2, "", 'boardherd: there is no board "evm-70"; did you mean evm-07?\n')
    assert not agent.heard


async def test_an_unreachable_broker_is_one_sentence(tmp_path: Path) -> None:
    done = await Shell(f"mqtt://127.0.0.1:{free_port()}", "lab", tmp_path).run("power", "on", "evm-07")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("boardherd: the broker mqtt://127.0.0.1:")
    assert done.err.count("\n") == 1


async def test_a_broker_that_dies_while_waiting_is_told_with_what_to_do(
    own_mosquitto: Mosquitto, tmp_path: Path
) -> None:
    shell = Shell(own_mosquitto.url, "lab", tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        agent = Agent(own_mosquitto.url, "lab", [ACCEPTED])
        await stack.enter_async_context(leaving_quietly(agent))
        process = await shell.start("power", "on", "evm-07", "--id", "job-8")
        async with asyncio.timeout(20):
            await agent.began.wait()
            await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
            _, err = await process.communicate()
    assert process.returncode == 3
    assert b"the connection to the broker was lost while waiting" in err
    assert err.endswith(b"learn the outcome with the same command and --id job-8\n")


async def test_mqtt_3_1_1_serves_as_well(tmp_path: Path) -> None:
    """The embedded broker refuses MQTT 5 with reason code 132, and the client falls back."""
    port = free_port()
    broker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "boardherd.embedded_broker", "--port", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.to_thread(wait_for_port, port)
        async with Agent(f"mqtt://127.0.0.1:{port}", "lab", [ACCEPTED, DONE]).at_work() as agent:
            done = await Shell(f"mqtt://127.0.0.1:{port}", None, tmp_path).run("power", "cycle", "evm-07")
            assert (done.code, done.out) == (0, DONE["text"] + "\n")
            assert len(agent.heard) == 1
    finally:
        broker.terminate()
        await broker.wait()


async def test_ctrl_c_leaves_the_command_alone_and_says_so(agent: Agent, shell: Shell) -> None:
    agent.script = [ACCEPTED]
    process = await shell.start("power", "on", "evm-07", "--id", "job-9")
    async with asyncio.timeout(20):
        await agent.began.wait()
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b"boardherd: no longer watching, pc-01 goes on; learn the outcome with --id job-9\n"
