"""The agent as a process: bad configuration, a broker and a relay that are away, garbage, signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.devices import drivers
from boardherd_shared.command import CommandStep, State
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Hello, PortState, Status, decode
from boardherd_shared.records import Power
from boardherd_shared.topics import Kind, Topics, parse
from support.broker import Mosquitto
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

AGENT = [sys.executable, "-m", "boardherd_agent", "--config"]
LAB = """
site = "{site}"
pc.pc-01 = {{}}
relay.eth-1 = {{ model_type = "ETH_008_B", address = "127.0.0.1", tcp_port = {port}, poll = "200ms" }}
[board.evm-01]
pc = "pc-01"
power = ["eth-1:3"]
"""


def write(directory: Path, *, broker: str, relay_port: int, site: str) -> Path:
    (directory / "lab.toml").write_text(LAB.format(site=site, port=relay_port))
    config = directory / "agent.toml"
    config.write_text(
        f'pc = "pc-01"\ninventory = "{directory}/lab.toml"\nstate_dir = "{directory}/state"\n'
        f'socket = "{directory}/agent.sock"\n'
        f'[broker]\nurl = "{broker}"\n[sampling]\ninterval = "500ms"\n'
    )
    return config


class Agent:
    """A running agent process."""

    def __init__(self, config: Path) -> None:
        self.log = config.with_name("agent.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*AGENT, str(config)], stderr=log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(12)

    def says(self, text: str, timeout: float = 15) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if text in self.log.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f'the log does not say "{text}":\n{self.log.read_text()}')


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    running: list[Agent] = []
    yield running
    for agent in running:
        agent.process.kill()
        agent.process.wait()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: (d / "agent.toml").unlink(), "{d}/agent.toml: cannot be read: No such file or directory"),
        (lambda d: (d / "lab.toml").unlink(), "{d}/lab.toml: cannot be read: No such file or directory"),
        (
            lambda d: append(d / "agent.toml", "colour = 1\n"),
            "{d}/agent.toml:9 sampling.colour: is not a known key here",
        ),
        (
            lambda d: append(d / "agent.toml", '[spool]\nmax_bytes = "much"\n'),
            '{d}/agent.toml:10 spool.max_bytes: "much" is no size; write for example "512M" or "1G"',
        ),
        (
            lambda d: append(d / "lab.toml", '[board.evm-02]\npower = ["eth-1:3"]\n'),
            "{d}/lab.toml:9 board.evm-02.power.0: eth-1:3 is also claimed by evm-01 (line 7)",
        ),
        (
            lambda d: replace(d / "lab.toml", 'model_type = "ETH_008_B"', 'kind = "toaster"'),
            '{d}/lab.toml:4 relay.eth-1: there is no driver "toaster"; known kinds are '
            + ", ".join(drivers.kinds()),
        ),
        (
            lambda d: replace(d / "lab.toml", "poll =", "pol ="),
            '{d}/lab.toml:4 relay.eth-1.pol: is not a known key here; did you mean "poll"?',
        ),
    ],
    ids=[
        "no-config",
        "no-inventory",
        "unknown-key",
        "wrong-type",
        "claimed-twice",
        "no-driver",
        "driver-key",
    ],
)
def test_a_bad_configuration_is_refused_before_anything_runs(
    tmp_path: Path, change: object, sentence: str
) -> None:
    """OPS-4: in words that name file, line and key, with exit code 78."""
    config = write(tmp_path, broker="mqtt://127.0.0.1:1", relay_port=1, site="lab")
    change(tmp_path)  # type: ignore[operator]
    for flags in ([], ["--check-config"]):
        run = subprocess.run(
            [*AGENT, str(config), *flags], capture_output=True, text=True, check=False, timeout=30
        )
        assert (run.returncode, run.stdout) == (78, "")
        assert run.stderr == sentence.format(d=tmp_path) + "\n"
    assert not (tmp_path / "state").exists()


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_good_configuration_is_said_so(tmp_path: Path) -> None:
    config = write(tmp_path, broker="mqtt://127.0.0.1:1", relay_port=1, site="lab")
    run = subprocess.run([*AGENT, str(config), "--check-config"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, f"{config} is in order: pc-01 controls 1 boards\n")


def test_without_broker_and_relay_the_agent_goes_on_and_says_so_once(
    tmp_path: Path, agents: list[Agent]
) -> None:
    """OPS-1, OPS-2."""
    config = write(tmp_path, broker=f"mqtt://127.0.0.1:{free_port()}", relay_port=free_port(), site="lab")
    agents.append(agent := Agent(config))
    agent.says("the broker is away, trying again")
    agent.says("the relay does not answer properly")
    time.sleep(2)
    log = agent.log.read_text()
    assert log.count("the broker is away") == 1
    assert log.count("the relay does not answer properly") == 1
    assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def test_a_second_agent_on_the_same_state_is_refused(tmp_path: Path, agents: list[Agent]) -> None:
    """DEL-1 (D27): one sentence that names the place; two writers would give out each number twice."""
    config = write(tmp_path, broker=f"mqtt://127.0.0.1:{free_port()}", relay_port=free_port(), site="lab")
    agents.append(first := Agent(config))
    first.says("the broker is away")
    second = subprocess.run([*AGENT, str(config)], capture_output=True, text=True, check=False, timeout=30)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1
    assert str(tmp_path) in second.stderr


async def test_garbage_on_every_topic_moves_nothing_and_ends_nothing(
    mosquitto: Mosquitto, tmp_path: Path, agents: list[Agent]
) -> None:
    """SEC-2, CMD-2: no payload crashes the agent or moves a relay."""
    site = "garbage"
    topics = Topics(site)
    garbage = [
        b"",
        b"\x00\xff",
        b"[" * 50_000,
        b'{"action":"off","colour":1}',
        b'{"v":9}',
        b"x" * 300_000,
        b'{"board":"evm-01"}',
    ]
    names = {"agent": "pc-01", "board": "evm-01", "relay": "eth-1", "port": 3, "operator": "ops1", "id": "x"}
    async with DevantechModule() as module:
        config = write(tmp_path, broker=mosquitto.url, relay_port=module.port, site=site)
        agents.append(agent := Agent(config))
        await asyncio.to_thread(agent.says, "the relay answers")
        async with Link(BrokerSettings(url=mosquitto.url), name="attacker").session() as session:
            for payload in garbage:
                for kind in Kind:
                    await session.publish(topics.build(kind, **names), payload, retain=kind is Kind.COMMAND)
            await session.publish(topics.build(Kind.COMMAND, **names), b"", retain=True)
            # An honest command is still carried out.
            steps = await command(session, topics, b'{"action":"on","relay":"eth-1","port":3,"id":"honest"}')
        assert steps[-1].state is State.SUCCEEDED
        assert [(move.port, move.energised) for move in module.transitions] == [(3, True)]
    assert await asyncio.to_thread(agent.stop) == 0
    assert "Traceback" not in agent.log.read_text()


async def command(session: Session, topics: Topics, payload: bytes) -> list[CommandStep]:
    """Send a command and return its steps."""
    await session.subscribe(topics.filter(Kind.RESULT, id="honest"))
    await session.publish(topics.build(Kind.COMMAND, agent="pc-01", operator="ops1"), payload)
    steps: list[CommandStep] = []
    async with asyncio.timeout(15):
        async for message in session.messages():
            steps.append(decode(CommandStep, message.payload))
            if steps[-1].final:
                break
    return steps


async def test_status_hello_and_states_are_retained_and_told_at_the_end(
    mosquitto: Mosquitto, tmp_path: Path, agents: list[Agent]
) -> None:
    """What operators see without a collector: presence, introduction, ports; a clean stop and a crash differ."""
    site = "presence"
    async with DevantechModule() as module:
        config = write(tmp_path, broker=mosquitto.url, relay_port=module.port, site=site)
        agents.append(agent := Agent(config))
        await asyncio.to_thread(agent.says, "the relay answers")
        async with Link(BrokerSettings(url=mosquitto.url), name="onlooker").session() as session:
            seen = await retained(session, Topics(site), until=Kind.RELAY_STATE)
            assert decode(Status, seen[Kind.STATUS]).state == "online"
            assert decode(Hello, seen[Kind.HELLO]).boards == ("evm-01",)
            assert decode(PortState, seen[Kind.RELAY_STATE]).record.observed is Power.OFF
        for how, words in (
            (signal.SIGTERM, "stopped on purpose"),
            (signal.SIGKILL, "the connection was lost"),
        ):
            await asyncio.to_thread(agent.stop, how)
            async with Link(BrokerSettings(url=mosquitto.url), name="onlooker").session() as session:
                status = decode(
                    Status, (await retained(session, Topics(site), until=Kind.STATUS))[Kind.STATUS]
                )
                assert (status.state, status.text) == ("offline", words)
            agents.append(agent := Agent(config))
            await asyncio.to_thread(agent.says, "the relay answers")


async def retained(session: Session, topics: Topics, until: Kind) -> dict[Kind, bytes]:
    """Return what the broker remembers, up to a message of the kind ``until``."""
    await session.subscribe(
        topics.filter(Kind.STATUS), topics.filter(Kind.HELLO), topics.filter(Kind.RELAY_STATE)
    )
    seen: dict[Kind, bytes] = {}
    async with asyncio.timeout(10):
        async for message in session.messages():
            address = parse(message.topic)
            assert address
            seen[address.kind] = message.payload
            if {until, Kind.STATUS} <= seen.keys():
                break
    return seen


async def test_a_relay_that_goes_away_is_unknown_and_a_command_fails_in_words(
    mosquitto: Mosquitto, tmp_path: Path, agents: list[Agent]
) -> None:
    site = "away"
    topics = Topics(site)
    async with DevantechModule() as module:
        config = write(tmp_path, broker=mosquitto.url, relay_port=module.port, site=site)
        agents.append(agent := Agent(config))
        await asyncio.to_thread(agent.says, "the relay answers")
        await module.dead()
        await asyncio.to_thread(agent.says, "the relay does not answer properly")
        async with Link(BrokerSettings(url=mosquitto.url), name="ops1").session() as session:
            steps = await command(
                session, topics, json.dumps({"action": "on", "board": "evm-01", "id": "honest"}).encode()
            )
            state = decode(
                PortState, (await retained(session, topics, until=Kind.RELAY_STATE))[Kind.RELAY_STATE]
            )
        assert steps[-1].state is State.FAILED
        assert "evm-01" in steps[-1].text
        assert steps[-1].observed == "unknown"
        assert state.record.observed is Power.UNKNOWN
        assert module.transitions == []


async def test_what_is_no_longer_here_is_taken_back(
    mosquitto: Mosquitto, tmp_path: Path, agents: list[Agent]
) -> None:
    """Retained states of a board or a port that has left this PC do not outlive it."""
    topics = Topics("gone")
    old = [
        topics.build(Kind.BOARD_STATE, agent="pc-01", board="evm-99"),
        topics.build(Kind.RELAY_STATE, agent="pc-01", relay="eth-1", port=8),
    ]
    async with (
        DevantechModule() as module,
        Link(BrokerSettings(url=mosquitto.url), name="onlooker").session() as session,
    ):
        for topic in old:
            await session.publish(topic, b"{}", retain=True)
        agents.append(Agent(write(tmp_path, broker=mosquitto.url, relay_port=module.port, site="gone")))
        await session.subscribe(*old)
        cleared: set[str] = set()
        async with asyncio.timeout(15):
            async for message in session.messages():
                if not message.payload:
                    cleared.add(message.topic)
                if cleared == set(old):
                    break


async def test_two_agents_of_one_name_are_told_and_do_not_fight(
    mosquitto: Mosquitto, tmp_path: Path, agents: list[Agent]
) -> None:
    site = "twins"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        agents.append(Agent(write(tmp_path / name, broker=mosquitto.url, relay_port=free_port(), site=site)))
    await asyncio.to_thread(agents[0].says, "another agent claims to be this test PC")
    async with Link(BrokerSettings(url=mosquitto.url), name="onlooker").session() as session:
        await session.subscribe(Topics(site).filter(Kind.STATUS))
        heard = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                async for _ in session.messages():
                    heard += 1
    assert heard <= 2, "they answer each other without end"
