"""The control lines of a board: reset, and what else the inventory names."""

from __future__ import annotations

from typing import Any

import click

from boardherd.aim import Aim
from boardherd.commands.carrying import audit_options, carry_out, holder_options
from boardherd.commands.lab import Lab, complete, complete_line, example, lab_options, pass_lab


@click.command(
    epilog=example("boardherd reset evm-07", 'boardherd reset evm-07 --force --reason "console hangs"')
)
@click.argument("board", shell_complete=complete("boards"))
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def reset(lab: Lab, /, board: str, **options: Any) -> None:
    """Pulse the reset line of a board.

    The line and the length of its pulse are lines.reset in lab.toml; the power stays on.
    """
    carry_out(lab, "reset", Aim(board), options)


@click.command(
    epilog=example("boardherd line evm-07 boot-mode on", "boardherd line evm-07 power-button pulse")
)
@click.argument("board", shell_complete=complete("boards"))
@click.argument("name", shell_complete=complete_line)
@click.argument("level", type=click.Choice(["on", "off", "pulse"]))
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def line(lab: Lab, /, board: str, name: str, **options: Any) -> None:
    """Put a line of a board to a level, or pulse it.

    NAME is one of its lines in lab.toml; a pulse lasts as long as is said there.
    """
    carry_out(lab, "line", Aim(board), {"line": name, **options})
