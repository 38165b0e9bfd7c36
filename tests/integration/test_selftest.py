"""The selftest of a test PC against a real broker, simulated relays, real ptys and, where it matters, a real agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from boardherd.rack.devices.devantech import DevantechModule
from boardherd_agent.bench import driver_factories
from boardherd_agent.selftest.check import Check, Level
from boardherd_agent.selftest.consoles import consoles
from boardherd_agent.selftest.machine import machine
from boardherd_agent.selftest.rights import OwnRights, rights_of_agent
from boardherd_agent.selftest.run import selftest
from boardherd_agent.settings import AgentSettings
from boardherd_shared.inventory import Inventory
from boardherd_shared.link import BrokerSettings, Link, Session
from boardherd_shared.messages import Ack, Status, encode
from boardherd_shared.topics import Kind, Topics
from support.accounts import COLLECTOR, ROOT, WORD, broker_with, rights_of_pc
from support.agent import AgentProcess
from support.broker import Mosquitto
from support.certificates import self_signed
from support.ports import free_port

LAB = Topics("lab")


@dataclass
class Pc:
    """A test PC on files of its own."""

    directory: Path
    broker: str

    def settings(self, **more: Any) -> AgentSettings:
        (self.directory / "state").mkdir(exist_ok=True)
        broker = {"url": self.broker, "username": "pc-01", "password": WORD} | more.pop("broker", {})
        return AgentSettings.model_validate(
            {
                "pc": "pc-01",
                "inventory": self.directory / "lab.toml",
                "state_dir": self.directory / "state",
                "socket": self.directory / "agent.sock",
                "broker": broker,
                "spool": {"max_bytes": "8M"},
                **more,
            }
        )

    def inventory(self, text: str = "") -> Inventory:
        (self.directory / "lab.toml").write_text(f'site = "lab"\npc.pc-01 = {{}}\n{text}\n')
        return Inventory.read(self.directory / "lab.toml")

    async def selftest(self, text: str = "", **more: Any) -> dict[str, Check]:
        inventory = self.inventory(text)
        factories = driver_factories(inventory, "pc-01", [])
        return {check.name: check for check in await selftest(self.settings(**more), inventory, factories)}


@pytest.fixture
def pc(tmp_path: Path, mosquitto: Mosquitto) -> Pc:
    return Pc(tmp_path, mosquitto.url)


@contextlib.contextmanager
def rights(directory: Path, accounts: Mapping[str, Sequence[str]]) -> Iterator[Pc]:
    with broker_with(directory, accounts) as broker:
        yield Pc(directory, broker.url)


@contextlib.asynccontextmanager
async def collector(broker: str) -> AsyncIterator[Session]:
    """The collector's voice at the broker."""
    settings = BrokerSettings.model_validate({"url": broker, "username": "collector", "password": WORD})
    async with Link(settings, name="collector").session() as session:
        status = Status(state="online", session="0" * 16, at=time.time())
        await session.publish(LAB.build(Kind.COLLECTOR_STATUS), encode(status), retain=True)
        yield session


def bad(checks: Mapping[str, Check]) -> dict[str, Level]:
    """What is not well, but for what depends on the machine that the tests run on."""
    return {
        name: check.level
        for name, check in checks.items()
        if check.level is not Level.OK and name not in {"icmp", "clock", "user"}
    }


async def test_a_test_pc_in_order_passes(tmp_path: Path) -> None:
    """SEC-1 is looked at where it is lived: what the account may not do is tried, and refused."""
    accounts = {"pc-01": rights_of_pc("pc-01", ["evm-07"]), "collector": COLLECTOR}
    with rights(tmp_path, accounts) as pc:
        async with DevantechModule() as module, collector(pc.broker):
            module.contacts.set(3, True)
            checks = await pc.selftest(wired(module))
    assert bad(checks) == {}
    assert checks["relay eth-1"].text == "ETH008 hardware 2 firmware 28: 8 ports, 1 on"
    assert checks["own topics"].text == "what this test PC says is let through, and comes back"
    assert checks["foreign topics"].text == "the account cannot speak for others"
    assert checks["collector"].text == "the collector is online"
    assert "as pc-01, with MQTT 5" in checks["broker"].text


