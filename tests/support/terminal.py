"""Somebody who has a serial console open, and waiting for things that nothing announces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class Terminal:
    """An open console that collects what comes in; leaving its context closes it."""

    def __init__(self, path: Path) -> None:
        """Prepare to open ``path``."""
        self._path = path
        self._file = -1
        self._arrived = asyncio.Event()
        self.text = ""
        """Everything that came in, with plain line ends."""

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._file, self._read)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self._file, text.encode())

    async def sees(self, text: str, timeout: float = 10.0) -> None:
        """Return once ``text`` has come in; AssertionError with what came instead."""
        try:
            async with asyncio.timeout(timeout):
                while text not in self.text:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} never came, only {self.text!r}") from None

    def _read(self) -> None:
        self.text += os.read(self._file, 65536).decode("utf-8", "replace").replace("\r", "")
        self._arrived.set()


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Return once ``condition`` holds; TimeoutError otherwise."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.005)
