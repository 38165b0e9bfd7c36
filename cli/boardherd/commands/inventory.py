"""lab.toml: check it, compare it, put it in force here, make one from what a lab had before."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boardherd.commands.inventory_apply import apply_
from boardherd.commands.inventory_files import FILE, Faults, checked, configs, daemons_here, good, meant, show
from boardherd.commands.inventory_import import import_
from boardherd.commands.lab import Lab, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd_shared.definitions import Definitions


@click.group(epilog=example("boardherd inventory check", "boardherd inventory diff lab.toml"))
def inventory() -> None:
    """Check lab.toml, compare it, put it in force, or make one from what the lab had before."""


@inventory.command(
    epilog=example("boardherd inventory check", "boardherd inventory check ~/lab/lab.toml --json")
)
@FILE
@configs
@lab_options(hidden=True)
@pass_lab
def check(lab: Lab, /, file: Path | None, agent_config: Path, collector_config: Path) -> None:
    """Check FILE: every rule, also the keys that belong to relay drivers.

    Without FILE it is ./lab.toml, or else the one that an agent or the collector on this machine reads. Nothing
    is connected to, and no secret is needed. Exit code 2 and a line for each fault when something is wrong.
    """
    from boardherd import output

    found = checked(meant(file, daemons_here(agent_config, collector_config)))
    if lab.json:
        output.emit_json(
            {
                "file": str(found.path),
                "good": found.inventory is not None,
                "hash": found.inventory.hash if found.inventory else None,
                "faults": list(found.faults),
                "unchecked": found.unchecked,
            }
        )
    if found.inventory is None:
        raise Faults(found.faults) if not lab.json else SystemExit(Exit.USAGE)
    if not lab.json:
        click.echo(f"{found.path}: good; {found.summary}")
        if found.unchecked:
            output.note(found.unchecked)


@inventory.command(
    epilog=example(
        "boardherd inventory diff lab.toml", "boardherd inventory diff new.toml --against old.toml"
    )
)
@FILE
@click.option(
    "--against",
    default="collector",
    metavar="FILE|collector",
    help="What to compare with: another file, or what the collector acts on, which is the default.",
)
@configs
@lab_options(hidden=True)
@pass_lab
def diff(lab: Lab, /, file: Path | None, against: str, agent_config: Path, collector_config: Path) -> None:
    """Show what FILE changes: things that come, leave, move to another PC, are rewired, and every other key.

    Values that may be secret are compared between files and not shown; the collector does not tell them.
    """
    from boardherd import output
    from boardherd.inventory.diff import compare, summary
    from boardherd_shared.definitions import definitions_of

    new = good(checked(meant(file, daemons_here(agent_config, collector_config))))
    if against == "collector":
        old = _of_collector(lab)
        changes = compare(old, definitions_of(new))
    else:
        old = definitions_of(good(checked(Path(against))), fingerprints=True)
        changes = compare(old, definitions_of(new, fingerprints=True))
    if lab.json:
        document = {"old": old.hash, "new": new.hash, "changes": [asdict(change) for change in changes]}
        output.emit_json(document)
        return
    show(changes)
    if not changes and old.hash != new.hash:
        click.echo("nothing that is shown differs: comments, the order, or a value that is not shown")
    else:
        click.echo(summary(changes))


def _of_collector(lab: Lab) -> Definitions:
    from pydantic import ValidationError

    from boardherd_shared.definitions import Definitions

    try:
        return Definitions.model_validate(run(lab.client().ask("inventory")))
    except ValidationError as error:
        raise Failure(
            Exit.UNREACHABLE, "the collector is of a version that does not tell its inventory"
        ) from error


inventory.add_command(apply_)
inventory.add_command(import_)