def wired(module: DevantechModule, *, port: int = 3) -> str:
    return (
        f'relay.eth-1 = {{ kind = "devantech", address = "{module.host}", tcp_port = {module.port} }}\n'
        f'board.evm-07 = {{ pc = "pc-01", power = ["eth-1:{port}"] }}'
    )


async def test_relays_are_read_and_nothing_else(pc: Pc) -> None:
    async with DevantechModule() as module:
        module.contacts.set(2, True)
        before = list(module.transitions)
        await pc.selftest(wired(module))
        assert set(module.commands) <= {b"\x10", b"\x24", b"\x77"}
        assert list(module.transitions) == before
        assert module.connections_max == 1


@pytest.mark.parametrize(
    ("port", "mac", "level", "text"),
    [
        (3, "00:04:A3:00:00:01", Level.OK, "8 ports"),
        (3, "00:04:A3:00:00:02", Level.WARN, "lab.toml says 00:04:A3:00:00:02"),
    ],
)
async def test_another_module_than_lab_toml_says_is_noticed(
    pc: Pc, port: int, mac: str, level: Level, text: str
) -> None:
    async with DevantechModule() as module:
        stanza = wired(module, port=port).replace("kind =", f'mac = "{mac}", kind =')
        check = (await pc.selftest(stanza))["relay eth-1"]
        assert (check.level, text in check.text) == (level, True)


async def test_a_port_that_the_module_has_not_got_is_named_with_its_board(pc: Pc) -> None:
    async with DevantechModule(module_id=18) as module:
        check = (await pc.selftest(wired(module)))["relay eth-1"]
    assert check.level is Level.FAIL
    assert "says nothing of port 3 of evm-07" in check.text


async def test_a_dead_relay_is_told_with_what_to_do(pc: Pc) -> None:
    stanza = (
        f'relay.eth-1 = {{ kind = "devantech", address = "127.0.0.1", tcp_port = {free_port()} }}\n'
        'board.evm-07 = { pc = "pc-01", power = ["eth-1:1"] }'
    )
    check = (await pc.selftest(stanza))["relay eth-1"]
    assert check.level is Level.FAIL
    assert "boardherd discover --network 127.0.0.1" in check.remedy


async def test_an_account_that_may_do_everything_fails(tmp_path: Path) -> None:
    """SEC-1: one "topic #" for everybody, as beginners write it."""
    with rights(tmp_path, {"pc-01": ["readwrite #"]}) as pc:
        check = (await pc.selftest())["foreign topics"]
    assert check.level is Level.FAIL
    assert check.text == "the account may acknowledge and command in the name of others"
    assert "docs/install.md" in check.remedy


async def test_an_account_with_the_rights_of_another_pc_fails(tmp_path: Path) -> None:
    with rights(tmp_path, {"pc-01": rights_of_pc("pc-02")}) as pc:
        checks = await pc.selftest()
    assert bad(checks)["own topics"] is Level.FAIL
    assert "is the account named like the test PC, pc-01?" in checks["own topics"].remedy


async def test_what_may_be_written_and_not_read_fails(tmp_path: Path) -> None:
    """Mosquitto grants every subscription and then delivers nothing; only the echo tells."""
    lines = [line.replace("readwrite", "write") for line in rights_of_pc("pc-01")]
    with rights(tmp_path, {"pc-01": lines}) as pc:
        checks = await pc.selftest()
    assert checks["subscriptions"].level is Level.OK
    assert checks["own topics"].level is Level.FAIL
    assert "does not come back" in checks["own topics"].text


async def test_a_broker_without_accounts_is_a_warning(pc: Pc) -> None:
    checks = await pc.selftest(broker={"username": None, "password": None})
    assert bad(checks) == {
        "broker": Level.WARN,
        "foreign topics": Level.WARN,
        "collector": Level.WARN,
        "inventory": Level.WARN,
    }


async def test_a_wrong_password_is_said(tmp_path: Path) -> None:
    with rights(tmp_path, {"pc-01": rights_of_pc("pc-01")}) as pc:
        checks = await pc.selftest(broker={"password": "pear"})
    assert checks["broker"].level is Level.FAIL
    assert "check user name and password" in checks["broker"].text


