"""A command's life, shown while it happens; only where a person looks at a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from boardherd.output import STYLES, console
from boardherd.printable import printable
from boardherd_shared.command import CommandStep, State

if TYPE_CHECKING:
    from rich.text import Text

Show = Callable[[CommandStep], None]

_TONE = {
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.INTERRUPTED: "bad",
    State.REFUSED: "warn",
    State.EXPIRED: "warn",
}


@contextlib.contextmanager
def follower(title: str) -> Iterator[Show]:
    """Yield a function that shows one step: a line on the terminal's standard error, or nothing elsewhere."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(style="dim"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    began = time.monotonic()
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        spinning = progress.add_task(f"{title}: sent, waiting for an answer", total=None)

        def show(step: CommandStep) -> None:
            if step.final:
                return  # the sentence that ends it all is printed as the result
            progress.console.print(_line(step, time.monotonic() - began), soft_wrap=True)
            progress.update(spinning, description=printable(step.text))

        yield show


def _say_nothing(step: CommandStep) -> None:
    del step


def _line(step: CommandStep, after: float) -> Text:
    """Return ``  5.1 s  dwell     off, waiting 5 s`` with its colours."""
    from rich.text import Text

    word = step.phase or step.state.value
    return Text.assemble(
        (f"{after:6.1f} s  ", "dim"),
        (f"{word:<9} ", STYLES[_TONE.get(step.state, "strong")]),
        printable(step.text),
    )
