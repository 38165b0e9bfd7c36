"""Finding a board that can be had, and having it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.carrying import describe
from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.acquiring import Acquirer, Held, Wanted
    from boardherd.client import Client

_EXPORTED = ("BOARD", "BOARD_LOCK", "BOARD_IP", "BOARD_CONSOLE")


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog=example(
        "boardherd acquire --platform j721e --capability CAMERA --wait 20m -- pytest tests/camera",
        "read board lock < <(boardherd acquire --platform am62x --for 3h)",
        "boardherd acquire --board evm-07 --for 1h -- sh -c 'boardherd power cycle \"$BOARD\" --wait-alive'",
    ),
)
@click.option("--platform", metavar="CODE", help="Only a board of this platform, for example j721e.")
@click.option(
    "--capability", metavar="CODE", multiple=True, help="Only a board that has it; may be repeated."
)
@click.option("--board", metavar="BOARD", help="Only this one.", shell_complete=complete("boards"))
@click.option(
    "--for",
    "for_",
    type=Duration(),
    metavar="TIME",
    help="For how long; an hour by default. With a program: when it is ended at the latest.",
)
@click.option(
    "--wait",
    type=Duration(),
    metavar="TIME",
    default=0.0,
    help="How long to wait until one is free; not at all.",
)
@click.option(
    "--lease",
    type=Duration(),
    metavar="TIME",
    default="2m",
    show_default=True,
    help="With a program: how long the board stays locked should this command be killed.",
)
@click.option("--use", metavar="WORD", help='What for: "busy" by default, or a word of your lab.')
@click.option("--on-behalf-of", metavar="WHO", help="The person a service acts for.")
@click.option("--reason", metavar="TEXT", help="Why; goes to the audit trail.")
@click.argument("program", metavar="[-- PROGRAM [ARGUMENT]...]", nargs=-1, type=click.UNPROCESSED)
@lab_options(hidden=True)
@pass_lab
def acquire(lab: Lab, /, program: tuple[str, ...], wait: float, lease: float, **options: Any) -> None:
    """Take a board that is alive and that nobody has.

    Prints the board and the id of the lock, which every command on the board needs (--lock, or BOARD and
    BOARD_LOCK in the environment). With a program, the board is locked while that runs, with BOARD, BOARD_LOCK,
    BOARD_IP and BOARD_CONSOLE in its environment, and freed afterwards; the exit code is the program's. Exit code
    4: nothing was free in time, or the board was lost.
    """
    from boardherd.acquiring import Acquirer, Wanted
    from boardherd.output import note

    if program and shutil.which(program[0]) is None:
        raise Failure(Exit.USAGE, f'there is no program "{program[0]}"')
    if program and lease < 1:
        raise Failure(Exit.USAGE, "a --lease below one second cannot be renewed in time")
    wanted = Wanted(options["platform"], options["capability"], options["board"])
    shared = {name: options[name] for name in ("use", "on_behalf_of", "reason")}
    longest = options["for_"]
    seconds = min(lease, longest or lease) if program else longest
    terms = describe("lock", {**shared, "for_": seconds, "fenced": True})
    client = lab.client()
    acquirer = Acquirer(client, terms, note)
    if program:
        code = run(_run(lab, client, acquirer, wanted, wait, program, longest))
        raise click.exceptions.Exit(code)
    held, facts = run(_take(lab, client, acquirer, wanted, wait))
    _print(lab, held, facts)


async def _take(
    lab: Lab, client: Client, acquirer: Acquirer, wanted: Wanted, wait: float
) -> tuple[Held, Mapping[str, str]]:
    held = await acquirer.acquire(wanted, wait)
    return held, await _facts(lab, client, held)


async def _run(
    lab: Lab,
    client: Client,
    acquirer: Acquirer,
    wanted: Wanted,
    wait: float,
    program: tuple[str, ...],
    longest: float | None,
) -> int:
    from boardherd.leased import run_leased
    from boardherd.output import note

    held, facts = await _take(lab, client, acquirer, wanted, wait)
    note(f"{held.target.board} is yours while {program[0]} runs")
    inherited = {name: value for name, value in os.environ.items() if name not in _EXPORTED}
    return await run_leased(acquirer, held, program, {**inherited, **facts}, longest, note)


async def _facts(lab: Lab, client: Client, held: Held) -> Mapping[str, str]:
    """Return what a program should know of its board; the address only if the collector tells it."""
    from boardherd.output import note

    board = held.board.id
    known = {"BOARD": board, "BOARD_LOCK": held.lock}
    detail: Mapping[str, str | None] = {}
    away = ""
    try:
        detail = (await client.ask(f"boards/{board}"))["detail"] or {}
    except Failure as failure:
        away = failure.message
    told = {"BOARD_IP": detail.get("board_ip"), "BOARD_CONSOLE": await _console_of(lab, held, detail)}
    if away:
        unknown = [name for name, value in told.items() if not value]
        note(f"{' and '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not known: {away}")
    return known | {name: value for name, value in told.items() if value}


async def _console_of(lab: Lab, held: Held, detail: Mapping[str, str | None]) -> str | None:
    """Return what a program opens for the console: a device, or a URL that pyserial takes.

    The agent of this machine knows, if the board hangs here; that a tapped console can be written to by what this
    user opens is arranged with it. Elsewhere there is only what lab.toml says.
    """
    from boardherd.consoles import whereabouts
    from boardherd.output import note

    board, port = held.board.id, detail.get("serial_port")
    here = await whereabouts(lab.agent_here(), board, held.lock)
    if here is None:
        if detail.get("console") == "tap":
            note(
                f"BOARD_CONSOLE is not known: the agent of {held.target.pc} shares the console, on that machine"
            )
            return None
        return port if not port or "/" in port else f"/dev/serial/by-id/{port}"
    if here.mode == "tap" and here.open is None:
        note(f'BOARD_CONSOLE is not known: {board} needs console_tcp in lab.toml, or use "boardherd console"')
    elif here.mode == "tap" and not here.granted:
        note(f"BOARD_CONSOLE can only be read: {here.text}")
    return here.open


def _print(lab: Lab, held: Held, facts: Mapping[str, str]) -> None:
    import time

    from boardherd import output
    from boardherd.holding import deadline

    if lab.json:
        output.emit_json(
            {
                "board": held.board.id,
                "name": held.board.name,
                "pc": held.target.pc,
                "lock": held.lock,
                "until": held.until,
                "board_ip": facts.get("BOARD_IP"),
                "console": facts.get("BOARD_CONSOLE"),
            }
        )
        return
    click.echo(f"{held.board.id} {held.lock}")
    output.note(f"{held.board.id} is yours until {deadline(held.until, time.time())}")
