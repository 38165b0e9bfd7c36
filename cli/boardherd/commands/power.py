"""Switching the power of a board."""

from __future__ import annotations

import re
from typing import Any

import click

from boardherd.aim import Aim
from boardherd.commands.all_off import all_off
from boardherd.commands.carrying import audit_options, carry_out, holder_options
from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab

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


_board = click.argument("board", shell_complete=complete("boards"))
_expect = click.option(
    "--expect", type=click.Choice(["on", "off"]), help="Do it only if this is the state now."
)
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
@_expect
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def on(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board on."""
    _switch(lab, "on", board, options)


@power.command()
@_board
@_expect
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def off(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board off."""
    _switch(lab, "off", board, options)


@power.command()
@_board
@_expect
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def toggle(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board to its other state.

    Refused when the present state is unknown.
    """
    _switch(lab, "toggle", board, options)


@power.command(cls=Switch, epilog=example("boardherd power cycle evm-07 --off-time 10s --wait-alive=60s"))
@_board
@_wait_alive
@click.option(
    "--off-time", type=Duration(), metavar="TIME", help="How long to stay off; the board's own by default."
)
@_expect
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def cycle(lab: Lab, /, board: str, **options: Any) -> None:
    """Switch a board off and on again.

    One that is off is switched on. Without --off-time it stays off for as long as the inventory says.
    """
    _switch(lab, "cycle", board, options)


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


def _switch(lab: Lab, action: str, board: str, options: dict[str, Any]) -> None:
    carry_out(lab, action, Aim(board), options)


power.add_command(all_off)
