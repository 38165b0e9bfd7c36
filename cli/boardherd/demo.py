"""The demo: broker, collector, agent and a simulated rack on this machine, as the processes they really are."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from boardherd.exit_codes import Exit, Failure
from boardherd.processes import Child, ProcessFailed
from boardherd.rack.control import RackControl
from boardherd.settings import Settings, demo_connection_file, login_name
from boardherd_shared.link import BrokerSettings

SITE = "demo"
PC = "demo-pc"
HOST = "127.0.0.1"
_QUICK = """
[sampling]
interval = "1s"

[probing]
steady = "1s"
ssh = "1s"
booting = "200ms"
slowest = "2s"
timeout = "1s"
settle = "1s"
tick = "200ms"
"""
"""A demo is watched by somebody: everything is looked at far more often than in a lab."""

_READY_WITHIN_S = 40.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Options:
    """What a demo is made of."""

    directory: Path
    """Where everything that it writes goes."""
    broker_url: str | None = None
    """A broker that runs already; None brings one along."""
    broker_port: int = 1883
    http_port: int = 8080
    boards: int = 6
    boot_seconds: float = 4.0


class Demo:
    """A running demo; an async context manager whose end stops every process, the agent first."""

    def __init__(self, options: Options) -> None:
        """Describe a demo; nothing runs yet."""
        self.options = options
        self.directory = options.directory
        self.broker_url = options.broker_url or f"mqtt://{HOST}:{options.broker_port}"
        self.api = f"http://{HOST}:{options.http_port}"
        self.collector: Child
        self.agent: Child
        self.rack: RackControl
        self._alive = AsyncExitStack()

    @property
    def settings(self) -> Settings:
        """Return how the command line reaches this demo."""
        return Settings(
            broker=BrokerSettings(url=self.broker_url),
            api=self.api,
            operator=login_name(),
            site=SITE,
            origin="demo",
        )

    @property
    def spool(self) -> Path:
        """The agent's spool file."""
        return self.directory / "agent" / "spool.db"

    @property
    def socket(self) -> Path:
        """Where the agent takes commands from this machine."""
        return self.directory.absolute() / "agent.sock"

    async def __aenter__(self) -> Self:
        """Start everything and wait until the agent reports; raises Failure in words."""
        async with AsyncExitStack() as stack:
            try:
                await self._start(stack)
            except ProcessFailed as failed:
                raise Failure(Exit.HARDWARE, str(failed)) from failed
            self._alive = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop everything, within ten seconds."""
        await self._alive.__aexit__(exc_type, exc, tb)

    async def _start(self, stack: AsyncExitStack) -> None:
        if self.options.broker_url is None:
            _require_free(self.options.broker_port, "--broker-port")
        _require_free(self.options.http_port, "--http-port")
        self.directory.mkdir(parents=True, exist_ok=True)
        rack, *_ = await asyncio.gather(*(stack.enter_async_context(child) for child in self._foundations()))
        self.rack = RackControl(rack.ready["control"])
        self._write_settings(Path(rack.ready["lab"]))
        self.collector = await stack.enter_async_context(self._daemon("collector"))
        self.agent = await stack.enter_async_context(self._daemon("agent"))
        stack.callback(self._publish_connection())
        await self.until_ready(self.collector, "/readyz")
        await self._until_online()

    def _foundations(self) -> Iterable[Child]:
        """Return what the daemons stand on: the rack, and the broker unless there is one."""
        options = [
            "--dir",
            str(self.directory),
            "--boards",
            str(self.options.boards),
            "--site",
            SITE,
            "--pc",
            PC,
        ]
        options += ["--boot-seconds", str(self.options.boot_seconds)]
        yield Child("rack", ["-m", "boardherd.rack", *options], self._log("rack"), ready_line=True)
        if self.options.broker_url is None:
            port = ["--host", HOST, "--port", str(self.options.broker_port)]
            broker = ["-m", "boardherd.embedded_broker", *port]
            yield Child("broker", broker, self._log("broker"), ready_line=True)

    def _daemon(self, name: str) -> Child:
        return Child(
            name,
            ["-m", f"boardherd_{name}", "--config", str(self.directory / f"{name}.toml")],
            self._log(name),
        )

    def _log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"

    def _write_settings(self, lab: Path) -> None:
        broker = f"[broker]\nurl = {json.dumps(self.broker_url)}\n"
        inventory = f"inventory = {json.dumps(str(lab))}\n"
        database = f"sqlite:///{self.directory.absolute()}/boardherd.db"
        (self.directory / "collector.toml").write_text(
            f"{inventory}\n{broker}\n[store]\nurl = {json.dumps(database)}\n\n"
            f"[http]\nhost = {json.dumps(HOST)}\nport = {self.options.http_port}\n"
        )
        (self.directory / "agent.toml").write_text(
            f"pc = {json.dumps(PC)}\n{inventory}state_dir = {json.dumps(str(self.directory / 'agent'))}\n"
            f"socket = {json.dumps(str(self.socket))}\n\n{broker}\n"
            f"{_QUICK}"
        )

    async def until_ready(self, child: Child, path: str) -> None:
        """Wait until the collector answers ``path`` with 200; raises Failure with its last words."""
        deadline = time.monotonic() + _READY_WITHIN_S
        async with httpx.AsyncClient(base_url=self.api, trust_env=False, timeout=2) as http:
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    if (await http.get(path)).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(_POLL_S)
        raise Failure(Exit.HARDWARE, f"the {child.name} is not ready: {child.last_words()}")

    async def _until_online(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        async with httpx.AsyncClient(base_url=self.api, trust_env=False, timeout=2) as http:
            while time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    fleet = (await http.get("/api/v1/fleet")).json()
                    if any(pc["status"] == "ONLINE" for pc in fleet["pcs"]):
                        return
                await asyncio.sleep(_POLL_S)
        raise Failure(Exit.HARDWARE, f"the agent does not report: {self.agent.last_words()}")

    def _publish_connection(self) -> Callable[[], None]:
        """Write down for the command line how to reach this demo; return what takes it back."""
        path = demo_connection_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"broker": self.broker_url, "api": self.api, "site": SITE, "operator": login_name()}
        content["socket"] = str(self.socket)
        mine = json.dumps(content | {"rack": self.rack.address, "pid": os.getpid()})
        path.write_text(mine)

        def take_back() -> None:
            with suppress(OSError):
                if path.read_text() == mine:  # a younger demo's file stays
                    path.unlink()

        return take_back


def _require_free(port: int, flag: str) -> None:
    """Raise Failure if somebody listens on ``port``."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError as error:
            text = f"port {port} on {HOST} cannot be used ({error.strerror}); choose another with {flag}"
            raise Failure(Exit.HARDWARE, text) from error


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port
