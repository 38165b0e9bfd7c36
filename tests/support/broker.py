"""A real Mosquitto as a child process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from support.ports import free_port, wait_for_port


class Mosquitto:
    """Mosquitto on a loopback port that stays the same over restarts."""

    def __init__(self, directory: Path, extra: str = "allow_anonymous true\n") -> None:
        """Prepare a broker that keeps its files in ``directory``; ``extra`` goes into its configuration."""
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\npersistence false\nuser root\n{extra}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        assert program, (
            "mosquitto is missing; `make test` installs it, or run: sudo apt-get install mosquitto"
        )
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(self._config)], stdout=log, stderr=log)
        wait_for_port(self.port)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the broker with a signal, SIGKILL for a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
