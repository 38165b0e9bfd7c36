"""Seeing the fleet: status, pcs, boards, relays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run

if TYPE_CHECKING:
    from boardherd.tables import Table
    from boardherd_shared.views import FleetView


@click.command(epilog=example("boardherd status"))
@lab_options(hidden=True)
@pass_lab
def status(lab: Lab) -> None:
    """Show how the lab is: troubles first, then who holds which board, then the test PCs."""
    from boardherd import output, tables
    from boardherd.tables import Cell, Table

    fleet = lab.fleet()
    troubles = tables.troubles(fleet)
    if lab.json:
        document = fleet.model_dump(mode="json", exclude_none=True) | {
            "counts": tables.counts(fleet),
            "troubles": [{"subject": what, "text": why} for what, _, why in troubles],
        }
        output.emit_json(document)
        return
    output.emit_line(Cell(fleet.site, "strong"))
    output.emit_table(tables.summary(fleet), headings=False, indent=2)
    if fleet.banner:
        output.emit_line(Cell(fleet.banner, "warn"))
    click.echo()
    if troubles:
        rows = tuple((Cell(f"! {what}", tone), Cell(why)) for what, tone, why in troubles)
        output.emit_table(Table(("TROUBLE", ""), rows))
    elif fleet.pcs:
        output.emit_line(Cell("Nothing else is wrong." if fleet.banner else "Nothing is wrong.", "good"))
    if held := tables.held_boards(fleet):
        click.echo()
        output.emit_table(tables.holders_table(held, fleet.at))
    if fleet.pcs:
        click.echo()
        output.emit_table(tables.pcs_table(fleet.pcs))


@click.command(
    epilog=example(
        "boardherd pcs --json | jq '.[].sample.cpu_percent'", "boardherd pcs --disk-full-within 7d"
    )
)
@click.option(
    "--disk-full-within",
    type=Duration(),
    metavar="TIME",
    help="Only PCs whose disk is full so soon if it goes on as in the last week. Needs the collector.",
)
@lab_options(hidden=True)
@pass_lab
def pcs(lab: Lab, disk_full_within: float | None) -> None:
    """List the test PCs and their statistics."""
    from boardherd import history_tables, output, tables

    if disk_full_within is not None:
        rows = run(lab.client().ask("disks", within=disk_full_within / 3600))
        _emit(lab, rows, history_tables.disks(rows), "no disk fills so soon")
        return
    fleet = lab.fleet()
    if lab.json:
        output.emit_json([_dump(pc) for pc in fleet.pcs])
        return
    _say_banner(fleet)
    output.emit_table(tables.pcs_table(fleet.pcs))
    for pc in fleet.pcs:
        if pc.stanza:
            output.note(f"{pc.id} is a new PC; to have it in lab.toml, add: {pc.stanza}")
    if not fleet.pcs:
        output.note("no test PC has been heard of")


@click.command(epilog=example("boardherd boards --available --platform j721e --capability CAMERA"))
@click.option("--alive", is_flag=True, help="Only boards that are alive.")
@click.option("--available", is_flag=True, help="Only boards that can run a test now, and nobody has.")
@click.option("--platform", metavar="CODE", help="Only boards of this platform, for example j721e.")
@click.option(
    "--capability", metavar="CODE", multiple=True, help="Only boards that have it; may be repeated."
)
@click.option("--pc", metavar="PC", help="Only boards of this test PC.", shell_complete=complete("pcs"))
@click.option(
    "--locked", is_flag=True, help="Only locked boards, by whom and until when. Needs the collector."
)
@click.option(
    "--dead-for",
    type=Duration(),
    metavar="TIME",
    help="Only boards dead for so long, with the part to blame. Needs the collector.",
)
@lab_options(hidden=True)
@pass_lab
def boards(
    lab: Lab,
    alive: bool,
    available: bool,
    platform: str | None,
    capability: tuple[str, ...],
    pc: str | None,
    locked: bool,
    dead_for: float | None,
) -> None:
    """List the boards, and why some do not live."""
    from boardherd import history_tables, output, tables
    from boardherd.availability import hindrance, suits

    if locked or dead_for is not None:
        query: dict[str, Any] = {"locked": str(locked).lower(), "available": str(available).lower()}
        query |= {} if dead_for is None else {"dead_for": dead_for / 3600}
        query |= {name: value for name, value in (("platform", platform), ("pc", pc)) if value is not None}
        rows = run(lab.client().ask("boards", capability=list(capability), **query))
        rows = [row for row in rows if row["is_alive"] or not alive]
        _emit(lab, rows, history_tables.boards(rows), "no board is like that")
        return
    fleet = lab.fleet()
    chosen = [
        board
        for board in fleet.boards
        if (board.is_alive or not alive)
        and (not available or not hindrance(board, fleet))
        and suits(board, platform, capability)
        and pc in {None, board.pc}
    ]
    if lab.json:
        output.emit_json([_dump(board) for board in chosen])
        return
    _say_banner(fleet)
    output.emit_table(tables.boards_table(chosen, fleet))
    if not chosen:
        output.note("no board is like that" if fleet.boards else "no board has been heard of")


@click.command(epilog=example("boardherd relays"))
@lab_options(hidden=True)
@pass_lab
def relays(lab: Lab) -> None:
    """List the relays and the state of their ports.

    Measured and asked state are told apart: a port that nobody could read is unknown, never off.
    """
    from boardherd import output, tables

    fleet = lab.fleet()
    if lab.json:
        output.emit_json([_dump(relay) for relay in fleet.relays])
        return
    _say_banner(fleet)
    for index, relay in enumerate(fleet.relays):
        if index:
            click.echo()
        output.emit_line(*tables.relay_heading(relay))
        output.emit_table(tables.ports_table(relay.ports, fleet), indent=2)
    if not fleet.relays:
        output.note("no relay has been heard of")


def _emit(lab: Lab, rows: Any, table: Table, nothing: str) -> None:
    from boardherd import output

    if lab.json:
        output.emit_json(rows)
        return
    output.emit_table(table)
    if not rows:
        output.note(nothing)


def _dump(view: Any) -> Any:
    return view.model_dump(mode="json", exclude_none=True)


def _say_banner(fleet: FleetView) -> None:
    from boardherd import output

    if fleet.banner:
        output.note(fleet.banner)
