"""What happened: events and watch."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.retained import Change

_CENTURY_H = 24 * 36600.0
_PAUSE_S = 1.0
_WINDOW_S = 600.0
"""So far back is looked for what has not been told: events come late when a PC was away for a moment."""
_MOST = 1000


@click.command(
    epilog=example(
        "boardherd events --board evm-07 --limit 10",
        "boardherd events --subject relay/eth-1 --since 2h",
        "boardherd events --follow --json",
    )
)
@click.option(
    "--board", metavar="BOARD", help="Only what is about this board.", shell_complete=complete("boards")
)
@click.option(
    "--subject",
    metavar="SUBJECT",
    help="Only what is about this: board/evm-07, relay/eth-1, relay/eth-1/3, command/ID; or pc/pc-01, all it reported.",
)
@click.option("--since", type=Duration(), metavar="TIME", help="Only what happened so lately: 2h.")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="At most so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@lab_options(hidden=True)
@pass_lab
def events(
    lab: Lab, board: str | None, subject: str | None, since: float | None, limit: int, follow: bool
) -> None:
    """List what happened lately, newest last. Needs the collector.

    With --follow what happens is told as it is stored, with --json one object per line; what a PC that was cut off
    tells of times long past is not among it. `boardherd watch` shows what is current, without the collector too.
    """
    from boardherd import history_tables, output

    if board is not None and subject is not None:
        raise Failure(Exit.USAGE, "say --board or --subject, not both")
    wanted = Wanted(board, subject, since, limit)
    if follow:
        _until_interrupted(_follow(lab, wanted))
        return
    found = run(_events(lab.client(), wanted))
    if lab.json:
        output.emit_json(found)
        return
    output.emit_table(history_tables.events(found[::-1]))
    if not found:
        output.note("nothing has happened that is stored")


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for."""

    board: str | None
    subject: str | None
    since: float | None
    """Seconds back from now."""
    limit: int

    def query(self, subject: str | None) -> dict[str, Any]:
        """Return what is asked of the API."""
        query: dict[str, Any] = {"limit": self.limit}
        query |= {} if subject is None else {"subject": subject}
        return query if self.since is None else query | {"hours": min(self.since / 3600, _CENTURY_H)}


async def _events(client: Client, wanted: Wanted) -> list[dict[str, Any]]:
    """Return the newest events, newest first; raises Failure."""
    found: list[dict[str, Any]] = await client.ask("events", **wanted.query(await _subject(client, wanted)))
    return found


async def _subject(client: Client, wanted: Wanted) -> str | None:
    from boardherd.targets import board_of

    if wanted.board is None:
        return wanted.subject
    return f"board/{board_of(await client.fleet(), wanted.board).id}"


async def _follow(lab: Lab, wanted: Wanted) -> None:
    """Print events and go on with new ones; a collector that is lost is waited for, and said so."""
    from boardherd import output

    client = lab.client()
    query = wanted.query(await _subject(client, wanted))
    told = _Told()
    for event in told.new(await client.ask("events", **query)):
        _print_event(event, as_json=lab.json)
    query |= {"limit": _MOST, "hours": _WINDOW_S / 3600}
    away = ""
    while True:
        await asyncio.sleep(_PAUSE_S)
        try:
            found = await client.ask("events", **query)
        except Failure as failure:
            if failure.exit_code != Exit.UNREACHABLE:
                raise
            if not away:
                output.note(f"{failure.message}; trying again")
            away = failure.message
            continue
        if away:
            output.note("the collector answers again")
            away = ""
        for event in told.new(found):
            _print_event(event, as_json=lab.json)


class _Told:
    """Which events have been told; those that are asked for again and again are told once."""

    def __init__(self) -> None:
        self._known: set[tuple[Any, ...]] = set()

    def new(self, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of ``found``, newest first, that are new, oldest first."""
        keys = {
            (event["at"], event["pc"], event["event"], event["subject"], event["text"]): event
            for event in reversed(found)
        }
        fresh = [event for key, event in keys.items() if key not in self._known]
        self._known = {key for key in self._known if key[0] > time.time() - 2 * _WINDOW_S} | set(keys)
        return fresh


def _print_event(event: dict[str, Any], *, as_json: bool) -> None:
    from boardherd import output, tables

    if as_json:
        output.emit_json_line(event)
        return
    when = tables.moment(int(event["at"] * 1e6), time.time())
    click.echo(printable(f"{when}  {event['subject']}  {event['text']}"))
    sys.stdout.flush()


def _until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Run what never ends by itself; Ctrl-C is how it should end."""
    try:
        run(work)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


@click.command(epilog=example("boardherd watch --json | jq -r 'select(.initial | not) | .text'"))
@lab_options(hidden=True)
@pass_lab
def watch(lab: Lab) -> None:
    """Show everything live, until Ctrl-C.

    On a terminal a picture that keeps itself up to date, elsewhere one line per change; with --json one JSON
    object per line. It listens to the broker and works without the collector.
    """
    _until_interrupted(_watch(lab))


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
