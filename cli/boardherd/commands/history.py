"""Everything about one thing, now and in the past: show and history."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.tables import Table
    from boardherd_shared.views import FleetView

_FINE_S, _COARSE_S = 6 * 3600.0, 14 * 86400.0
_PLACES = {"board": "boards", "pc": "pcs", "relay": "relays"}


@dataclass(frozen=True)
class Thing:
    """What a name on the command line means."""

    kind: Literal["board", "pc", "relay", "port"]
    id: str
    port: int = 0

    @property
    def path(self) -> str:
        """Where the API tells about it."""
        if self.kind == "port":
            return f"relays/{self.id}/ports/{self.port}/switches"
        return f"{_PLACES[self.kind]}/{self.id}"


def find(fleet: FleetView, name: str) -> Thing:
    """Return what ``name`` means: a board, a test PC or a relay by id or name, a port as eth-1:3; raises Failure."""
    from boardherd.targets import board_of, port_of

    for pc in fleet.pcs:
        if name == pc.id:
            return Thing("pc", pc.id)
    relays = [relay for relay in fleet.relays if name in {relay.id, relay.name}]
    if relays:
        return Thing("relay", relays[0].id)
    relay, colon, number = name.rpartition(":")
    if colon and number.isascii() and number.isdigit() and relay in {it.id for it in fleet.relays}:
        port = port_of(fleet, name)
        return Thing("port", port.relay, port.port)
    try:
        return Thing("board", board_of(fleet, name).id)
    except Failure as failure:
        if failure.message.startswith("there is no board"):
            sentence = failure.message.replace("there is no board", "there is no board, PC or relay", 1)
            raise Failure(Exit(failure.exit_code), sentence) from failure
        raise


@click.command(epilog=example("boardherd show evm-07", "boardherd show eth-1:3"))
@click.argument("thing", shell_complete=complete("boards"))
@lab_options(hidden=True)
@pass_lab
def show(lab: Lab, thing: str) -> None:
    """Show everything about a board, a test PC, a relay or a relay port.

    THING is an id, a name, or a port such as eth-1:3. Needs the collector.
    """
    found, answer = run(_ask(lab.client(), thing))
    if lab.json:
        from boardherd import output

        output.emit_json(answer)
        return
    match found.kind:
        case "board":
            _show_board(answer)
        case "pc":
            _show_pc(answer)
        case "relay":
            _show_relay(answer)
        case "port":
            _show_port(found, answer)


async def _ask(client: Client, name: str) -> tuple[Thing, Any]:
    thing = find(await client.fleet(), name)
    return thing, await client.ask(thing.path)


def _show_board(answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import BoardView, PortView

    board = BoardView.model_validate(answer["board"])
    output.emit_line(
        *history_tables.heading(
            (board.id, "strong"), (board.name, ""), (board.text, ""), (board.status.label, "quiet")
        )
    )
    if answer["detail"]:
        output.emit_table(history_tables.facts(answer["detail"]), headings=False, indent=2)
    ports = [PortView.model_validate(port) for port in answer["ports"]]
    _section("power", tables.ports_table(ports, _nowhere()))
    _section("commands", history_tables.commands(answer["commands"] or ()))
    _section("events", history_tables.events(answer["events"] or ()))
    if answer["events"] is None:
        output.note("the collector cannot read its history now")


def _show_pc(answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import BoardView, PcView

    pc = PcView.model_validate(answer["pc"])
    boards = [BoardView.model_validate(board) for board in answer["boards"]]
    output.emit_line(
        *history_tables.heading((pc.id, "strong"), (pc.name, ""), (pc.text, ""), (pc.ip_address, "quiet"))
    )
    output.emit_table(tables.pcs_table([pc]), indent=2)
    _section("boards", tables.boards_table(boards, _nowhere()))
    _section("events", history_tables.events(answer["events"] or ()))


def _show_relay(answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import RelayView

    relay = RelayView.model_validate(answer["relay"])
    output.emit_line(*tables.relay_heading(relay))
    output.emit_table(tables.ports_table(relay.ports, _nowhere()), indent=2)
    _section("events", history_tables.events(answer["events"] or ()))


def _show_port(port: Thing, rows: Any) -> None:
    from boardherd import history_tables, output

    output.emit_line(*history_tables.heading((f"{port.id}:{port.port}", "strong"), ("switched by", "quiet")))
    output.emit_table(history_tables.commands(rows), indent=2)
    if not rows:
        output.note("nobody has switched it as far as is stored")


def _section(name: str, table: Table) -> None:
    from boardherd import output
    from boardherd.tables import Cell

    if table.rows:
        click.echo()
        output.emit_line(Cell(name, "quiet"))
        output.emit_table(table, indent=2)


def _nowhere() -> FleetView:
    """Return a fleet for tables that want one for its clock; what is offline the collector has worked out."""
    import time

    from boardherd_shared.views import FleetView

    return FleetView(site="", at=time.time())


@click.command(
    epilog=example(
        "boardherd history pc-01 --since 24h",
        "boardherd history evm-07 --since 7d",
        "boardherd history eth-1:3",
    )
)
@click.argument("thing", shell_complete=complete("boards"))
@click.option(
    "--since", type=Duration(), default="24h", show_default=True, metavar="TIME", help="How far back."
)
@click.option(
    "--step",
    type=click.Choice(["raw", "5m", "1h", "1d"]),
    help="Test PCs: how long each line is; as fits the time unless given.",
)
@lab_options(hidden=True)
@pass_lab
def history(lab: Lab, thing: str, since: float, step: str | None) -> None:
    """Show the past of a test PC, a board, or a relay port. Needs the collector.

    Of a PC its measured values, of a board its verdicts, of a relay port who switched it and why.
    """
    from boardherd import history_tables, output

    found, rows = run(_past(lab.client(), thing, since, step))
    if lab.json:
        output.emit_json(rows)
        return
    match found.kind:
        case "pc" if rows and "gauges" not in rows[0]:
            table = history_tables.samples(rows)
        case "pc":
            table = history_tables.trend(rows)
        case "board":
            table = history_tables.liveness(rows)
        case "port":
            table = history_tables.commands(rows)
        case _:
            table = history_tables.events(rows)
    output.emit_table(table)
    if not rows:
        output.note("nothing is stored of that time")


async def _past(
    client: Client, name: str, since: float, step: str | None
) -> tuple[Thing, list[dict[str, Any]]]:
    """Return what ``name`` means and its past, oldest first."""
    thing = find(await client.fleet(), name)
    hours = since / 3600
    match thing.kind:
        case "pc" if step == "raw":
            rows = await client.ask(f"{thing.path}/stats", hours=hours)
        case "pc":
            rows = await client.ask(f"{thing.path}/trend", hours=hours, step=step or _fitting(since))
        case "board":
            rows = await client.ask(f"{thing.path}/history", hours=hours)
        case "port":
            rows = _younger(await client.ask(thing.path, limit=1000), "began_at", since)
        case _:
            rows = _younger(await client.ask("events", subject=f"relay/{thing.id}", limit=1000), "at", since)
    return thing, rows


def _younger(rows: list[dict[str, Any]], key: str, since: float) -> list[dict[str, Any]]:
    """Return the rows that are not older, oldest first."""
    import time

    oldest = time.time() - since if math.isfinite(since) else 0.0
    return [row for row in reversed(rows) if row[key] >= oldest]


def _fitting(since: float) -> str:
    if since <= _FINE_S:
        return "5m"
    return "1h" if since <= _COARSE_S else "1d"
