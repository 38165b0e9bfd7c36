"""The agent as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class AgentProcess:
    """``boardherd-agent`` for pc-01, on files of its own; it acts on the ``lab.toml`` in ``directory``."""

    def __init__(
        self, directory: Path, broker: str, *, state: Path | None = None, interval: str = "300ms"
    ) -> None:
        self.state = state or directory / "state"
        self.log = directory / "agent.log"
        self.environment: Mapping[str, str] = {}
        self._config = directory / "agent.toml"
        self._config.write_text(
            f'pc = "pc-01"\ninventory = "{directory}/lab.toml"\nstate_dir = "{self.state}"\n'
            f'socket = "{directory}/agent.sock"\n'
            f'[broker]\nurl = "{broker}"\nkeepalive_s = 5\n[sampling]\ninterval = "{interval}"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; whether it runs is for others to see."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "boardherd_agent", "--config", str(self._config)],
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it with a signal; return its exit code, 0 when it does not run."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(15)
        self.process = None
        return code

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL if exc_type else signal.SIGTERM)
