"""SIGHUP: agent and collector take a new lab.toml in the same process, or stay with the old one and say why."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_shared.command import CommandStep, State
from boardherd_shared.inventory import Inventory
from boardherd_shared.link import BrokerSettings, Link
from boardherd_shared.messages import Hello, decode
from boardherd_shared.topics import Kind, Topics
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.collector import CollectorProcess
from support.collector import retained as retained_json
from support.systemd import NotifySocket

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

LAB = """
site = "{site}"
pc.pc-01 = {{}}
relay.eth-1 = {{ model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = {port}, poll = "200ms" }}
defaults.board = {{ pc = "pc-01", min_off = "2s" }}
board.evm-01 = {{ power = ["eth-1:3"] }}
"""
MORE = 'board.evm-02 = { power = ["eth-1:4"] }\n'


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path) as listener:
        yield listener


def hang_up(process: subprocess.Popen[bytes] | None) -> int:
    """Send SIGHUP, as ``systemctl reload`` does; return the process id."""
    assert process is not None
    process.send_signal(signal.SIGHUP)
    return process.pid


async def hello_with(broker: str, site: str, board: str) -> Hello:
    """Return the introduction of pc-01 once it names ``board``."""
    async with asyncio.timeout(20), Link(BrokerSettings(url=broker), name="onlooker").session() as session:
        await session.subscribe(Topics(site).build(Kind.HELLO, agent="pc-01"))
        async for message in session.messages():
            hello = decode(Hello, message.payload)
            if board in hello.boards:
                return hello
    raise AssertionError(f"nobody has {board}")


async def test_an_agent_takes_a_new_inventory_and_stays_with_the_old_one_when_it_is_wrong(
    mosquitto: Mosquitto, tmp_path: Path, systemd: NotifySocket
) -> None:
    """OPS-4: a bad configuration changes nothing, and the sentence is in the log and in systemd's status."""
    site = "reload"
    async with DevantechModule() as module:
        lab = tmp_path / "lab.toml"
        lab.write_text(LAB.format(site=site, port=module.port))
        agent = AgentProcess(tmp_path, mosquitto.url)
        agent.environment = systemd.environment
        with agent:
            await asyncio.to_thread(systemd.wait_for, "READY=1")
            before = await hello_with(mosquitto.url, site, "evm-01")

            lab.write_text(lab.read_text() + MORE)
            hang_up(agent.process)
            told = await asyncio.to_thread(systemd.wait_for, "RELOADING=1")
            assert int(told.partition("MONOTONIC_USEC=")[2]) > 0
            await asyncio.to_thread(systemd.wait_for, "READY=1")
            after = await hello_with(mosquitto.url, site, "evm-02")
            assert after.inventory == Inventory.read(lab).hash != before.inventory
            assert {info.stream for info in after.streams} == {info.stream for info in before.streams}

            lab.write_text(lab.read_text().replace("eth-1:4", "eth-1:3"))
            hang_up(agent.process)
            await asyncio.to_thread(systemd.wait_for, "RELOADING=1")
            told = await asyncio.to_thread(systemd.wait_for, "READY=1")
            sentence = f"{lab}:7 board.evm-02.power.0: eth-1:3 is also claimed by evm-01 (line 6)"
            assert told.endswith(f"the old one stays in force: {sentence}")
            assert sentence in agent.log.read_text()
            assert (await hello_with(mosquitto.url, site, "evm-02")).session == after.session
            assert agent.stop() == 0
        assert module.transitions == []
        assert "Traceback" not in agent.log.read_text()


