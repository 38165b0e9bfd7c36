"""``boardherd inventory apply``: a lab.toml on its way into force on this machine."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boardherd.commands.inventory_files import FILE, checked, configs, daemons_here, good, show
from boardherd.commands.lab import Lab, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.inventory.places import Daemon
    from boardherd_shared.inventory import Inventory

_REPORTED_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.3


@click.command(
    name="apply",
    epilog=example("boardherd inventory apply lab.toml", "boardherd inventory apply lab.toml --yes --json"),
)
@FILE
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--force", is_flag=True, help="Also when boards leave that somebody has locked. Needs --reason."
)
@click.option("--reason", metavar="TEXT", help="Why by force; is kept in lab.toml.log beside the file.")
@configs
@lab_options(hidden=True)
@pass_lab
def apply_(
    lab: Lab,
    /,
    file: Path | None,
    yes: bool,
    force: bool,
    reason: str | None,
    agent_config: Path,
    collector_config: Path,
) -> None:
    """Put FILE in force on this machine: the machine of an agent, of the collector, or of both.

    It is checked, its differences are shown, and after your consent it is written to where the daemons here read
    it (the former file stays as lab.toml.bak). They are then told to read it, and it is waited for until they say
    that they act on it. A file that takes boards away from this PC while they are locked is refused.

    All PCs of a lab get the same file: Ansible does that, see docs/operations.md.
    """
    from boardherd import output
    from boardherd.inventory.diff import compare, summary
    from boardherd_shared.definitions import definitions_of

    if force and not reason:
        raise Failure(Exit.USAGE, "--force needs --reason, for those whose boards go")
    known = daemons_here(agent_config, collector_config)
    if not known:
        raise Failure(
            Exit.USAGE,
            f"neither {agent_config} nor {collector_config} is here: this machine has no agent and no collector",
        )
    found = checked(file or Path("lab.toml"))
    new = good(found)
    work = _Apply(lab, found.path, new, known)
    work.refuse_other_site(force)
    changes = (
        []
        if work.old is None
        else compare(definitions_of(work.old, fingerprints=True), definitions_of(new, fingerprints=True))
    )
    if not lab.json:
        show(changes)
        click.echo(summary(changes) if work.old else f"there was no lab.toml yet; {found.summary}")
    if not force:
        work.refuse_locked()
    if work.targets and not yes:
        _ask(", ".join(map(str, work.targets)))
    written, left = work.carry_out(reason if force else None)
    reported = {} if left else work.wait_until_reported()
    if lab.json:
        output.emit_json(
            {
                "hash": new.hash,
                "changes": [asdict(change) for change in changes],
                "written": written,
                "left_to_do": left,
                "reported": reported,
            }
        )
        return
    for line in [*(f"written: {path}" for path in written), *left]:
        click.echo(line)
    for who, answer in reported.items():
        click.echo(f"{who}: {answer}")


class _Apply:
    """One file on its way into force."""

    def __init__(self, lab: Lab, source: Path, new: Inventory, known: list[Daemon]) -> None:
        from boardherd.inventory import applying

        self._lab, self._new, self._known, self._steps = lab, new, known, applying
        self._content = source.read_bytes()
        places = dict.fromkeys(daemon.inventory for daemon in known)
        self.old = next(filter(None, map(applying.in_force, places)), None)
        self.targets = [place for place in places if not self._has_it(place)]

    def _has_it(self, place: Path) -> bool:
        return place.exists() and place.read_bytes() == self._content

    def refuse_other_site(self, force: bool) -> None:
        """Refuse a file of another lab: databases and topics are by site."""
        site = self.old.lab.site if self.old else self._new.lab.site
        if site != self._new.lab.site and not force:
            text = f'the file is of the site "{self._new.lab.site}", this machine of "{site}"'
            raise Failure(Exit.REFUSED, f"{text}; --force with --reason takes it all the same")

    def refuse_locked(self) -> None:
        """Refuse a file that takes boards from a PC here while somebody has them to himself."""
        pcs = [daemon.pc for daemon in self._known if daemon.pc]
        boards = self._steps.leaving(self.old, self._new, pcs) if self.old else []
        if not boards:
            return
        blind = f"{', '.join(boards)} would leave this PC, and who holds them is not known"
        anyway = "--force with --reason takes them all the same"
        try:
            fleet = self._lab.fleet()
        except Failure as failure:
            raise Failure(Exit.REFUSED, f"{blind} ({failure.message}); {anyway}") from failure
        if not {*boards} <= {board.id for board in fleet.boards}:
            raise Failure(
                Exit.REFUSED, f"{blind}: neither the collector nor the broker tells of them; {anyway}"
            )
        if locked := self._steps.held(fleet, boards):
            text = f"boards that are locked would leave this PC: {', '.join(locked)}"
            raise Failure(Exit.REFUSED, f"{text}; wait, or --force with --reason")

    def carry_out(self, reason: str | None) -> tuple[list[str], list[str]]:
        """Write the file and tell the daemons; return what was written and what is left to do by hand."""
        from boardherd.settings import login_name

        for place in self.targets:
            old = self._steps.in_force(place)
            try:
                self._steps.write(place, self._content)
                self._steps.note(place, login_name(), old, self._new, reason)
            except OSError as error:
                text = f"{place} cannot be written: {error.strerror}; what was there stays in force"
                raise Failure(Exit.REFUSED, text) from error
        left = [text for daemon in self._known if (text := self._steps.reload(daemon))]
        return [str(place) for place in self.targets], left

    def wait_until_reported(self) -> dict[str, str]:
        """Return what each daemon here says about the new file, and how many PCs act on it; waits for that."""
        began = time.monotonic()
        waiting = {daemon.pc or daemon.role for daemon in self._known}
        reported: dict[str, str] = {}
        while waiting and time.monotonic() - began < _REPORTED_WITHIN_S:
            for who in self._up_to_date() & waiting:
                waiting.discard(who)
                reported[who] = f"acts on {self._new.hash} after {time.monotonic() - began:.1f} s"
            time.sleep(_LOOK_EVERY_S if waiting else 0)
        for who in sorted(waiting):
            reported[who] = (
                f"has not said within {_REPORTED_WITHIN_S:g} s that it acts on {self._new.hash}; see its log"
            )
        return reported

    def _up_to_date(self) -> set[str]:
        """Return the PCs, and "collector", that say that they act on the new file; nobody when none can be asked."""
        client = self._lab.client()
        try:
            fleet = run(client.fleet())
            found = {pc.id for pc in fleet.pcs if pc.inventory == self._new.hash}
            if run(client.ask("inventory"))["hash"] == self._new.hash:
                found.add("collector")
        except Failure:  # it is reading the file just now
            return set()
        return found


def _ask(where: str) -> None:
    if not sys.stdin.isatty():
        raise Failure(Exit.USAGE, "nobody can be asked here; say --yes")
    click.confirm(f"Write {where} and let the daemons here read it?", abort=True, err=True)
