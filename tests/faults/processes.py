"""Real processes, and what can be done to them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.ports import free_port

STOP_WITHIN_S = 12.0
_ALARMING = ("Traceback (most recent call last)", "never retrieved", "was never awaited")
_KNOWN = re.compile(
    r"^ERROR asyncio: Exception in callback BaseSelectorEventLoop\.add_writer.*?^OSError: \[Errno 9\][^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_TESTS = str(Path(__file__).parents[1])
_PATH = {"PYTHONPATH": os.pathsep.join([_TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])}


class Child:
    """A program that is started, hurt and started again with the same command; its log is kept."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.deaths: list[int] = []
        """Exit codes of ends that nobody asked for."""

    @property
    def pid(self) -> int:
        """Of the process that runs; it is an error when none does."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; there must be none."""
        assert not self.running, self.command
        if self._process is not None:
            self.deaths.append(self._process.returncode)
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=os.environ | _PATH | self.environment
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it is not there."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal and return its exit code, -9 for SIGKILL; 0 when there was none."""
        if self._process is None:
            return 0
        self.send(how)
        self.send(signal.SIGCONT)
        code = await self.wait()
        self._process = None
        return code

    async def wait(self, timeout: float = STOP_WITHIN_S) -> int:
        """Return the exit code once it has ended by itself; TimeoutError."""
        process = self._process
        assert process is not None
        async with asyncio.timeout(timeout):
            while (code := process.poll()) is None:  # noqa: ASYNC110 - Popen has nothing to await
                await asyncio.sleep(0.01)
        return code

    async def freeze(self, seconds: float) -> None:
        """Stop it in mid-thought for ``seconds``."""
        self.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.send(signal.SIGCONT)

    def kill_now(self) -> None:
        """End it without waiting for anything; for the end of a test."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def figures(self) -> dict[str, int]:
        """Return resident memory in bytes, open files and threads, empty when it is not there."""
        try:
            place = Path(f"/proc/{self.pid}")
            status = dict(
                line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line
            )
            files = len(list((place / "fd").iterdir()))
            return {
                "rss": int(status["VmRSS"].split()[0]) * 1024,
                "fds": files,
                "threads": int(status["Threads"]),
            }
        except (OSError, KeyError, AssertionError):
            return {}

    def tracebacks(self) -> list[str]:
        """Return the lines of the log that begin a traceback or tell of a task nobody waited for.

        One kind is let pass: aiomqtt 2.5 asks asyncio to watch a socket that a reset has closed meanwhile.
        Nothing is lost by it, since the connection is over in any case.
        """
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        lines = _KNOWN.sub("", text).splitlines()
        return [line for line in lines if any(word in line for word in _ALARMING)]


def python(module: str, *arguments: object) -> list[str]:
    """Return the command that runs ``module`` with the interpreter of this process."""
    return [sys.executable, "-m", module, *map(str, arguments)]


class Broker(Child):
    """Mosquitto, without persistence unless its configuration says otherwise."""

    def __init__(self, directory: Path, extra: str = "persistence false\n") -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        config = directory / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nuser root\nallow_anonymous true\n{extra}"
        )
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        assert program, "mosquitto is missing; run: sudo apt-get install mosquitto"
        super().__init__([program, "-c", str(config)], directory / "mosquitto.log")


def wait_for_log(child: Child, text: str, timeout: float = 15.0, *, times: int = 1) -> None:
    """Return once the log of ``child`` holds ``text`` so many times; AssertionError with the log otherwise."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if child.log.exists() and child.log.read_text(errors="replace").count(text) >= times:
            return
        time.sleep(0.05)
    raise AssertionError(f'the log does not say "{text}":\n{child.log.read_text(errors="replace")[-4000:]}')