async def test_nothing_that_is_said_is_kept(tmp_path: Path) -> None:
    """Afterwards the broker retains what it retained before, and a status was only repeated."""
    accounts = {"pc-01": rights_of_pc("pc-01"), "collector": COLLECTOR}
    status = encode(Status(state="online", session="1" * 16, at=1.0, text="online"))
    with rights(tmp_path, accounts) as pc:
        async with collector(pc.broker) as session:
            await session.publish(LAB.build(Kind.STATUS, agent="pc-01"), status, retain=True)
            await session.subscribe(f"{ROOT}/#")
            await pc.selftest()
            await session.publish(f"{ROOT}/end", b"")
            seen = [(it.topic, it.payload, it.retain) async for it in until_end(session)]
            later = await retained(pc.broker)
    assert later == {
        LAB.build(Kind.STATUS, agent="pc-01"): status,
        LAB.build(Kind.COLLECTOR_STATUS): later[LAB.build(Kind.COLLECTOR_STATUS)],
    }
    assert {(topic, payload) for topic, payload, retain in seen if not retain} == {
        (f"{ROOT}/pc-01/state/selftest", b"selftest"),
        (LAB.build(Kind.STATUS, agent="pc-01"), status),
    }


async def until_end(session: Session) -> AsyncIterator[Any]:
    messages = session.messages()
    async with asyncio.timeout(10), contextlib.aclosing(messages):  # type: ignore[type-var]
        async for message in messages:
            if message.topic.endswith("/end"):
                return
            yield message


async def retained(broker: str) -> dict[str, bytes]:
    settings = BrokerSettings.model_validate({"url": broker, "username": "collector", "password": WORD})
    async with Link(settings, name="spy").session() as spy:
        await spy.subscribe(f"{ROOT}/#")
        await spy.publish(f"{ROOT}/end", b"")
        return {it.topic: it.payload async for it in until_end(spy)}


async def test_the_clock_is_compared_with_what_the_collector_says(tmp_path: Path) -> None:
    """The acknowledgement is meant for the agent that runs; the selftest overhears it."""
    accounts = {"pc-01": rights_of_pc("pc-01"), "collector": COLLECTOR}
    with rights(tmp_path, accounts) as pc:
        server = await asyncio.start_unix_server(
            lambda _reader, writer: writer.close(), tmp_path / "agent.sock"
        )
        async with server, collector(pc.broker) as session, asyncio.TaskGroup() as tasks:
            acks = tasks.create_task(acknowledge_for_ever(session, time.time() - 60), name="acks")
            checks = await pc.selftest()
            acks.cancel()
    assert checks["agent"].text == "an agent runs on this PC"
    assert checks["clock"].level is Level.WARN
    assert "s ahead of the collector's" in checks["clock"].text


async def acknowledge_for_ever(session: Session, server_time: float) -> None:
    ack = encode(Ack(stream="2" * 32, server_time=server_time))
    while True:
        await session.publish(LAB.build(Kind.ACK, agent="pc-01"), ack)
        await asyncio.sleep(0.2)


async def test_a_broker_with_a_certificate_is_looked_at(tmp_path: Path) -> None:
    place = self_signed(tmp_path / "server.crt", days=12)
    tls = f"certfile {place}\nkeyfile {place.with_suffix('.key')}\n"
    with broker_with(tmp_path, {"pc-01": rights_of_pc("pc-01")}, tls) as broker:
        checks = await Pc(tmp_path, f"mqtts://127.0.0.1:{broker.port}").selftest(broker={"ca_file": place})
    assert checks["broker"].level is Level.OK
    assert checks["certificate of the broker"].level is Level.WARN
    assert "holds for 11 days" in checks["certificate of the broker"].text


async def test_a_password_in_clear_text_beyond_this_machine_is_a_warning(pc: Pc) -> None:
    checks = await pc.selftest(broker={"url": "mqtt://lab-server.invalid"})
    assert checks["tls"].level is Level.WARN
    assert checks["broker"].level is Level.FAIL


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """A serial port: what the adapter is at, and its name."""
    board, port = pty.openpty()
    name = os.ttyname(port)
    os.close(port)
    try:
        yield board, name
    finally:
        os.close(board)


def board_with(console: str) -> dict[str, Any]:
    lab = Inventory.parse(
        f'site = "lab"\npc.pc-01 = {{}}\n[board.evm-07]\npc = "pc-01"\nserial_port = "{console}"\n'
    )
    return dict(lab.lab.board)


