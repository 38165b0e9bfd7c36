"""What a person sees of a long campaign: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_EVERY_S = 60.0


class Progress:
    """Shows how far a campaign is; a context manager."""

    def __init__(self, name: str, minutes: float) -> None:
        self._name = name
        self._seconds = minutes * 60
        self._count: Callable[[], int] = int
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._console = Console(file=sys.stderr)
        self._bar: Bar | None = None

    def watch(self, count: Callable[[], int]) -> None:
        """Show the number of faults that ``count`` gives."""
        self._count = count

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        (self._bar.console if self._bar else self._console).print(
            f"{time.strftime('%H:%M:%S')} {self._name}: {text}", highlight=False, soft_wrap=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[faults]} faults"),
                TimeElapsedColumn(), TimeRemainingColumn(), console=self._console,
            )  # fmt: skip
            self._bar.start()
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._bar:
            self._bar.stop()

    def _show(self) -> None:
        began = time.monotonic()
        task = self._bar.add_task(self._name, total=self._seconds, faults=0) if self._bar else None
        while not self._over.wait(0.5 if self._bar else _EVERY_S):
            passed = time.monotonic() - began
            if self._bar and task is not None:
                self._bar.update(task, completed=min(passed, self._seconds), faults=self._count())
            else:
                self.say(f"{passed / 60:.0f} of {self._seconds / 60:.0f} min, {self._count()} faults")
