"""Everything about one thing: show."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.tables import Table
    from boardherd.things import Thing
    from boardherd_shared.views import FleetView


@click.command(epilog=example("boardherd show evm-07", "boardherd show eth-1:3"))
@click.argument("thing", shell_complete=complete("boards pcs relays ports"))
@lab_options(hidden=True)
@pass_lab
def show(lab: Lab, thing: str) -> None:
    """Show everything about a board, a test PC, a relay or a relay port.

    THING is an id, a name, or a port such as eth-1:3. Without the collector only what is current is shown.
    """
    from boardherd import output

    found, answer = run(_ask(lab.client(), thing))
    if lab.json:
        output.emit_json(answer)
        return
    if answer.get("banner"):
        output.note(answer["banner"])
    match found.kind:
        case "board":
            _show_board(answer)
        case "pc":
            _show_pc(answer)
        case "relay":
            _show_relay(answer)
        case "port":
            _show_port(found, answer)


async def _ask(client: Client, name: str) -> tuple[Thing, dict[str, Any]]:
    """Return what ``name`` means and all about it: from the collector, or what the broker remembers."""
    from boardherd.things import find

    fleet = await client.fleet()
    thing = find(fleet, name)
    answer: dict[str, Any]
    if fleet.source != "collector":
        answer = _current(fleet, thing)
    elif thing.kind == "port":
        answer = _port(fleet, thing) | {"switches": await client.ask(f"{thing.path}/switches")}
    else:
        answer = await client.ask(thing.path)
    return thing, answer | ({"banner": fleet.banner} if fleet.banner else {})


def _current(fleet: FleetView, thing: Thing) -> dict[str, Any]:
    """Return what is current of ``thing`` in the form of the API, without its past."""
    past: dict[str, Any] = {"events": None}
    match thing.kind:
        case "port":
            return _port(fleet, thing) | {"switches": None}
        case "board":
            board = next(it for it in fleet.boards if it.id == thing.id)
            ports = [port for relay in fleet.relays for port in relay.ports if port.board == thing.id]
            past |= {"detail": None, "commands": None, "boots": None, "uses": None}
            return past | {"board": _dump(board), "ports": [_dump(port) for port in ports]}
        case "pc":
            pc = next(it for it in fleet.pcs if it.id == thing.id)
            boards = [_dump(board) for board in fleet.boards if board.pc == thing.id]
            return past | {"pc": _dump(pc), "boards": boards}
        case _:
            return past | {"relay": _dump(next(it for it in fleet.relays if it.id == thing.id))}


def _port(fleet: FleetView, thing: Thing) -> dict[str, Any]:
    ports = (port for relay in fleet.relays if relay.id == thing.id for port in relay.ports)
    return {"port": _dump(next(port for port in ports if port.port == thing.port))}


def _dump(view: Any) -> Any:
    return view.model_dump(mode="json", exclude_none=True)


def _show_board(answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import BoardView, PortView

    board = BoardView.model_validate(answer["board"])
    output.emit_line(
        *history_tables.heading(
            (board.id, "strong"), (board.name, ""), (board.text, ""), (board.status.label, "quiet")
        )
    )
    output.emit_table(history_tables.facts(answer["detail"] or {}, board), headings=False, indent=2)
    ports = [PortView.model_validate(port) for port in answer["ports"]]
    _section("power", tables.ports_table(ports, _nowhere()))
    _section("probes", tables.probes_table(board, time.time()))
    _section("commands", history_tables.commands(answer["commands"] or ()))
    _section("boots", history_tables.boots(answer["boots"] or ()))
    _section("uses", history_tables.uses(answer.get("uses") or ()))
    _section("events", history_tables.events(answer["events"] or ()))
    _mention_lack(answer)


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
    _mention_lack(answer)


def _show_relay(answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import RelayView

    relay = RelayView.model_validate(answer["relay"])
    output.emit_line(*tables.relay_heading(relay))
    output.emit_table(tables.ports_table(relay.ports, _nowhere()), indent=2)
    _section("events", history_tables.events(answer["events"] or ()))
    _mention_lack(answer)


def _show_port(port: Thing, answer: Any) -> None:
    from boardherd import history_tables, output, tables
    from boardherd_shared.views import PortView

    output.emit_line(*history_tables.heading((f"{port.id}:{port.port}", "strong")))
    output.emit_table(tables.ports_table([PortView.model_validate(answer["port"])], _nowhere()), indent=2)
    _section("switched by", history_tables.commands(answer["switches"] or ()))
    if answer["switches"] == []:
        output.note("nobody has switched it as far as is stored")


def _mention_lack(answer: Any) -> None:
    from boardherd import output

    if answer["events"] is None and not answer.get("banner"):
        output.note("the collector cannot read its history now")


def _section(name: str, table: Table) -> None:
    from boardherd import output
    from boardherd.tables import Cell

    if table.rows:
        click.echo()
        output.emit_line(Cell(name, "quiet"))
        output.emit_table(table, indent=2)


def _nowhere() -> FleetView:
    """Return a fleet for tables that want one for its clock; what is offline the collector has worked out."""
    from boardherd_shared.views import FleetView

    return FleetView(site="", at=time.time())
