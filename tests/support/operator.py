"""Somebody at a shell in front of a running demo: real broker, collector, agent, relays and boards."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.ports import free_port

BOARDHERD = [sys.executable, "-m", "boardherd"]
_READY_WITHIN_S = 90.0
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Operator:
    """Types commands; the demo is found by the file it leaves behind."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BOARD")}
        own = {"XDG_RUNTIME_DIR": str(self.directory), "XDG_CONFIG_HOME": str(self.directory)}
        return {**kept, **own, "NO_COLOR": "1", **self.environment}

    def __call__(self, *words: str, code: int = 0, timeout: float = 60.0, **more: str) -> Answer:
        """Run a command to its end; AssertionError unless it ends with ``code``. ``more`` goes to its environment."""
        done = subprocess.run(
            [*BOARDHERD, *words], check=False, capture_output=True, text=True, timeout=timeout,
            stdin=subprocess.DEVNULL, env=self.env | more,
        )  # fmt: skip
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert answer.code == code, (words, answer)
        return answer

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*BOARDHERD, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=self.env,
        )  # fmt: skip

    @property
    def place(self) -> dict[str, Any]:
        """How the demo is reached, as it has written it down."""
        place: dict[str, Any] = json.loads((self.directory / "boardherd" / "demo.json").read_text())
        return place

    def boards(self) -> dict[str, dict[str, Any]]:
        """Return what the collector tells of each board; much quicker than a command."""
        with urllib.request.urlopen(f"{self.place['api']}/api/v1/fleet", timeout=10) as answer:
            return {board["id"]: board for board in json.load(answer)["boards"]}

    def available(self) -> list[str]:
        """Return the boards that the collector calls available."""
        return [id_ for id_, board in self.boards().items() if board["available"]]

    def locked(self) -> dict[str, float]:
        """Return the boards that somebody holds, each with the end of its lock, Unix seconds."""
        return {id_: board["lock"]["until"] for id_, board in self.boards().items() if board["lock"]}

    def tidy_up(self) -> None:
        """End every lock, switch on what is dark, and wait until every board is alive."""
        boards = self.boards()
        for id_ in self.locked():
            self("unlock", id_, "--force", "--reason", "end of the test")
        for id_, board in boards.items():
            if board["verdict"] == "powered_off":
                self("power", "on", id_, "--force", "--reason", "end of the test")
        until(lambda: self.available() == list(boards))

    def on_terminal(self, *words: str, keys: str = "", timeout: float = 60.0) -> tuple[int, str]:
        """Run a command on a pseudo-terminal of 110 columns; return its exit code and all it wrote, without colours."""
        master, slave = pty.openpty()
        env = self.env | {"TERM": "xterm-256color", "COLUMNS": "110"}
        try:
            process = subprocess.Popen([*BOARDHERD, *words], stdin=slave, stdout=slave, stderr=slave, env=env)
            os.close(slave)
            os.write(master, keys.encode())
            written = _read_all(master, process, time.monotonic() + timeout)
            return process.wait(5), _CONTROLS.sub("", written.decode())
        finally:
            os.close(master)


def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Return once ``condition`` holds; AssertionError otherwise."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _read_all(master: int, process: subprocess.Popen[bytes], end: float) -> bytes:
    written = b""
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if not ready:
            if process.poll() is not None:
                return written
            continue
        try:
            written += os.read(master, 65536)
        except OSError:  # the other end is closed
            return written
    process.kill()
    raise AssertionError(f"it did not end: {written!r}")


@contextlib.contextmanager
def running_demo(directory: Path, broker: str, boards: int) -> Iterator[Operator]:
    """Run a demo on ``broker``, with its files in ``directory``; yield somebody who works with it."""
    operator = Operator(directory)
    log = directory / "demo.log"
    words = ["demo", "--broker", broker, "--http-port", str(free_port()), "--boards", str(boards)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*BOARDHERD, *words, "--dir", str(directory / "demo")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=operator.env,
        )  # fmt: skip
    try:
        _until_ready(operator, process, log, boards)
        yield operator
    finally:
        process.terminate()
        process.wait(30)


def _until_ready(operator: Operator, process: subprocess.Popen[bytes], log: Path, boards: int) -> None:
    end = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):  # neither its file nor its API are there from the beginning
            if len(operator.available()) == boards:
                return
        time.sleep(0.2)
    raise AssertionError(f"the demo did not come up:\n{log.read_text()}")
