"""Asking an agent for what moves nothing: a fact about a board, a look at it, a report, an end."""

from __future__ import annotations

from typing import Any

import click

from boardherd.aim import Aim
from boardherd.commands.carrying import audit_options, carry_out
from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab
from boardherd.exit_codes import Exit, Failure

_board = click.argument("board", shell_complete=complete("boards"))
_pc = click.argument("pc", shell_complete=complete("pcs"))


@click.command("set", epilog=example('boardherd set evm-07 --sdk-version 10.01 --note "camera on CSI0"'))
@_board
@click.option("--sdk-version", metavar="VERSION", help="The SDK that is installed on the board now.")
@click.option("--note", metavar="TEXT", help="What people should know about the board.")
@click.option("--lock", metavar="ID", help="Id of the lock that you hold; BOARD_LOCK by default.")
@audit_options
@lab_options(hidden=True)
@pass_lab
def set_facts(lab: Lab, /, board: str, **options: Any) -> None:
    """Write down a fact about a board.

    While somebody holds the board, only he may. `boardherd note` changes the note of a board whose PC is dead.
    """
    if options["sdk_version"] is None and options["note"] is None:
        raise Failure(Exit.USAGE, "say what to write down: --sdk-version or --note")
    carry_out(lab, "set", Aim(board), options)


@click.command(epilog=example("boardherd probe evm-07"))
@_board
@audit_options
@lab_options(hidden=True)
@pass_lab
def probe(lab: Lab, /, board: str, **options: Any) -> None:
    """Look at a board now, with everything there is, and say what was seen."""
    carry_out(lab, "probe", Aim(board), options)


@click.command(epilog=example("boardherd refresh pc-01"))
@_pc
@audit_options
@lab_options(hidden=True)
@pass_lab
def refresh(lab: Lab, /, pc: str, **options: Any) -> None:
    """Have a test PC tell the state of all its boards and ports once more."""
    carry_out(lab, "report", Aim(pc, "pc"), options)


@click.command(epilog=example('boardherd drain pc-01 --reason "reboot for the new kernel"'))
@_pc
@audit_options
@lab_options(hidden=True)
@pass_lab
def drain(lab: Lab, /, pc: str, **options: Any) -> None:
    """Have a test PC finish: no more commands, what is under way to its end, what is spooled delivered.

    Only off and all-off are still obeyed. A restart of the agent ends it.
    """
    carry_out(lab, "drain", Aim(pc, "pc"), options)