async def test_a_cycle_that_is_under_way_ends_by_the_rules_of_a_stop(
    mosquitto: Mosquitto, tmp_path: Path, systemd: NotifySocket
) -> None:
    """CMD-3: past the minimum off time the board is switched on, and what was seen is reported."""
    site, topics = "reload-cycle", Topics("reload-cycle")
    async with DevantechModule() as module:
        (tmp_path / "lab.toml").write_text(LAB.format(site=site, port=module.port))
        agent = AgentProcess(tmp_path, mosquitto.url)
        agent.environment = systemd.environment
        with agent:
            await asyncio.to_thread(systemd.wait_for, "READY=1")
            async with (
                asyncio.timeout(40),
                Link(BrokerSettings(url=mosquitto.url), name="ops1").session() as ops,
            ):
                await ops.subscribe(topics.filter(Kind.RESULT))
                await hello_with(mosquitto.url, site, "evm-01")
                order = topics.build(Kind.COMMAND, agent="pc-01", operator="ops1")
                await ops.publish(order, b'{"action": "on", "board": "evm-01"}')
                steps: list[CommandStep] = []
                async for message in ops.messages():
                    steps.append(decode(CommandStep, message.payload))
                    if steps[-1].phase == "dwell":
                        hang_up(agent.process)
                    if not steps[-1].state.final:
                        continue
                    if steps[-1].id == "cycle":
                        break
                    if steps[-1].state is State.SUCCEEDED:
                        cycle = b'{"action": "cycle", "board": "evm-01", "id": "cycle", "off_time": "60s"}'
                        await ops.publish(order, cycle)
                    else:  # the broker has not told yet who holds the board
                        await asyncio.sleep(0.1)
                        again = {"action": "on", "board": "evm-01", "id": f"on-{len(steps)}"}
                        await ops.publish(order, json.dumps(again).encode())
            assert "dwell" in {step.phase for step in steps}, [step.text for step in steps]
            await asyncio.to_thread(systemd.wait_for, "RELOADING=1")
            await asyncio.to_thread(systemd.wait_for, "READY=1")
            assert steps[-1].state is State.INTERRUPTED, steps[-1]
            assert steps[-1].observed == "on"
            assert [move.energised for move in module.transitions] == [True, False, True]
        assert "Traceback" not in agent.log.read_text()


def test_a_collector_takes_a_new_inventory_and_keeps_what_it_knows(
    mosquitto: Mosquitto, tmp_path: Path, systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPS-4: the page names the new board; a wrong file changes nothing and is told in words."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    lab = tmp_path / "lab.toml"
    with CollectorProcess(tmp_path, mosquitto.url, "reload-collector") as collector:
        systemd.wait_for("READY=1")
        assert boards(collector) == ["evm-07", "evm-08"]

        lab.write_text(lab.read_text() + '[board.evm-09]\npc = "pc-02"\n')
        pid = hang_up(collector.process)
        systemd.wait_for("RELOADING=1")
        systemd.wait_for("READY=1")
        collector.wait_for("readyz", 200)
        assert boards(collector) == ["evm-07", "evm-08", "evm-09"]

        lab.write_text(lab.read_text() + "colour = 1\n")
        hang_up(collector.process)
        told = systemd.wait_for("READY=1")
        assert told.endswith(f"{lab}:20 board.evm-09.colour: is not a known key here")
        collector.wait_for("readyz", 200)
        assert boards(collector) == ["evm-07", "evm-08", "evm-09"]
        assert collector.process is not None
        assert collector.process.pid == pid
    assert "Traceback" not in collector.log.read_text()
    status = asyncio.run(
        retained_json(mosquitto.url, Topics("reload-collector").build(Kind.COLLECTOR_STATUS))
    )
    assert status["state"] == "offline"


def boards(collector: CollectorProcess) -> list[str]:
    return [board["id"] for board in json.loads(collector.get("api/v1/fleet")[1])["boards"]]


def test_hangups_without_end_are_one_reload_after_the_other(
    mosquitto: Mosquitto, tmp_path: Path, systemd: NotifySocket
) -> None:
    """OPS-2: the signal that stops is heard in the middle of them."""
    (tmp_path / "lab.toml").write_text(LAB.format(site="reload-often", port=1))
    agent = AgentProcess(tmp_path, mosquitto.url)
    agent.environment = systemd.environment
    with agent:
        systemd.wait_for("READY=1")
        assert agent.process is not None
        for _ in range(20):
            hang_up(agent.process)
            time.sleep(0.02)
            systemd.drain()
        agent.process.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def test_a_terminal_that_is_closed_ends_what_ran_in_it(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """OPS-2: an agent that was tried by hand does not live on without anybody to see it."""
    (tmp_path / "lab.toml").write_text(LAB.format(site="reload-terminal", port=1))
    agent = AgentProcess(tmp_path, mosquitto.url)
    main, terminal = pty.openpty()
    script = "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "boardherd_agent", "--config", str(tmp_path / "agent.toml")]
    with agent.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *command], stdin=terminal, stderr=log, start_new_session=True
        )
    os.close(terminal)
    try:
        deadline = time.monotonic() + 20
        while "the relay does not answer" not in agent.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.close(main)
        assert process.wait(12) == 0, agent.log.read_text()
        assert "signal=SIGHUP" in agent.log.read_text()
    finally:
        process.kill()
        process.wait()
