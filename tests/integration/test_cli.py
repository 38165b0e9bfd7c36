"""The command line as a process, against a real Mosquitto and an agent played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from boardherd_shared.command import Command, CommandStep, Refusal, State, parse_command
from boardherd_shared.ids import new_session
from boardherd_shared.link import BrokerSettings, Incoming, Link, Session
from boardherd_shared.messages import BoardState, Hello, HostFacts, PortState, Status, encode
from boardherd_shared.model import BoardStatus, PcStatus, RelayStatus
from boardherd_shared.records import BoardRecord, Power, RelayRecord, Verdict
from boardherd_shared.topics import Kind, Topics, parse
from boardherd_shared.views import BoardView, FleetView, PcView, PortView, RelayView
from support.broker import Mosquitto
from support.ports import free_port, wait_for_port

Script = list[dict[str, Any]]

ACCEPTED = {"state": State.ACCEPTED, "text": "cycle of evm-07 accepted"}
DONE = {
    "state": State.SUCCEEDED,
    "text": "evm-07: off 5.0 s, console 1.9 s, ssh 9.8 s; alive",
    "observed": "on",
}
CYCLE: Script = [
    ACCEPTED,
    {"state": State.RUNNING, "phase": "off", "text": "switching evm-07 off"},
    {"state": State.RUNNING, "phase": "dwell", "text": "off, waiting 5 s", "observed": "off"},
    {"state": State.RUNNING, "phase": "on", "text": "switching evm-07 on"},
    {
        "state": State.RUNNING,
        "phase": "waiting",
        "text": "waiting up to 60 s for console, ssh",
        "observed": "on",
    },
    {**DONE, "times": {"off_s": 5.0, "ssh_s": 9.8}},
]


@dataclass
class Agent:
    """Stands for pc-01: says what an agent says, and answers each command with a script."""

    url: str
    site: str
    script: Script = field(default_factory=list)
    heard: list[tuple[Incoming, Command]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    _session: Session | None = None

    @property
    def topics(self) -> Topics:
        return Topics(self.site)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Agent]:
        async with Link(BrokerSettings(url=self.url), name="pc-01").session() as session:
            self._session = session
            await self.say_status("online")
            facts = HostFacts(hostname="pc-01", os_version="ubuntu_24_04")
            hello = Hello(session=new_session(), boot="b", wall=now(), up=1, host=facts, boards=("evm-07",))
            await self.say(self.topics.build(Kind.HELLO, agent="pc-01"), encode(hello))
            await self.say_board(Verdict.ALIVE, "alive since 09:14")
            await self.say_port(Power.ON)
            command_filter = self.topics.filter(Kind.COMMAND, agent="pc-01")
            await session.subscribe(self.topics.filter(Kind.BOARD_COMMAND), command_filter)
            task = asyncio.create_task(self._answer(session), name="played agent")
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for kind, levels in (
                    (Kind.STATUS, {}),
                    (Kind.HELLO, {}),
                    (Kind.BOARD_STATE, {"board": "evm-07"}),
                    (Kind.RELAY_STATE, {"relay": "eth-1", "port": 3}),
                ):
                    await self.say(self.topics.build(kind, agent="pc-01", **levels), b"")

    async def say(self, topic: str, payload: bytes) -> None:
        assert self._session
        await self._session.publish(topic, payload, retain=True)

    async def say_status(self, state: str) -> None:
        status = Status.model_validate({"state": state, "session": new_session(), "at": time.time()})
        await self.say(self.topics.build(Kind.STATUS, agent="pc-01"), encode(status))

    async def say_board(self, verdict: Verdict, text: str) -> None:
        record = BoardRecord(at=now(), up=1, board="evm-07", verdict=verdict, since=now())
        topic = self.topics.build(Kind.BOARD_STATE, agent="pc-01", board="evm-07")
        await self.say(topic, encode(BoardState(record=record, text=text)))

    async def say_port(self, observed: Power) -> None:
        record = RelayRecord(
            at=now(), up=1, relay="eth-1", port=3, observed=observed, since=now(), board="evm-07"
        )
        topic = self.topics.build(Kind.RELAY_STATE, agent="pc-01", relay="eth-1", port=3)
        await self.say(topic, encode(PortState(record=record, text=observed.upper())))

    async def _answer(self, session: Session) -> None:
        async for message in session.messages():
            address, command = parse(message.topic), parse_command(message.payload)
            assert address
            self.heard.append((message, command))
            self.began.set()
            for values in self.script:
                step = CommandStep(
                    id=command.id or "none",
                    action=command.action,
                    target="board/evm-07",
                    agent="pc-01",
                    operator=address.operator,
                    at=time.time(),
                    **values,
                )
                for topic in (
                    self.topics.build(Kind.RESULT, agent="pc-01", id=step.id),
                    self.topics.build(Kind.REPLY, operator=address.operator),
                ):
                    await session.publish(topic, encode(step))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def now() -> int:
    return int(time.time() * 1e6)


def environment(directory: Path) -> dict[str, str]:
    """Return an environment in which only the flags tell where the lab is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARDHERD_")}
    return kept | {
        "XDG_RUNTIME_DIR": str(directory),
        "XDG_CONFIG_HOME": str(directory),
        "TERM": "xterm-256color",
    }


