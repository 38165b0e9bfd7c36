"""Switching: power of a board, and single relay ports."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure, Silence, exit_of
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.targets import Target
    from boardherd_shared.command import Command, CommandStep
    from boardherd_shared.views import FleetView

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_WAIT_ALIVE = "90s"
"""What ``--wait-alive`` alone means: the boot time that the inventory grants a board by default."""

_TIME = re.compile(r"\d+(\.\d+)?(us|ms|s|m|min|h|d)?")


class Switch(click.Command):
    """A command with ``--wait-alive``, whose time may be left out or follow after ``=`` or a blank."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Complete a bare ``--wait-alive``; else click would take the board's name for the time."""
        ready: list[str] = []
        rest = list(args)
        while rest:
            arg = rest.pop(0)
            if arg == "--":
                ready += [arg, *rest]
                break
            if arg == "--wait-alive":
                given = bool(rest) and _TIME.fullmatch(rest[0]) is not None
                arg = f"{arg}={rest.pop(0) if given else DEFAULT_WAIT_ALIVE}"
            ready.append(arg)
        return super().parse_args(ctx, ready)


def _audit_options(function: F) -> F:
    for option in (
        click.option(
            "--id", "command_id", metavar="ID", help="Id of the command; the same id never acts twice."
        ),
        click.option("--on-behalf-of", metavar="WHO", help="The person a service acts for."),
        click.option("--reason", metavar="TEXT", help="Why; goes to the audit trail."),
        click.option(
            "--expect", type=click.Choice(["on", "off"]), help="Do it only if this is the state now."
        ),
    ):
        function = option(function)
    return function


_board = click.argument("board", shell_complete=complete("boards"))
_wait_alive = click.option(
    "--wait-alive",
    type=Duration(),
    metavar="[TIME]",
    help=f"Wait until the board is alive, {DEFAULT_WAIT_ALIVE} at most unless given; exit code 5 if it does not boot.",
)


@click.group(epilog=example('boardherd power cycle evm-07 --wait-alive --reason "hung in test 12"'))
def power() -> None:
    """Switch the power of a board, or show it.

    BOARD is an id or a name. Exit codes: 0 done, 1 the hardware failed, 3 nobody answered, 4 refused, 5 switched
    but did not boot.
    """


