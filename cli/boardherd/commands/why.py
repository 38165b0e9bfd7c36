"""Why something is as it is, in five lines: why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from boardherd.commands.lab import Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.past import Past
    from boardherd.tables import Tone
    from boardherd_shared.views import FleetView
    from boardherd_shared.why import Why
    from boardherd_shared.why.parents import WhyParent


@click.command(epilog=example("boardherd why evm-07", "boardherd why pc-02", "boardherd why"))
@click.argument("thing", required=False, shell_complete=complete("boards pcs relays"))
@lab_options(hidden=True)
@pass_lab
def why(lab: Lab, thing: str | None) -> None:
    """Say why a board, a test PC or a relay is as it is, whom to blame, and what to try next.

    THING is an id or a name. Without it everything that is not alive is listed, the worst first, and what has a
    common cause once. Without the collector the answer comes from the broker, and knows less of the past.

    The exit code is 0 whatever the answer: it was given. Scripts that wait for a board use `boardherd acquire`
    or `boardherd power cycle BOARD --wait-alive`.
    """
    if thing is None:
        _everything(lab)
        return
    answer = run(_explain(lab.client(), thing))
    if lab.json:
        from boardherd import output

        output.emit_json(answer.model_dump(mode="json", exclude_none=True))
        return
    _show(answer)


async def _explain(client: Client, name: str) -> Why | WhyParent:
    from boardherd.things import find
    from boardherd_shared.why import explain
    from boardherd_shared.why.parents import explain_pc, explain_relay

    fleet = await client.fleet()
    thing = find(fleet, name)
    match thing.kind:
        case "pc":
            return explain_pc(fleet, thing.id)
        case "relay" | "port":
            return explain_relay(fleet, thing.id)
        case _:
            past = await _past(client, fleet, thing.path)
            operator = client.settings.operator
            return explain(
                fleet,
                thing.id,
                commands=past.commands,
                boots=past.boots,
                events=past.events,
                uses=past.uses,
                now=fleet.at,
                operator=operator,
            )


async def _past(client: Client, fleet: FleetView, path: str) -> Past:
    """Return what the collector has stored about a board; nothing where it does not answer."""
    from boardherd.past import Past

    if fleet.source != "collector":
        return Past()
    try:
        return Past.of(await client.ask(path))
    except Failure as failure:
        if failure.exit_code != Exit.UNREACHABLE:
            raise
        return Past()


def _show(answer: Why | WhyParent) -> None:
    from boardherd import output
    from boardherd.tables import Cell

    if answer.banner:
        output.note(answer.banner)
    subject, *lines = answer.lines()
    id_, _, rest = subject.partition("  ")
    output.emit_line(Cell(id_, "strong"), Cell(rest, _tone(answer)))
    for line in lines:
        label, text = line[:11], line[11:]
        output.emit_labelled(label, Cell(text, "strong" if label.strip() == "try" else ""))


def _tone(answer: Why | WhyParent) -> Tone:
    from boardherd.tables import state_tone

    return state_tone(answer.state if hasattr(answer, "state") else answer.verdict.value)


def _everything(lab: Lab) -> None:
    from boardherd import output, tables
    from boardherd_shared.why.everything import causes

    fleet = lab.fleet()
    found = causes(fleet, fleet.at)
    if lab.json:
        output.emit_json([cause.model_dump(mode="json", exclude_none=True) for cause in found])
        return
    if fleet.banner:
        output.note(fleet.banner)
    output.emit_table(tables.causes_table(found, fleet.at))
    if not found:
        output.note("all boards are alive" if fleet.boards else "no board has been heard of")
