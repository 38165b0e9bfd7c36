"""What every command to an agent shares: its options, its life on the terminal, its end as an exit code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from boardherd.commands.lab import Lab, run
from boardherd.exit_codes import Exit, Failure, Silence, exit_of
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.aim import Aim
    from boardherd.client import Client
    from boardherd.local import LocalAgent
    from boardherd.targets import Target
    from boardherd_shared.collector_command import CollectorCommand
    from boardherd_shared.command import Command, CommandStep

F = TypeVar("F", bound=Callable[..., Any])


def audit_options(function: F) -> F:
    """Add what every command may say: its id, whom it is for, why, and whether each step is told."""
    return _add(
        function,
        click.option(
            "--id", "command_id", metavar="ID", help="Id of the command; the same id never acts twice."
        ),
        click.option("--on-behalf-of", metavar="WHO", help="The person a service acts for."),
        click.option("--reason", metavar="TEXT", help="Why; goes to the audit trail."),
        click.option(
            "--progress",
            is_flag=True,
            help="Tell each step on standard error, even where that is no terminal.",
        ),
    )


def holder_options(function: F) -> F:
    """Add what somebody says who has locked a board, or acts though somebody else has it."""
    return _add(
        function,
        click.option(
            "--lock",
            metavar="ID",
            help="Id of the lock that you hold; BOARD_LOCK, if BOARD is the board, by default.",
        ),
        click.option(
            "--force", is_flag=True, help="Act though somebody uses the board without a lock; needs --reason."
        ),
    )


def _add(function: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def describe(action: str, options: Mapping[str, Any]) -> Command:
    """Return the command that the options describe; raises Failure in words."""
    from pydantic import ValidationError

    from boardherd_shared.command import Action, Command
    from boardherd_shared.messages import explain

    values = {("id" if key == "command_id" else key): value for key, value in options.items()}
    if values.get("force") and not values.get("reason"):
        raise Failure(Exit.USAGE, "--force needs --reason, for those whom it concerns")
    try:
        return Command(action=Action(action), **values)
    except ValidationError as error:
        raise Failure(Exit.USAGE, explain(error).replace("_", "-")) from error


def with_lock(command: Command, target: Target, environment: Mapping[str, str] = os.environ) -> Command:
    """Return ``command`` naming the lock that the environment holds on its board, unless it names one itself."""
    held = environment.get("BOARD_LOCK")
    board = target.board or target.belongs_to
    if command.lock or not held or board is None or environment.get("BOARD") != board:
        return command
    return command.model_copy(update={"lock": held})


def carry_out(
    lab: Lab,
    action: str,
    aim: Aim,
    options: Mapping[str, Any],
    told: Callable[[CommandStep], str] | None = None,
) -> None:
    """Send a command, show its life, and leave with the exit code of its end.

    Args:
        lab: where to.
        action: what is asked for.
        aim: of what.
        options: the other fields of the command, and ``progress``.
        told: makes the final sentence of a success, if it is not the step's own text.
    """
    from boardherd import output
    from boardherd_shared.ids import new_command_id

    fields = {key: value for key, value in options.items() if key != "progress"}
    command = describe(action, fields)
    command = command.model_copy(update={"id": command.id or new_command_id()})
    steps: list[CommandStep] = []
    failure = attempt(lambda: run(_follow(lab, command, aim, steps, lines=bool(options.get("progress")))))
    if failure is None and (code := exit_of(steps[-1])):
        failure = Failure(code, steps[-1].text)
    if failure is not None and failure.exit_code == Exit.STOPPED:
        failure = Failure(Exit.STOPPED, _left_alone(command, steps))
    if lab.json:
        output.emit_json(document(command, steps, failure))
    elif failure is None:
        click.echo(printable(told(steps[-1]) if told else steps[-1].text))
    if failure is not None:
        raise failure


def attempt(work: Callable[[], object]) -> Failure | None:
    """Do ``work``; returns how it failed, Ctrl-C among it."""
    try:
        work()
    except Failure as problem:
        return problem
    except KeyboardInterrupt:
        return Failure(Exit.STOPPED, "stopped")
    return None


async def _follow(lab: Lab, command: Command, aim: Aim, steps: list[CommandStep], *, lines: bool) -> None:
    """Fill ``steps`` until the final one is there; raises Failure."""
    from boardherd.progress import follower
    from boardherd.targets import whereabouts

    way: LocalAgent | Client
    if lab.local:
        way, target, where = lab.agent_here(), aim.here(), "it takes no commands now"
    else:
        way = lab.client()
        fleet = await way.fleet()
        target = aim.among(fleet)
        where = whereabouts(fleet, target.pc)
    command = with_lock(command, target)
    with follower(f"{command.action} {target.label}", lines=lines) as shown:
        try:
            async with contextlib.aclosing(way.send(command, target, shown.sight)) as life:
                async for step in life:
                    steps.append(step)
                    shown.step(step)
        except Silence as silence:
            raise Failure(Exit.UNREACHABLE, f"{silence.message}; {where}") from silence


def _left_alone(command: Command, steps: list[CommandStep]) -> str:
    if not steps:
        return "stopped before anybody answered; the command may still be carried out while it is valid"
    return f"no longer watching, {steps[-1].agent} goes on; learn the outcome with --id {command.id}"


def document(
    command: Command | CollectorCommand, steps: list[CommandStep], failure: Failure | None
) -> dict[str, Any]:
    """Return the whole life of a command as one document."""
    last = steps[-1] if steps else None
    lock = {"lock": last.lock, "until": last.until} if last and last.lock else {}
    return {
        "id": command.id,
        "action": command.action,
        "target": last.target if last else None,
        "state": last.state if last else None,
        "observed": last.observed if last else None,
        "text": failure.message if failure else steps[-1].text,
        "exit_code": failure.exit_code if failure else 0,
        "times": last.times if last else {},
        **lock,
        "steps": [step.model_dump(mode="json", exclude_none=True) for step in steps],
    }
