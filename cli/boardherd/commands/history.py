"""The past of one thing: history."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from boardherd.commands.lab import Duration, Lab, complete, example, lab_options, pass_lab, run
from boardherd.exit_codes import Exit, Failure

if TYPE_CHECKING:
    from boardherd.client import Client
    from boardherd.tables import Table
    from boardherd.things import Thing

_DAY_S = 86400.0
_FINE_S, _COARSE_S = 6 * 3600.0, 14 * _DAY_S
_MOST = 1000
_CENTURY_H = 24 * 36600.0
_WHATS = {
    "board": ("verdicts", "power", "boots", "commands", "usage", "events"),
    "pc": ("values", "events"),
    "relay": ("events",),
    "port": ("commands", "power", "events"),
}
"""What there is of each kind of thing, first what is meant when nothing is said."""
_ALL = ("verdicts", "power", "boots", "commands", "usage", "events", "values")
_RARE = {"boots", "usage"}
"""What happens so seldom that a day shows little of it."""


@dataclass(frozen=True)
class Question:
    """What is asked for."""

    name: str
    what: str | None
    since: float
    """Seconds back from now."""
    step: str | None


@click.command(
    epilog=example(
        "boardherd history pc-01 --since 24h",
        "boardherd history evm-07 --since 7d",
        "boardherd history boots evm-07",
        "boardherd history eth-1:3",
    )
)
@click.argument(
    "words",
    nargs=-1,
    metavar="[WHAT] THING",
    shell_complete=complete("boards pcs relays ports"),
    required=True,
)
@click.option(
    "--since",
    type=Duration(),
    metavar="TIME",
    help="How far back; 24h, of boots and usage 30d.",
)
@click.option(
    "--step",
    type=click.Choice(["raw", "5m", "1h", "1d"]),
    help="Test PCs: how long each line is; as fits the time unless given.",
)
@lab_options(hidden=True)
@pass_lab
def history(lab: Lab, words: tuple[str, ...], since: float | None, step: str | None) -> None:
    """Show the past of a test PC, a board, a relay or a relay port. Needs the collector.

    WHAT is, of a board: verdicts (unless something else is named), power, boots, commands, usage or events; of a
    port: commands (who switched it and why), power or events; of a test PC: values or events.
    """
    from boardherd import output

    question = _question(words, since, step)
    thing, what, rows = run(_past(lab.client(), question))
    if lab.json:
        output.emit_json(rows)
        return
    listed = rows["boots"] if isinstance(rows, dict) else rows
    output.emit_table(_table(what, rows))
    if not listed:
        output.note(f"nothing is stored of that time ({what} of {thing.id})")


def _question(words: tuple[str, ...], since: float | None, step: str | None) -> Question:
    """Return what the words mean; raises Failure."""
    if len(words) > 2:
        raise Failure(Exit.USAGE, "name one thing, and before it what of its past: boots evm-07")
    what = words[0] if len(words) == 2 else None
    if what is not None and what not in _ALL:
        raise Failure(Exit.USAGE, f'there is no history of "{what}"; there is {", ".join(_ALL)}')
    usual = 30 * _DAY_S if what in _RARE else _DAY_S
    return Question(words[-1], what, usual if since is None else since, step)


async def _past(client: Client, question: Question) -> tuple[Thing, str, Any]:
    """Return what the name means, what of its past is told, and that past, oldest first; raises Failure."""
    from boardherd.things import find

    thing = find(await client.fleet(), question.name)
    what = question.what or _WHATS[thing.kind][0]
    if what not in _WHATS[thing.kind]:
        there_is = ", ".join(_WHATS[thing.kind])
        raise Failure(Exit.USAGE, f"of {thing.id} there is no history of {what}; there is {there_is}")
    return thing, what, await _ask(client, thing, what, question)


async def _ask(client: Client, thing: Thing, what: str, question: Question) -> Any:
    if thing.kind == "pc" and what == "values":
        return await _values(client, thing, question)
    if what in {"events", "commands"}:
        return await _happened(client, thing, what, question.since)
    if what == "boots":
        answer = await client.ask(f"{thing.path}/boots", limit=_MOST)
        return answer | {"boots": _younger(answer["boots"], "at", question.since)}
    place = "history" if what == "verdicts" or thing.kind == "port" else what
    return await client.ask(f"{thing.path}/{place}", hours=question.since / 3600)


async def _happened(client: Client, thing: Thing, what: str, since: float) -> list[dict[str, Any]]:
    """Return what the API tells newest first, the other way round."""
    if what == "events":
        hours = min(since / 3600, _CENTURY_H)
        found: list[dict[str, Any]] = await client.ask(
            "events", subject=thing.subject, limit=_MOST, hours=hours
        )
        return found[::-1]
    if thing.kind == "port":
        return _younger(await client.ask(f"{thing.path}/switches", limit=_MOST), "began_at", since)
    return _younger(await client.ask("commands", board=thing.id, limit=_MOST), "began_at", since)


async def _values(client: Client, pc: Thing, question: Question) -> Any:
    hours = question.since / 3600
    if question.step == "raw":
        return await client.ask(f"{pc.path}/stats", hours=hours)
    return await client.ask(f"{pc.path}/trend", hours=hours, step=question.step or _fitting(question.since))


def _table(what: str, rows: Any) -> Table:
    from boardherd import history_tables

    match what:
        case "values" if rows and "gauges" not in rows[0]:
            return history_tables.samples(rows)
        case "values":
            return history_tables.trend(rows)
        case "boots":
            return history_tables.boots(rows["boots"], rows["usual"])
        case _:
            make = {
                "verdicts": history_tables.liveness,
                "commands": history_tables.commands,
                "power": history_tables.port_states,
                "usage": history_tables.uses,
                "events": history_tables.events,
            }
            return make[what](rows)


def _younger(rows: list[dict[str, Any]], key: str, since: float) -> list[dict[str, Any]]:
    """Return the rows that are not older, oldest first."""
    oldest = time.time() - since if math.isfinite(since) else 0.0
    return [row for row in reversed(rows) if row[key] >= oldest]


def _fitting(since: float) -> str:
    if since <= _FINE_S:
        return "5m"
    return "1h" if since <= _COARSE_S else "1d"
