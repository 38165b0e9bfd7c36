"""A command's life, shown while it happens: live on a terminal, as plain lines where somebody wants them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from boardherd.course import Course, Line
from boardherd.output import STYLES, console
from boardherd.printable import printable
from boardherd_shared.command import CommandStep
from boardherd_shared.messages import BoardState

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text


@dataclass(frozen=True)
class Follower:
    """Shows the steps of one command, and what its agent says of the board meanwhile."""

    course: Course
    say: Callable[[Line], None]
    began: float

    def step(self, step: CommandStep) -> None:
        """Show a step; the last one is left to whoever prints the result."""
        if line := self.course.take(step, self._elapsed()):
            self.say(line)

    def sight(self, state: BoardState) -> None:
        """Show what is new about the board."""
        for line in self.course.sight(state, self._elapsed()):
            self.say(line)

    def _elapsed(self) -> float:
        return time.monotonic() - self.began


@contextlib.contextmanager
def follower(title: str, *, lines: bool = False) -> Iterator[Follower]:
    """Yield what shows a command on standard error: live on a terminal, else plain ``lines`` or nothing."""
    course, began = Course(title), time.monotonic()
    if not sys.stderr.isatty():
        yield Follower(course, _say if lines else _say_nothing, began)
        return
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, TimeElapsedColumn
    from rich.text import Text

    class Present(ProgressColumn):
        """What goes on, counted down ten times a second."""

        max_refresh = 0.1

        def render(self, task: Task) -> Text:
            """Return the words of this moment."""
            del task
            words = printable(course.present(time.monotonic() - began))
            return Text(words, no_wrap=True, overflow="ellipsis")

    columns = (SpinnerColumn(style="dim"), TimeElapsedColumn(), Present())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        progress.add_task(title, total=None)
        yield Follower(course, lambda line: progress.console.print(_coloured(line), soft_wrap=True), began)


def _say_nothing(line: Line) -> None:
    del line


def _say(line: Line) -> None:
    click.echo(printable(str(line)), err=True)


def _coloured(line: Line) -> Text:
    from rich.text import Text

    return Text.assemble(
        (f"{line.after:6.1f} s  ", "dim"),
        (f"{line.word:<9} ", STYLES[line.tone]),
        printable(line.text),
    )
