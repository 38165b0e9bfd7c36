"""What happened: events and watch."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.retained import Change


@click.command(epilog=example("boardherd events --board evm-07 --limit 10"))
@click.option(
    "--board", metavar="BOARD", help="Only what is about this board.", shell_complete=complete("boards")
)
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="At most so many.")
@lab_options(hidden=True)
@pass_lab
def events(lab: Lab, board: str | None, limit: int) -> None:
    """List what happened lately, newest last. Needs the collector."""
    from boardherd import output, tables
    from boardherd.tables import Cell, Table

    found = run(_events(lab.client(), board, limit))
    if lab.json:
        output.emit_json(found)
        return
    now = time.time()
    rows = tuple(
        (
            Cell(tables.moment(int(event["at"] * 1e6), now), "quiet"),
            Cell(event["subject"], "strong"),
            Cell(event["text"]),
        )
        for event in reversed(found)
    )
    output.emit_table(Table(("WHEN", "WHAT", "EVENT"), rows))
    if not rows:
        output.note("nothing has happened that is stored")


async def _events(client: Client, board: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest events, newest first; raises Failure."""
    from boardherd.targets import board_of

    subject = None
    if board is not None:
        subject = f"board/{board_of(await client.fleet(), board).id}"
    found: list[dict[str, Any]] = await client.events(subject, limit)
    return found


@click.command(epilog=example("boardherd watch --json | jq -r 'select(.initial | not) | .text'"))
@lab_options(hidden=True)
@pass_lab
def watch(lab: Lab) -> None:
    """Show everything live, until Ctrl-C.

    On a terminal a picture that keeps itself up to date, elsewhere one line per change; with --json one JSON
    object per line. It listens to the broker and works without the collector.
    """
    try:
        run(_watch(lab))
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


async def _watch(lab: Lab) -> None:
    from boardherd.retained import Retained

    client = lab.client()
    fleet = await client.fleet()
    retained = Retained(fleet.site, fleet)
    if sys.stdout.isatty() and not lab.json:
        from boardherd.live import picture

        await picture(client, retained)
    else:
        await client.watch(_print_json if lab.json else _print_line, retained)


def _print_json(change: Change) -> None:
    from boardherd import output

    output.emit_json_line(
        {
            "at": change.at,
            "subject": change.subject,
            "text": change.text,
            "initial": change.initial,
            "detail": change.detail,
        }
    )


def _print_line(change: Change) -> None:
    from boardherd import tables

    when = tables.moment(int(change.at * 1e6), time.time())
    click.echo(printable(f"{when}  {change.subject}  {change.text}"))
    sys.stdout.flush()
