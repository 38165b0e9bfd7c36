"""A real Prometheus as a child process, and the questions a dashboard asks of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from support.ports import free_port, wait_for_port


def find_program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``."""
    program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/bin")
    assert program, f"{name} is missing; `make test` installs it, or run: sudo apt-get install prometheus"
    return program


class Prometheus:
    """Prometheus on a loopback port, with a configuration file and nothing else."""

    def __init__(self, directory: Path, config: str) -> None:
        """Prepare a server that keeps its files in ``directory``."""
        self._directory = directory
        self._config = directory / "prometheus.yml"
        self._config.write_text(config)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [
            find_program("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        with (self._directory / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)
        wait_for_port(self._port, 30)
        self._wait_until_ready()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _wait_until_ready(self) -> None:
        """Wait for the end of the start, during which it listens already and refuses every query."""
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5).close()
            except OSError:
                assert time.monotonic() < deadline, "prometheus is not ready after 30 s"
                time.sleep(0.05)
            else:
                return

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the samples that ``query`` gives now; AssertionError with Prometheus' words if it is wrong."""
        body = urllib.parse.urlencode({"query": query}).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query", body, 10) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode(errors='replace')}") from error
        assert found["status"] == "success"
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def wait_for(self, query: str, timeout: float = 30) -> None:
        """Return once ``query`` gives something; AssertionError otherwise."""
        deadline = time.monotonic() + timeout
        while not self.ask(query):
            assert time.monotonic() < deadline, f"{query}: still nothing after {timeout:g} s"
            time.sleep(0.1)
