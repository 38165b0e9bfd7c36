"""A demo lab whose boards are watched in every way, at a pace that a person would wait for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from boardherd.demo import Demo, Options, free_port
from boardherd.processes import Child

INTERVAL_S, TIMEOUT_S = 2.0, 0.6
"""The pace of the probes, a fifth of what a lab has: 10 s between looks, 3 s for an answer."""

PACE = f"""
[sampling]
interval = "1s"

[probing]
steady = "{INTERVAL_S}s"
ssh = "{INTERVAL_S}s"
booting = "200ms"
slowest = "4s"
timeout = "{TIMEOUT_S}s"
settle = "1s"
tick = "200ms"
"""

CONSOLE_ONLY, PINGED = "evm-05", "evm-06"
"""Boards that are watched by their console alone, and by ping alone."""

BOARDHERD = [sys.executable, "-m", "boardherd"]


class Answer(NamedTuple):
    """What ``boardherd why`` said."""

    lines: list[str]
    document: dict[str, Any]

    @property
    def verdict(self) -> str:
        """The verdict on the board."""
        return str(self.document["verdict"])

    @property
    def blame(self) -> str:
        """The part to blame."""
        return str(self.document["blame"])

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines)


class LivenessLab(Demo):
    """A demo with other probes, and an agent that may be forbidden to ping."""

    def __init__(self, directory: Path) -> None:
        """Describe the lab; nothing runs yet."""
        super().__init__(
            Options(
                directory=directory,
                broker_port=free_port(),
                http_port=free_port(),
                boards=6,
                boot_seconds=1.5,
            )
        )

    def _write_settings(self, lab: Path) -> None:
        super()._write_settings(lab)
        agent = self.directory / "agent.toml"
        agent.write_text(agent.read_text().partition("\n[sampling]")[0] + PACE)
        text = _with_probes(lab.read_text(), CONSOLE_ONLY, '["console"]')
        lab.write_text(_with_probes(text, PINGED, '["ping"]'))

    async def why(self, thing: str) -> Answer:
        """Return the answer of the command line, in text and as JSON."""
        text, document = await asyncio.gather(
            self.boardherd("why", thing), self.boardherd("why", thing, "--json")
        )
        return Answer(text.strip().splitlines(), json.loads(document))

    async def boardherd(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> str:
        """Run the command line against this lab and return what it prints."""
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        where = ["--broker", self.broker_url, "--api", self.api, "--site", "demo", "--as", "ops1"]
        process = await asyncio.create_subprocess_exec(
            *BOARDHERD, *where, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        said, complaint = await process.communicate()
        if process.returncode not in accept:
            raise AssertionError(f"boardherd {' '.join(arguments)}: {complaint.decode()}{said.decode()}")
        return said.decode()

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Let the test PC stand still during the block."""
        pid = self.agent.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def without_icmp(self) -> AsyncIterator[None]:
        """Run the agent without the right to send ICMP during the block."""
        async with self.agent.paused():
            self._no_icmp.touch()
        try:
            yield
        finally:
            async with self.agent.paused():
                self._no_icmp.unlink()

    @property
    def _no_icmp(self) -> Path:
        return self.directory / "no-icmp"

    def _daemon(self, name: str) -> Child:
        child = ["-m", f"boardherd_{name}", "--config", str(self.directory / f"{name}.toml")]
        launcher = [str(Path(__file__).with_name("launch.py")), str(self._no_icmp)] if name == "agent" else []
        return Child(name, [*launcher, *child], self._log(name))


def icmp_can_be_forbidden() -> bool:
    """Tell whether a process without capabilities may not ping here, and setpriv can make one."""
    low, high = (int(word) for word in Path("/proc/sys/net/ipv4/ping_group_range").read_text().split())
    return low > high and os.geteuid() == 0 and shutil.which("setpriv") is not None


def _with_probes(lab: str, board: str, probes: str) -> str:
    """Return a lab.toml in which ``board`` has other probes."""
    head, table, rest = lab.partition(f"[board.{board}]")
    return head + table + re.sub(r"probes = \[.*\]", f"probes = {probes}", rest, count=1)
