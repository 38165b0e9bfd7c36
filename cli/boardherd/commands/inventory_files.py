"""What the commands about lab.toml share: which file is meant, what is wrong with it, how changes are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from boardherd.exit_codes import Exit, Failure
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.inventory.checking import Checked
    from boardherd.inventory.diff import Change
    from boardherd.inventory.places import Daemon
    from boardherd_shared.inventory import Inventory

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))


class Faults(Failure):
    """What is wrong with a file: a line for each fault, each with its place."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__(Exit.USAGE, "\n".join(faults))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the lines on standard error, as a compiler would."""
        for line in self.message.splitlines():
            click.echo(printable(line), file=file, err=file is None)


def configs(function: F) -> F:
    """Add the options that say where this machine's daemons are configured."""
    for role in ("collector", "agent"):
        function = click.option(
            f"--{role}-config",
            type=click.Path(path_type=Path),
            default=Path(f"/etc/boardherd/{role}.toml"),
            metavar="FILE",
            help=f"Configuration of the {role} on this machine, if not /etc/boardherd/{role}.toml.",
        )(function)
    return function


def daemons_here(agent: Path, collector: Path) -> list[Daemon]:
    """Return who is set up on this machine; raises Faults."""
    from boardherd.inventory import places
    from boardherd_shared.settings import ConfigError

    try:
        return places.daemons(agent, collector)
    except ConfigError as error:
        raise Faults(tuple(str(error).splitlines())) from error


def meant(given: Path | None, known: list[Daemon]) -> Path:
    """Return the file that is meant; raises Failure when there is none."""
    from boardherd.inventory import places
    from boardherd_shared.settings import ConfigError

    try:
        return places.lab_file(given, known)
    except ConfigError as error:
        raise Failure(Exit.USAGE, str(error)) from error


def checked(path: Path) -> Checked:
    """Check a file."""
    from boardherd.inventory import checking

    return checking.check(path)


def good(found: Checked) -> Inventory:
    """Return the inventory of a file that is good; raises Faults."""
    if found.inventory is None:
        raise Faults(found.faults)
    return found.inventory


def show(changes: list[Change]) -> None:
    """Print a line for each change."""
    for change in changes:
        click.echo(printable(change.line))
