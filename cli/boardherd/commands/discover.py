"""Finding relays and consoles on this machine's network and ports, without writing to any of them."""

from __future__ import annotations

import dataclasses
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Lab, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.discovery.found import Found
    from boardherd.discovery.stanzas import Setting
    from boardherd.discovery.sweep import Network, Plan, Progress
    from boardherd.tables import Table
    from boardherd_shared.inventory import Inventory

_ANSWER_WITHIN_S = 3.0
_SECRETS = Path("/etc/boardherd/secrets")


class NetworkParam(click.ParamType[Any]):
    """An IPv4 network, or one address."""

    name = "network"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a network; fails as a usage error."""
        import ipaddress

        try:
            return ipaddress.IPv4Network(value, strict=False)
        except ValueError:
            self.fail(f'"{value}" is no IPv4 network; write for example 10.0.5.0/24', param, ctx)


@click.command(
    epilog=example(
        "boardherd discover",
        "boardherd discover --network 10.0.5.0/24 --toml > lab.toml",
        "boardherd discover --network 10.0.5.0/24 --snmp secret:pdus",
        "boardherd discover --toml --known lab.toml >> lab.toml",
    )
)
@click.option(
    "--network",
    "networks",
    type=NetworkParam(),
    metavar="10.0.5.0/24",
    multiple=True,
    help="Ask every address of it, one by one; may be repeated.",
)
@click.option(
    "--snmp",
    "community",
    metavar="COMMUNITY",
    help='Also ask for SNMP power strips there; a community, or "secret:NAME".',
)
@click.option("--secrets-dir", type=click.Path(path_type=Path), default=_SECRETS, hidden=True)
@click.option("--no-broadcast", is_flag=True, help="Ask nobody but the addresses of --network.")
@click.option("--toml", is_flag=True, help="Print a lab.toml to complete.")
@click.option(
    "--known",
    type=click.Path(path_type=Path),
    metavar="LAB.TOML",
    help="Only what this file lacks; with --toml, to be appended to it.",
)
@lab_options(hidden=True)
@pass_lab
def discover(
    lab: Lab,
    /,
    networks: tuple[Network, ...],
    community: str | None,
    secrets_dir: Path,
    no_broadcast: bool,
    toml: bool,
    known: Path | None,
) -> None:
    """Find relays and console adapters. Nothing is written to any device.

    Devantech modules of this network are found by broadcast; other relays where --network says to look: Devantech,
    Shelly, Tasmota, NETIO, Gude and Digital Loggers, and with --snmp power strips. USB devices are told by their
    names; no serial port is opened. --timeout (3s) is how long one answer may take.
    """
    from boardherd.discovery.found import summary
    from boardherd.discovery.stanzas import new_to
    from boardherd.discovery.sweep import Plan

    if community is not None and not networks:
        raise Failure(Exit.USAGE, "--snmp needs --network: SNMP devices do not answer a broadcast")
    inventory = _read(known)
    plan = Plan(
        networks=networks,
        broadcast=not no_broadcast,
        community=_secret(community, secrets_dir),
        within_s=lab.timeout or _ANSWER_WITHIN_S,
    )
    everything = _search(plan)
    found = everything if inventory is None else new_to(everything, inventory.lab)
    if toml:
        _print_toml(found, inventory, known, _setting(lab, inventory, community))
    else:
        _print(lab, found)
    from boardherd import output

    output.note(("new: " if inventory else "") + summary(found))


def _search(plan: Plan) -> list[Found]:
    from boardherd.discovery.sweep import TooMany, search

    try:
        return run(search(plan, _progress()))
    except TooMany as error:
        raise Failure(Exit.USAGE, str(error)) from error
    except OSError as error:
        raise Failure(Exit.UNREACHABLE, f"the network cannot be asked: {error.strerror or error}") from error


def _progress() -> Progress:
    """Return what tells a person at a terminal how far the search is."""
    if not sys.stderr.isatty():
        return lambda _done, _all: None

    def show(done: int, everything: int) -> None:
        end = "\r\033[K" if done == everything else ""
        click.echo(f"\rasked {done} of {everything} addresses{end}", err=True, nl=False)

    return show


def _read(known: Path | None) -> Inventory | None:
    from boardherd_shared.inventory import Inventory
    from boardherd_shared.settings import ConfigError

    try:
        return Inventory.read(known) if known else None
    except ConfigError as error:
        raise Failure(Exit.USAGE, str(error).replace("\n", "; ")) from error


def _secret(community: str | None, directory: Path) -> str | None:
    from boardherd_shared.secrets import SecretMissing, resolve

    try:
        word: str | None = resolve(community, [directory])
    except SecretMissing as error:
        raise Failure(Exit.USAGE, str(error)) from error
    return word


def _setting(lab: Lab, inventory: Inventory | None, community: str | None) -> Setting:
    from boardherd.discovery.stanzas import Setting
    from boardherd_shared.ids import is_slug

    host = socket.gethostname().split(".")[0].lower()
    site = inventory.lab.site if inventory else lab.flags.get("site") or "lab"
    if community not in {None, "public"} and not str(community).startswith("secret:"):
        community = "secret:snmp"  # a community is a password: it has no place in a file that everybody reads
    return Setting(
        site, host if is_slug(host) else "pc-01", community, f"on {host}, {time.strftime('%Y-%m-%d %H:%M')}"
    )


def _print_toml(
    found: list[Found], inventory: Inventory | None, known: Path | None, setting: Setting
) -> None:
    """Print what is new, and only if the file that comes of it is one."""
    from boardherd.discovery.stanzas import additions, lab_toml
    from boardherd_shared.inventory import Inventory
    from boardherd_shared.settings import ConfigError

    if inventory is None or known is None:
        click.echo(lab_toml(found, setting), nl=False)
        return
    text = additions(found, setting, inventory.lab)
    try:
        Inventory.parse(f"{known.read_text(encoding='utf-8').rstrip()}\n\n{text}", known)
    except ConfigError as error:
        raise Failure(Exit.USAGE, f"what was found does not fit: {error}".replace("\n", "; ")) from error
    if text:
        click.echo(f"\n{text}", nl=False)


def _print(lab: Lab, found: list[Found]) -> None:
    from boardherd import output

    if lab.json:
        output.emit_json([_document(it) for it in found])
        return
    output.emit_table(_table(found))


def _document(it: Found) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(it).items() if value not in (None, "", ())}


def _table(found: list[Found]) -> Table:
    from boardherd.tables import Cell, Table, Tone

    tones: dict[str, Tone] = {"relay": "good", "console": "", "other": "warn"}
    rows = tuple(
        (
            Cell(it.title, tones[it.role] if it.sure else "warn"),
            Cell(it.where),
            Cell(it.outputs),
            Cell(str(it.keys.get("kind", "")) + ("" if it.sure else "?")),
            Cell(str(it.keys.get("mac", ""))),
            Cell("; ".join(filter(None, [it.text, f"also {', '.join(it.others)}" if it.others else ""]))),
        )
        for it in found
    )
    return Table(("WHAT", "WHERE", "OUTPUTS", "KIND", "MAC", "NOTE"), rows, ("MAC", "KIND"))