async def test_a_console_is_opened_and_never_written_to() -> None:
    with terminal() as (board, name):
        [check] = await consoles(board_with(name), OwnRights(), agent_runs=False)
        os.set_blocking(board, False)
        with contextlib.suppress(BlockingIOError, OSError):
            assert os.read(board, 100) == b""
    assert (check.level, check.text) == (Level.OK, f"{name} can be opened")


@contextlib.contextmanager
def somebody_at(port: str) -> Iterator[int]:
    """Another program that has ``port`` open; gives its process id."""
    code = f"import sys; f = open({port!r}, 'rb', buffering=0); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other.pid
        other.communicate()


async def test_who_has_a_console_is_told() -> None:
    with terminal() as (_, name), somebody_at(name) as pid:
        [check] = await consoles(board_with(name), OwnRights(), agent_runs=False)
    assert check.level is Level.OK
    assert f"(process {pid}) has it open" in check.text


async def test_a_console_that_is_not_there_fails() -> None:
    [check] = await consoles(board_with("/dev/ttyUSB99"), OwnRights(), agent_runs=False)
    assert (check.level, check.text) == (Level.FAIL, "/dev/ttyUSB99 is not there")


async def test_a_terminal_server_is_left_alone_while_an_agent_may_have_it() -> None:
    taken: list[object] = []

    def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(1)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        [left] = await consoles(board_with(url), OwnRights(), agent_runs=True)
        assert not taken
        [reached] = await consoles(board_with(url), OwnRights(), agent_runs=False)
    assert (left.level, reached.text) == (Level.OK, f"{url} can be reached")


def test_a_state_directory_that_cannot_be_written_fails(pc: Pc) -> None:
    pc.inventory()
    settings = pc.settings(state_dir=Path("/proc/nowhere"))
    [disk] = [check for check in machine(settings, pc.inventory(), OwnRights()) if check.name == "disk"]
    assert disk.level is Level.FAIL
    assert "nothing can be written to /proc/nowhere" in disk.text


def test_a_pc_that_lab_toml_does_not_name_gets_the_line_to_add(pc: Pc) -> None:
    settings = pc.settings(pc="pc-99")
    [check] = [check for check in machine(settings, pc.inventory(), OwnRights()) if check.name == "inventory"]
    assert (check.level, check.remedy) == (Level.WARN, "add to lab.toml: pc.pc-99 = {}")


def test_a_spool_that_may_outgrow_its_disk_is_a_warning(pc: Pc) -> None:
    settings = pc.settings(spool={"max_bytes": "1000G"})
    [disk] = [check for check in machine(settings, pc.inventory(), OwnRights()) if check.name == "disk"]
    assert disk.level is Level.WARN


async def test_beside_a_running_agent_it_disturbs_nothing(tmp_path: Path, own_mosquitto: Mosquitto) -> None:
    """As somebody types it: the agent keeps its connection, and the program's exit code tells."""
    async with DevantechModule() as module:
        (tmp_path / "lab.toml").write_text(f'site = "lab"\npc.pc-01 = {{}}\n{wired(module)}\n')
        with AgentProcess(tmp_path, own_mosquitto.url) as agent:
            await connected(agent)
            command = [
                sys.executable,
                "-m",
                "boardherd_agent",
                "--config",
                str(tmp_path / "agent.toml"),
                "selftest",
            ]
            done = await asyncio.to_thread(
                subprocess.run, [*command, "--json"], check=False, capture_output=True, text=True, timeout=60
            )
            log, rights = agent.log.read_text(), rights_of_agent(agent.state)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["pc"]) == (int(not answer["ok"]), "pc-01")
    checks = {check["name"]: check for check in answer["checks"]}
    assert checks["agent"]["text"] == "an agent runs on this PC"
    assert checks["relay eth-1"]["level"] == "ok"
    assert checks["own topics"]["level"] == "ok"
    assert rights is not None
    assert rights.uid == os.geteuid()
    assert log.count("connected to the broker") == 1
    assert "another agent claims" not in log
    assert not module.transitions


async def connected(agent: AgentProcess) -> None:
    async with asyncio.timeout(20):
        while "connected to the broker" not in agent.log.read_text():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)
