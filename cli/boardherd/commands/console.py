"""Looking at a board's serial console, and typing there as the holder of its lock."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import click

from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd_shared.console import ConsoleAnswer, ConsoleRequest


@click.command(
    epilog=example(
        "boardherd console evm-07",
        "boardherd console evm-07 --read-only | tee boot.log",
        "boardherd console evm-07 --scrollback 100 --json | jq -r .text",
        "ssh -t pc-01 boardherd console evm-07",
    )
)
@click.argument("board", metavar="BOARD", shell_complete=complete("boards"))
@click.option("--read-only", is_flag=True, help="Type nothing; Ctrl-C leaves.")
@click.option(
    "--lock",
    metavar="ID",
    help="Id of the lock that you hold; BOARD_LOCK, if BOARD is the board, by default.",
)
@click.option(
    "--scrollback",
    type=click.IntRange(min=0, max=100_000),
    default=0,
    metavar="LINES",
    help="Begin with the last LINES.",
)
@lab_options(hidden=True)
@pass_lab
def console(lab: Lab, /, board: str, read_only: bool, lock: str | None, scrollback: int) -> None:
    """Show a board's serial console, live.

    Works on the test PC that the board hangs on, through its agent, and disturbs nobody who reads it too. Where
    lab.toml has console = "tap", the holder of the board's lock can type; ~. at the beginning of a line leaves, ~?
    helps. Elsewhere the console can be seen while nobody has locked the board, and its holder opens the device.
    With --json each line is an object with its time. Exit code 4: the console is somebody's.
    """
    from boardherd_shared.console import ConsoleRequest

    if sys.platform == "win32":
        raise Failure(Exit.USAGE, "consoles are shared on Linux and macOS only")
    if lock is None and os.environ.get("BOARD") == board:
        lock = os.environ.get("BOARD_LOCK")
    typing = not read_only and not lab.json and sys.stdin.isatty()
    request = ConsoleRequest(
        console=board[:63], lock=lock, write=typing, scrollback=scrollback, lines=lab.json
    )
    run(_console(lab, request, board))


async def _console(lab: Lab, request: ConsoleRequest, name: str) -> None:
    from boardherd.consoles import Away, elsewhere
    from boardherd.targets import board_of

    away: Away | None = None
    try:
        if await _shown(lab, request):
            return
    except Away as nobody:
        if lab.local:
            raise
        away = nobody
    if lab.local:
        raise Failure(Exit.USAGE, f'the agent of this machine has no board "{name}"')
    fleet = await lab.client().fleet()
    named = board_of(fleet, name).id
    if away or named == name or not await _shown(lab, request.model_copy(update={"console": named})):
        raise elsewhere(fleet, name, away)


async def _shown(lab: Lab, request: ConsoleRequest) -> bool:
    """Show the console, to its end; False if the agent of this machine has no such board. Raises Failure."""
    from boardherd.consoles import asked, show

    async with asked(lab.agent_here(), request) as talk:
        if not talk.answer.known:
            return False
        if not talk.answer.granted:
            raise Failure(Exit.REFUSED, talk.answer.text)
        typing = request.write and talk.answer.write
        _say_how(request, talk.answer, typing=typing)
        await show(talk, typing=typing, stop=asyncio.Event())
    return True


def _say_how(request: ConsoleRequest, answer: ConsoleAnswer, *, typing: bool) -> None:
    from boardherd.output import note

    if not sys.stderr.isatty():
        return
    why = f" ({answer.text})" if request.write and answer.text else ""
    note(
        f"{request.console}: ~. at the beginning of a line leaves, ~? helps"
        if typing
        else f"{request.console}: reading only{why}; Ctrl-C leaves"
    )