@dataclass
class Shell:
    """Types commands."""

    url: str
    site: str | None
    directory: Path
    api: str = ""

    def line(self, *args: str) -> list[str]:
        api = self.api or f"http://127.0.0.1:{free_port()}"
        site = ["--site", self.site] if self.site else []
        return [
            *(sys.executable, "-m", "boardherd", "--broker", self.url, "--api", api, "--as", "ops1"),
            *(*site, *args),
        ]

    async def run(self, *args: str) -> Done:
        process = await self.start(*args)
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.line(*args),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(self.directory),
        )


@pytest.fixture
def site(request: pytest.FixtureRequest) -> str:
    return f"cli-{abs(hash(request.node.name)) % 10**8}"


@pytest.fixture
async def agent(mosquitto: Mosquitto, site: str) -> AsyncIterator[Agent]:
    async with Agent(mosquitto.url, site).at_work() as it:
        yield it


@pytest.fixture
def shell(mosquitto: Mosquitto, site: str, tmp_path: Path) -> Shell:
    return Shell(mosquitto.url, site, tmp_path)


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
        await stack.enter_async_context(_leaving_quietly(agent))
        process = await shell.start("power", "on", "evm-07", "--id", "job-8")
        async with asyncio.timeout(20):
            await agent.began.wait()
            await asyncio.to_thread(own_mosquitto.stop, signal.SIGKILL)
            _, err = await process.communicate()
    assert process.returncode == 3
    assert b"the connection to the broker was lost while waiting" in err
    assert err.endswith(b"learn the outcome with the same command and --id job-8\n")


@contextlib.asynccontextmanager
async def _leaving_quietly(agent: Agent) -> AsyncIterator[None]:
    """Let an agent end whose broker is dead."""
    from boardherd_shared.link import LinkDown

    with contextlib.suppress(LinkDown):
        async with agent.at_work():
            yield


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
    async with _leaving_quietly(Agent(own_mosquitto.url, "lab")):
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


async def on_terminal(shell: Shell, *args: str) -> tuple[int, str]:
    """Run a command on a pseudo-terminal of 100 columns; return its exit code and all it wrote."""
    master, slave = pty.openpty()
    written: list[bytes] = []
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        *shell.line(*args),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(shell.directory) | {"COLUMNS": "100"},
    )
    os.close(slave)

    def read() -> None:
        try:
            written.append(os.read(master, 65536))
        except OSError:  # the other end is closed
            loop.remove_reader(master)

    loop.add_reader(master, read)
    try:
        async with asyncio.timeout(20):
            await process.wait()
        await asyncio.sleep(0.05)
    finally:
        loop.remove_reader(master)
        os.close(master)
    return process.returncode or 0, b"".join(written).decode()


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
