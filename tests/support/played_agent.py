"""The command line as a process, and an agent played by hand that answers it with a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boardherd_shared.command import Command, CommandStep, State, parse_command
from boardherd_shared.ids import new_session
from boardherd_shared.link import BrokerSettings, Incoming, Link, LinkDown, Session
from boardherd_shared.messages import BoardState, Hello, HostFacts, PortState, Status, encode
from boardherd_shared.records import BoardRecord, Power, RelayRecord, Verdict
from boardherd_shared.topics import Kind, Topics, parse
from support.ports import free_port

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


@contextlib.asynccontextmanager
async def leaving_quietly(agent: Agent) -> AsyncIterator[None]:
    """Let an agent end whose broker is dead."""
    with contextlib.suppress(LinkDown):
        async with agent.at_work():
            yield


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
