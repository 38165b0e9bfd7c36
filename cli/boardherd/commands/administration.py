"""What people decide about test PCs, boards and relays; the collector carries it out, so a dead PC is no hindrance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from boardherd.commands.carrying import attempt, document
from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure, Silence, exit_of
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.targets import Named
    from boardherd_shared.collector_command import CollectorCommand
    from boardherd_shared.command import CommandStep

F = TypeVar("F", bound=Callable[..., Any])

_KIND = click.option(
    "--kind",
    type=click.Choice(["pc", "board", "relay"]),
    help="What is meant, where one id names several things.",
)


def _audit_options(function: F) -> F:
    for option in (
        click.option("--on-behalf-of", metavar="WHO", help="The person a service acts for."),
        click.option(
            "--id", "command_id", metavar="ID", help="Id of the command; the same id never acts twice."
        ),
    ):
        function = option(function)
    return function


def _reason(*, required: bool) -> Callable[[F], F]:
    return click.option("--reason", metavar="TEXT", required=required, help="Why; goes to the audit trail.")


@click.command(
    epilog=example(
        'boardherd maintenance pc-02 on --reason "new disk"',
        'boardherd maintenance eth-1 off --reason "mended"',
    )
)
@click.argument("thing", metavar="PC|RELAY", shell_complete=complete("pcs relays"))
@click.argument("state", type=click.Choice(["on", "off"]))
@_KIND
@_reason(required=True)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def maintenance(lab: Lab, /, thing: str, state: str, **options: Any) -> None:
    """Put a test PC or a relay into maintenance, or take it out.

    Only a person ends it. A PC in maintenance raises no alarm and its boards are not available; a relay in
    maintenance is not switched. A board is taken out of use with `boardherd deactivate`.
    """
    _administer(lab, "maintenance", thing, {"on": state == "on", **options})


@click.command(epilog=example('boardherd deactivate evm-07 --reason "DDR is broken"'))
@click.argument("board", shell_complete=complete("boards"))
@_reason(required=True)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def deactivate(lab: Lab, /, board: str, **options: Any) -> None:
    """Take a board out of use; `boardherd activate` takes it back."""
    _administer(lab, "deactivate", board, {"kind": "board", **options})


@click.command(epilog=example('boardherd activate evm-07 --reason "repaired"'))
@click.argument("board", shell_complete=complete("boards"))
@_reason(required=True)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def activate(lab: Lab, /, board: str, **options: Any) -> None:
    """Take a board into use again."""
    _administer(lab, "activate", board, {"kind": "board", **options})


@click.command(
    epilog=example(
        'boardherd retire pc-02 --reason "scrapped"', 'boardherd retire pc-02 --undo --reason "came back"'
    )
)
@click.argument("thing", metavar="PC|BOARD|RELAY", shell_complete=complete("pcs boards relays"))
@click.option("--undo", is_flag=True, help="Show it again.")
@_KIND
@_reason(required=True)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def retire(lab: Lab, /, thing: str, undo: bool, **options: Any) -> None:
    """Show something no more that has left lab.toml; its history stays."""
    _administer(lab, "unretire" if undo else "retire", thing, options)


@click.command(
    epilog=example(
        'boardherd rename evm-07 "J721E camera bench"', "boardherd rename evm-07   # the name of lab.toml"
    )
)
@click.argument("thing", metavar="PC|BOARD|RELAY", shell_complete=complete("pcs boards relays"))
@click.argument("name", required=False)
@_KIND
@_reason(required=False)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def rename(lab: Lab, /, thing: str, **options: Any) -> None:
    """Give something a name that goes before that of lab.toml; without NAME, lab.toml's holds again."""
    _administer(lab, "rename", thing, options)


@click.command(
    epilog=example('boardherd note evm-07 "fan is loud"', "boardherd note evm-07   # takes the note away")
)
@click.argument("thing", metavar="PC|BOARD|RELAY", shell_complete=complete("pcs boards relays"))
@click.argument("text", required=False)
@_KIND
@_reason(required=False)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def note(lab: Lab, /, thing: str, text: str | None, **options: Any) -> None:
    """Write down what people should know about something; without TEXT the note goes."""
    _administer(lab, "note", thing, {"note": text, **options})


def _administer(lab: Lab, action: str, name: str, options: dict[str, Any]) -> None:
    """Send a command to the collector, and leave with the exit code of its end."""
    from boardherd import output

    steps: list[CommandStep] = []
    sent: list[CollectorCommand] = []
    failure = attempt(lambda: run(_follow(lab.client(), action, name, options, sent, steps)))
    if failure is None and (code := exit_of(steps[-1])):
        failure = Failure(code, steps[-1].text)
    if lab.json and sent:
        output.emit_json(document(sent[0], steps, failure))
    elif failure is None:
        click.echo(printable(steps[-1].text))
    if failure is not None:
        raise failure


async def _follow(
    client: Client,
    action: str,
    name: str,
    options: dict[str, Any],
    sent: list[CollectorCommand],
    steps: list[CommandStep],
) -> None:
    from boardherd.progress import follower
    from boardherd.targets import named

    fleet = await client.fleet()
    thing = named(fleet, name, options.pop("kind", None), gone=action == "unretire")
    command = _describe(action, thing, options, client.settings.timeout)
    sent.append(command)
    with follower(f"{action} {command.thing}") as shown:
        try:
            async with contextlib.aclosing(client.tell_collector(command, fleet.site)) as life:
                async for step in life:
                    steps.append(step)
                    shown.step(step)
        except Silence as silence:
            raise Failure(Exit.UNREACHABLE, f"{silence.message}; is the collector running?") from silence


def _describe(action: str, thing: Named, options: dict[str, Any], valid_for: float) -> CollectorCommand:
    """Return the command that the options describe; raises Failure in words."""
    from pydantic import ValidationError

    from boardherd_shared.collector_command import CollectorAction, CollectorCommand
    from boardherd_shared.ids import new_command_id
    from boardherd_shared.messages import explain

    id_ = options.pop("command_id") or new_command_id()
    fields: dict[str, Any] = {thing.kind: thing.id, **options}
    try:
        return CollectorCommand(
            id=id_,
            action=CollectorAction(action),
            sent_at=time.time(),
            valid_for=valid_for,
            **fields,
        )
    except ValidationError as error:
        raise Failure(Exit.USAGE, explain(error)) from error
