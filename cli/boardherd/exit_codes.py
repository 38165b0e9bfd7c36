"""What the command line tells the shell, and the one exception that carries it there."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, TYPE_CHECKING, Any

import click

from boardherd.printable import printable

if TYPE_CHECKING:  # the real import would cost `boardherd --help` a tenth of a second
    from boardherd_shared.command import CommandStep


class Exit(IntEnum):
    """Exit codes; scripts rely on them."""

    DONE = 0
    HARDWARE = 1
    """The hardware failed, or the outcome is unknown after an interruption."""
    USAGE = 2
    """The command line or the configuration makes no sense, or names nothing that exists."""
    UNREACHABLE = 3
    """Broker, collector or agent did not answer."""
    REFUSED = 4
    """The agent refused the command, or it came too late; nothing was switched."""
    NO_BOOT = 5
    """Switched as asked, but the board did not come alive in time."""
    OUTPUT = 74
    """The answer could not be written, EX_IOERR of sysexits.h: a full disk behind a redirection."""
    STOPPED = 130
    """Ended by Ctrl-C, as shells count it: 128 + SIGINT."""


class Failure(click.ClickException):
    """Something in the world or in the request is not as it should be; the message is one sentence."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click sets it on instances, too

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence on standard error."""
        click.echo(f"boardherd: {printable(self.format_message())}", file=file, err=file is None)


class Silence(Failure):
    """Nobody answered a command while it was valid."""

    def __init__(self, message: str) -> None:
        super().__init__(Exit.UNREACHABLE, message)


def exit_of(step: CommandStep) -> Exit:
    """Return the exit code for the final step of a command."""
    match step.state.value:
        case "succeeded":
            return Exit.DONE
        case "refused" | "expired":
            return Exit.REFUSED
        case "unanswered":
            return Exit.UNREACHABLE
        case "failed" if step.phase == "waiting" and step.observed == "on":
            return Exit.NO_BOOT
        case _:
            return Exit.HARDWARE
