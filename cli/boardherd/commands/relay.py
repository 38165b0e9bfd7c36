"""Single relay ports: switching them, and settling what an outage or somebody's hand has changed."""

from __future__ import annotations

from typing import Any

import click

from boardherd.aim import Aim
from boardherd.commands.carrying import audit_options, carry_out, holder_options
from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab

_thing = click.argument("thing", metavar="RELAY:PORT|BOARD", shell_complete=complete("ports boards"))


@click.group(epilog=example("boardherd relay set eth-1:3 off", "boardherd relay restore evm-07"))
def relay() -> None:
    """Switch single relay ports, or settle what changed behind our back."""


@relay.command("set", epilog=example("boardherd relay set eth-1:3 off --expect on"))
@click.argument("port", metavar="RELAY:PORT", shell_complete=complete("ports"))
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--expect", type=click.Choice(["on", "off"]), help="Do it only if this is the state now.")
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def set_port(lab: Lab, /, port: str, state: str, **options: Any) -> None:
    """Switch one relay port, in the sense of the board it feeds.

    A board with several feeds is better switched with `boardherd power`, which keeps their order.
    """
    carry_out(lab, state, Aim(port, "port"), options)


@relay.command(epilog=example("boardherd relay restore eth-1:3", "boardherd relay restore evm-07"))
@_thing
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def restore(lab: Lab, /, thing: str, **options: Any) -> None:
    """Bring ports back to what was last asked of them, for example after the module lost its power."""
    carry_out(lab, "restore", Aim(thing, "port or board"), options)


@relay.command(
    epilog=example(
        "boardherd lock evm-07 && boardherd lock evm-08",
        'boardherd relay trace eth-1 --reason "new cables"',
    )
)
@click.argument("relay", shell_complete=complete("relays"))
@click.option("--pc", metavar="PC", help="Which test PC should trace its ports, where several use the relay.")
@click.option(
    "--force", is_flag=True, help="Trace though boards of other PCs hang on the relay too; needs --reason."
)
@audit_options
@lab_options(hidden=True)
@pass_lab
def trace(lab: Lab, /, relay: str, pc: str | None, **options: Any) -> None:
    """Find out which board hangs on which port: each goes off and on in turn, and it is seen who falls silent.

    Lock every board on the relay first, under your own name. Takes about ten seconds a port; each port's answer is
    told as it comes, and with --json as "facts" of the last step.
    """
    from boardherd_shared.ids import is_slug

    told = {"progress": True} if not lab.json else {}
    fields = {"relay": relay if is_slug(relay) else "by-name"}  # the id takes its place when it is known
    carry_out(lab, "trace", Aim(relay, "relay", pc), options | fields | told)


@relay.command(epilog=example('boardherd relay accept eth-1:3 --reason "switched by hand, stays so"'))
@_thing
@holder_options
@audit_options
@lab_options(hidden=True)
@pass_lab
def accept(lab: Lab, /, thing: str, **options: Any) -> None:
    """Take the measured state of ports for the one that is wanted; nothing is switched.

    Of a board, suspect wiring is taken for right, too; that needs --reason.
    """
    carry_out(lab, "accept", Aim(thing, "port or board"), options)
