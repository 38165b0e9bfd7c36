"""Having a board to oneself: lock, unlock, locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from boardherd.aim import Aim
from boardherd.commands.carrying import audit_options, carry_out
from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab

if TYPE_CHECKING:
    from boardherd_shared.command import CommandStep

_board = click.argument("board", shell_complete=complete("boards"))
_lock = click.option(
    "--lock",
    metavar="ID",
    help="Id of the lock that you hold; BOARD_LOCK, if BOARD is the board, by default.",
)


@click.command(
    epilog=example(
        'boardherd lock evm-07 --for 2h --reason "kernel bring-up"',
        "boardherd lock evm-07 --for 30m --use updating-sdk",
    )
)
@_board
@click.option(
    "--for",
    "for_",
    type=Duration(),
    metavar="TIME",
    help="For how long; an hour by default, at most max_lock of lab.toml.",
)
@click.option(
    "--use", metavar="WORD", help='What for: "busy" by default, "updating-sdk", or a word of your lab.'
)
@click.option("--fenced", is_flag=True, help="Whoever acts must name the lock's id; your name is not enough.")
@_lock
@audit_options
@lab_options(hidden=True)
@pass_lab
def lock(lab: Lab, /, board: str, **options: Any) -> None:
    """Take a board for yourself, or extend that.

    Until the time is up nobody else switches it, off included. Without --fenced your name is enough to act;
    with it every command needs --lock, which keeps several jobs under one name apart.
    """
    carry_out(lab, "lock", Aim(board), options, _with_id if options["fenced"] else None)


def _with_id(step: CommandStep) -> str:
    return f"{step.text}; its id is {step.lock}"


@click.command(
    epilog=example("boardherd unlock evm-07", 'boardherd unlock evm-07 --force --reason "job is long gone"')
)
@_board
@_lock
@click.option(
    "--force",
    is_flag=True,
    help="End what somebody else holds; needs --reason, and where lab.toml names admins, one of them.",
)
@audit_options
@lab_options(hidden=True)
@pass_lab
def unlock(lab: Lab, /, board: str, **options: Any) -> None:
    """Free a board that you have locked."""
    carry_out(lab, "unlock", Aim(board), options)


@click.command(epilog=example("boardherd locks", "boardherd locks --mine --json | jq -r '.[].board'"))
@click.option("--mine", is_flag=True, help="Only what you hold yourself.")
@lab_options(hidden=True)
@pass_lab
def locks(lab: Lab, mine: bool) -> None:
    """List who holds which board, what for and until when."""
    from boardherd import output, tables

    fleet = lab.fleet()
    me = lab.settings().operator if mine else None
    held = [(board, it) for board, it in tables.held_boards(fleet) if me in {None, it.owner}]
    if lab.json:
        rows = [{"board": board.id} | it.model_dump(mode="json", exclude_none=True) for board, it in held]
        output.emit_json(rows)
        return
    if fleet.banner:
        output.note(fleet.banner)
    output.emit_table(tables.locks_table(held, fleet.at))
    if not held:
        output.note("you hold no board" if mine else "nobody holds a board")