@power.command(cls=Switch)
@_board
@_wait_alive
@_audit_options
@lab_options(hidden=True)
@pass_lab
def on(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board on."""
    _switch_board(lab, "on", board, options)


@power.command()
@_board
@_audit_options
@lab_options(hidden=True)
@pass_lab
def off(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board off."""
    _switch_board(lab, "off", board, options)


@power.command()
@_board
@_audit_options
@lab_options(hidden=True)
@pass_lab
def toggle(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board to its other state.

    Refused when the present state is unknown.
    """
    _switch_board(lab, "toggle", board, options)


@power.command(cls=Switch, epilog=example("boardherd power cycle evm-07 --off-time 10s --wait-alive=60s"))
@_board
@_wait_alive
@click.option(
    "--off-time", type=Duration(), metavar="TIME", help="How long to stay off; the board's own by default."
)
@_audit_options
@lab_options(hidden=True)
@pass_lab
def cycle(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board off and on again.

    One that is off is switched on. Without --off-time it stays off for as long as the inventory says.
    """
    _switch_board(lab, "cycle", board, options)


@power.command()
@_board
@lab_options(hidden=True)
@pass_lab
def show(lab: Lab, board: str) -> None:
    """Show the power of a board.

    What was measured, what was asked, and who switched it last.
    """
    from boardherd import output, tables
    from boardherd.tables import Cell
    from boardherd.targets import board_of

    fleet = lab.fleet()
    view = board_of(fleet, board)
    ports = [
        port for relay in fleet.relays for port in relay.ports if f"{port.relay}:{port.port}" in view.power
    ]
    if lab.json:
        output.emit_json(
            {
                "board": view.model_dump(mode="json", exclude_none=True),
                "ports": [port.model_dump(mode="json", exclude_none=True) for port in ports],
            }
        )
        return
    output.emit_line(
        Cell(view.id, "strong"), Cell(view.name), Cell(view.text or tables.verdict_word(view.verdict))
    )
    output.emit_table(tables.ports_table(ports, fleet), indent=2)
    if not ports:
        output.note("no relay port is known to power it")


@click.group(epilog=example("boardherd relay set eth-1:3 off"))
def relay() -> None:
    """Switch single relay ports."""


@relay.command("set")
@click.argument("port", metavar="RELAY:PORT", shell_complete=complete("ports"))
@click.argument("state", type=click.Choice(["on", "off"]))
@_audit_options
@lab_options(hidden=True)
@pass_lab
def set_port(lab: Lab, /, port: str, state: str, **options: Any) -> None:
    """Switch one relay port, in the sense of the board it feeds.

    A board with several feeds is better switched with `boardherd power`, which keeps their order.
    """
    from boardherd.targets import port_target

    _carry_out(lab, _command(state, options), lambda fleet: port_target(fleet, port))


def _switch_board(lab: Lab, action: str, board: str, options: dict[str, Any]) -> None:
    from boardherd.targets import board_target

    _carry_out(lab, _command(action, options), lambda fleet: board_target(fleet, board))


def _command(action: str, options: dict[str, Any]) -> Command:
    """Return the command that the options describe; raises Failure in words."""
    from pydantic import ValidationError

    from boardherd_shared.command import Action, Command
    from boardherd_shared.messages import explain

    options = {"id" if key == "command_id" else key: value for key, value in options.items()}
    try:
        return Command(action=Action(action), **options)
    except ValidationError as error:
        raise Failure(Exit.USAGE, explain(error).replace("_", "-")) from error


def _carry_out(lab: Lab, command: Command, aim: Callable[[FleetView], Target]) -> None:
    """Send a command, show its life, and leave with the exit code of its end."""
    from boardherd import output
    from boardherd_shared.ids import new_command_id

    command = command.model_copy(update={"id": command.id or new_command_id()})
    steps: list[CommandStep] = []
    try:
        run(_follow(lab, command, aim, steps))
        failure = None
    except Failure as problem:
        failure = problem
    except KeyboardInterrupt:
        failure = Failure(Exit.STOPPED, _left_alone(command, steps))
    if failure is None and (code := exit_of(steps[-1])):
        failure = Failure(code, steps[-1].text)
    if lab.json:
        output.emit_json(_document(command, steps, failure))
    elif failure is None:
        click.echo(printable(steps[-1].text))
    if failure is not None:
        raise failure


async def _follow(
    lab: Lab, command: Command, aim: Callable[[FleetView], Target], steps: list[CommandStep]
) -> None:
    """Fill ``steps`` until the final one is there; raises Failure."""
    from boardherd.progress import follower
    from boardherd.targets import whereabouts

    client: Client = lab.client()
    fleet = await client.fleet()
    target = aim(fleet)
    with follower(f"{command.action} {target.label}") as show:
        try:
            async with contextlib.aclosing(client.send(command, target)) as life:
                async for step in life:
                    steps.append(step)
                    show(step)
        except Silence as silence:
            where = whereabouts(fleet, target.pc)
            raise Failure(Exit.UNREACHABLE, f"{silence.message}; {where}") from silence


def _left_alone(command: Command, steps: list[CommandStep]) -> str:
    if not steps:
        return "stopped before anybody answered; the command may still be carried out while it is valid"
    return f"no longer watching, {steps[-1].agent} goes on; learn the outcome with --id {command.id}"


def _document(command: Command, steps: list[CommandStep], failure: Failure | None) -> dict[str, Any]:
    """Return the whole life of a command as one document."""
    last = steps[-1] if steps else None
    return {
        "id": command.id,
        "action": command.action,
        "target": last.target if last else None,
        "state": last.state if last else None,
        "observed": last.observed if last else None,
        "text": failure.message if failure else steps[-1].text,
        "exit_code": failure.exit_code if failure else 0,
        "times": last.times if last else {},
        "steps": [step.model_dump(mode="json", exclude_none=True) for step in steps],
    }
