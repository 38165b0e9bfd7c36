"""``boardherd inventory import``: a lab.toml out of what the lab had before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from boardherd.commands.inventory_files import Faults
from boardherd.commands.lab import example
from boardherd.exit_codes import Exit, Failure
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.inventory.draft import Draft

F = TypeVar("F", bound=Callable[..., Any])

_IN = click.Path(path_type=Path, dir_okay=False)


def _options(function: F) -> F:
    for option in (
        click.option("--site", default="lab", show_default=True, metavar="ID", help="The lab's id."),
        click.option(
            "-o", "--output", type=_IN, metavar="FILE", help="Write there, and not to standard output."
        ),
    ):
        function = option(function)
    return function


@click.group(
    name="import",
    epilog=example(
        "boardherd inventory import csv boards.csv -o lab.toml",
        "boardherd inventory import django --database postgresql://me@db/lab > lab.toml",
    ),
)
def import_() -> None:
    """Make a lab.toml out of a spreadsheet, a Django database or labgrid's places.

    What collides (two boards on one relay port, two relays on one address, a name twice) or makes no sense is told
    on standard error and stands as a comment in the result, which is good in itself. What could not be taken over
    is a comment too.
    """


@import_.command(name="csv", epilog=example("boardherd inventory import csv boards.csv -o lab.toml"))
@click.argument("file", type=_IN)
@_options
def csv_(file: Path, site: str, output: Path | None) -> None:
    """Take over a spreadsheet with one line for each board.

    Columns in any order, separated by commas, semicolons or tabs: board (must be there), pc, relay, port, board_ip,
    serial_port, platform, test_farm, capabilities, hardware_serial_number, relay_address, relay_model and more; see
    docs/operations.md.
    """
    from boardherd.inventory.from_csv import from_csv
    from boardherd_shared.settings import read_text

    _write(lambda: from_csv(read_text(file), str(file)), site, output)


@import_.command(
    epilog=example(
        "boardherd inventory import django --database db.sqlite3",
        "boardherd inventory import django --database postgresql://me@db/lab --app farm",
    )
)
@click.option(
    "--database", required=True, metavar="URL|FILE", help="postgresql://user@host/name, or a file of SQLite."
)
@click.option("--app", metavar="LABEL", help="The Django app, where several have such tables.")
@_options
def django(database: str, app: str | None, site: str, output: Path | None) -> None:
    """Take over a Django database with boards, relays and test PCs; their UUIDs are kept.

    It is only read. The password of PostgreSQL is best left to ~/.pgpass or PGPASSWORD.
    """
    from boardherd.inventory.from_django import read_database

    _write(lambda: read_database(database, app), site, output)


@import_.command(
    epilog=example("boardherd inventory import labgrid places.yaml --resources resources.yaml -o lab.toml")
)
@click.argument("file", type=_IN)
@click.option(
    "--resources",
    type=_IN,
    metavar="FILE",
    help="The coordinator's resources.yaml, or an exporter's configuration; else the one beside FILE.",
)
@_options
def labgrid(file: Path, resources: Path | None, site: str, output: Path | None) -> None:
    """Take over the places that a labgrid coordinator keeps in places.yaml."""
    beside = file.with_name("resources.yaml")
    offered = resources or (beside if beside.exists() else None)

    def read() -> Draft:
        from boardherd.inventory.from_labgrid import from_labgrid

        return from_labgrid(_yaml(file), _yaml(offered) if offered else None, str(file))

    _write(read, site, output)


def _yaml(path: Path) -> Any:
    from boardherd_shared.settings import ConfigError, read_text

    try:
        import yaml
    except ImportError as error:
        raise Failure(
            Exit.USAGE, "labgrid's files need a library that is not installed here: install boardherd[import]"
        ) from error
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: this is no YAML: {text}") from error


def _write(read: Callable[[], Draft], site: str, output: Path | None) -> None:
    """Print or write what was read, and tell on standard error what is not in force in it."""
    from boardherd.inventory.draft import render
    from boardherd_shared.settings import ConfigError

    try:
        draft = read()
        result = render(draft, site)
    except ConfigError as error:
        raise Faults(tuple(str(error).splitlines())) from error
    for note in [*draft.notes, *result.problems]:
        click.echo(printable(note), err=True)
    count = {kind: sum(thing.kind == kind for thing in draft.things) for kind in ("pc", "relay", "board")}
    told = f"{count['pc']} PCs, {count['relay']} relays, {count['board']} boards"
    left = (
        f"; {len(result.problems)} lines are comments, since they collide or make no sense"
        if result.problems
        else ""
    )
    if output is None:
        click.echo(result.text, nl=False)
        click.echo(f"{told}{left}", err=True)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(result.text)
    except OSError as error:
        raise Failure(Exit.OUTPUT, f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"{output}: {told}{left}", err=True)
