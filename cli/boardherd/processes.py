"""Child processes of the demo: started, watched, started again when they die, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from boardherd_shared.backoff import delays

STOP_WITHIN_S = 8.0

log = structlog.get_logger()


class ProcessFailed(Exception):  # noqa: N818
    """A child ended before it was ready; the message carries the end of its log."""


class Child:
    """A Python module as a supervised child process; an async context manager.

    As systemd would with ``Restart=always``, it is started again whenever it ends by itself.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], log_file: Path, *, ready_line: bool = False
    ) -> None:
        """Prepare a child.

        Args:
            name: what to call it.
            arguments: what follows ``python``: ``["-m", "boardherd_agent", ...]``.
            log_file: where its output goes.
            ready_line: whether it prints one line of JSON when it is ready, which entering then waits for.
        """
        self.name = name
        self.log_file = log_file
        self.ready: dict[str, Any] = {}
        self.starts = 0
        self._arguments = arguments
        self._ready_line = ready_line
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the present life, None between two lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> Self:
        """Start the child, and wait until it says that it is ready if it does so; raises ProcessFailed."""
        await self._start()
        self._watch = asyncio.create_task(self._keep_alive(), name=f"keep {self.name} alive")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop the child: politely, then after eight seconds for good."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if not self._process or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            log.warning("a process did not stop and was killed", process=self.name)
            self.kill()
            await self._process.wait()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Stop the child politely, and start it again after the block."""
        await self.__aexit__(None, None, None)
        try:
            yield
        finally:
            await self.__aenter__()

    def kill(self) -> None:
        """End the present life with SIGKILL."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *tied_to_us(),
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self._ready_line else output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for the demo, which then stops its children in order
            )
        self.starts += 1
        if self._ready_line:
            assert self._process.stdout
            line = await self._process.stdout.readline()
            if not line:
                await self._process.wait()
                raise ProcessFailed(f"{self.name} did not start: {self.last_words()}")
            self.ready = json.loads(line)

    async def _keep_alive(self) -> None:
        waits = delays(0.5, 5.0)
        while True:
            assert self._process
            code = await self._process.wait()
            log.warning("a process ended and is started again", process=self.name, code=code)
            await asyncio.sleep(next(waits))
            with contextlib.suppress(ProcessFailed):
                await self._start()

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"


def tied_to_us() -> list[str]:
    """Return the words before a command that make it end when this process dies, where the system can do that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
