"""Switching everything off that test PCs power, all of them at once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.carrying import attempt, audit_options, describe, document
from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure, Silence, exit_of
from boardherd.printable import printable

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.local import LocalAgent
    from boardherd.progress import Follower
    from boardherd.targets import Target
    from boardherd_shared.command import Command, CommandStep


class Life:
    """What became of the command at one test PC."""

    def __init__(self, target: Target, command: Command) -> None:
        self.target, self.command = target, command
        self.steps: list[CommandStep] = []
        self.failure: Failure | None = None

    @property
    def end(self) -> Failure | None:
        """Why it did not succeed."""
        if self.failure:
            return self.failure
        if not (self.steps and self.steps[-1].final):
            return Failure(Exit.STOPPED, "no longer watched; what is under way there goes on")
        code = exit_of(self.steps[-1])
        return Failure(code, self.steps[-1].text) if code else None


@click.command(
    "all-off",
    epilog=example(
        'boardherd power all-off pc-01 --reason "smoke in rack 3"',
        'boardherd power all-off --all --force --reason "power cut at 14:00"',
    ),
)
@click.argument("pc", nargs=-1, shell_complete=complete("pcs"))
@click.option("--all", "everywhere", is_flag=True, help="At every test PC.")
@click.option("--force", is_flag=True, help="Boards too that somebody else has locked.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@audit_options
@lab_options(hidden=True)
@pass_lab
def all_off(lab: Lab, /, pc: tuple[str, ...], everywhere: bool, yes: bool, **options: Any) -> None:
    """Switch everything off that a test PC powers; ends what is under way there.

    Needs --reason. Boards that somebody else has locked are left alone and told, unless --force is given. On a
    terminal it asks first.
    """
    from boardherd import output

    if bool(pc) == everywhere:
        raise Failure(Exit.USAGE, "name the test PCs, or say --all")
    if not options["reason"]:
        raise Failure(Exit.USAGE, "all-off needs --reason, for those whose boards go dark")
    command = describe("all-off", {key: value for key, value in options.items() if key != "progress"})
    if command.id and (everywhere or len(pc) > 1):
        raise Failure(Exit.USAGE, "one --id cannot be for several test PCs")
    way: LocalAgent | Client = lab.agent_here() if lab.local else lab.client()
    targets = _targets(lab, pc, everywhere=everywhere)
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        where = ", ".join(target.pc for target in targets)
        click.confirm(f"Switch off everything at {where}?", abort=True, err=True)
    lives = [Life(target, command) for target in targets]
    stopped = attempt(lambda: run(_everywhere(way, lives, lines=bool(options["progress"]))))
    if lab.json:
        output.emit_json(
            [document(life.command, life.steps, life.end) | {"pc": life.target.pc} for life in lives]
        )
    _conclude(lives, stopped, quiet=lab.json)


def _targets(lab: Lab, names: tuple[str, ...], *, everywhere: bool) -> list[Target]:
    from boardherd.aim import Aim
    from boardherd.targets import pc_target

    if lab.local:
        if everywhere or len(names) > 1:
            raise Failure(Exit.USAGE, "--local reaches the agent of this machine only; name that one")
        return [Aim(names[0], "pc").here()]
    fleet = lab.fleet()
    targets = [pc_target(fleet, name) for name in (names or [pc.id for pc in fleet.pcs])]
    if not targets:
        raise Failure(Exit.USAGE, "no test PC has been heard of")
    return targets


async def _everywhere(way: LocalAgent | Client, lives: list[Life], *, lines: bool) -> None:
    """Send the command to all at once: a PC that does not answer keeps nobody waiting."""
    from boardherd.progress import follower

    with follower(f"all-off at {len(lives)} test PCs" if len(lives) > 1 else "all-off", lines=lines) as shown:
        async with asyncio.TaskGroup() as tasks:
            for life in lives:
                tasks.create_task(_live(way, life, shown), name=f"all-off {life.target.pc}")


async def _live(way: LocalAgent | Client, life: Life, shown: Follower) -> None:
    from boardherd_shared.ids import new_command_id

    life.command = life.command.model_copy(update={"id": life.command.id or new_command_id()})
    try:
        async with contextlib.aclosing(way.send(life.command, life.target)) as told:
            async for step in told:
                life.steps.append(step)
                shown.step(step)
    except Silence as silence:
        life.failure = Failure(Exit.UNREACHABLE, f"{silence.message}; its boards may still be on")
    except Failure as failure:
        life.failure = failure


def _conclude(lives: list[Life], stopped: Failure | None, *, quiet: bool) -> None:
    """Print how each ended, and leave with the worst exit code; Ctrl-C wins."""
    failures = [(life.target.pc, life.end) for life in lives]
    for life, (pc, end) in zip(lives, failures, strict=True):
        if not quiet and end is None:
            click.echo(printable(f"{pc}: {life.steps[-1].text}"))
    bad = [(pc, end) for pc, end in failures if end]
    if not bad:
        return
    worst = stopped or min((end for _, end in bad), key=lambda end: _SEVERITY.index(Exit(end.exit_code)))
    raise Failure(Exit(worst.exit_code), "; ".join(f"{pc}: {end.message}" for pc, end in bad))


_SEVERITY = [Exit.STOPPED, Exit.HARDWARE, Exit.UNREACHABLE, Exit.REFUSED, Exit.NO_BOOT, Exit.USAGE]
"""Which exit code tells most about several PCs, the worst first."""
