"""The live picture of ``boardherd watch`` on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from boardherd import tables
from boardherd.output import console, fitting, rich_line, rich_table, without_empty_columns
from boardherd.tables import Cell, Table

if TYPE_CHECKING:
    from rich.console import ConsoleDimensions, Group
    from rich.table import Table as RichTable

    from boardherd.client import Client
    from boardherd.retained import Change, Retained
    from boardherd_shared.views import FleetView

_REFRESH_S = 0.5
_HISTORY = 50
_FRAME_LINES = 11
"""Lines that are no rows: title, headings, blanks."""


async def picture(client: Client, retained: Retained) -> None:
    """Show the fleet and its newest changes on the whole terminal until cancelled."""
    from rich.live import Live

    changes: deque[Change] = deque(maxlen=_HISTORY)

    lost: list[str] = []

    def take(change: Change) -> None:
        if change.subject == "broker":
            lost[:] = [] if change.detail["connected"] else [change.text]
        if not change.initial:
            changes.append(change)

    screen = console()
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        async with asyncio.TaskGroup() as group:
            group.create_task(client.watch(take, retained), name="watch")
            while True:
                fleet = retained.view(time.time(), lost[0] if lost else None)
                live.update(_frame(fleet, list(changes), screen.size), refresh=True)
                await asyncio.sleep(_REFRESH_S)


def _frame(fleet: FleetView, changes: list[Change], screen: ConsoleDimensions) -> Group:
    """Return the whole picture: what is wrong, the boards, and as many changes as there is room for."""
    from rich.console import Group
    from rich.text import Text

    clock = time.strftime("%H:%M:%S", time.localtime(fleet.at))
    troubles = tuple((Cell(f"! {what}", tone), Cell(why)) for what, tone, why in tables.troubles(fleet)[:6])
    boards = fitting(without_empty_columns(tables.boards_table(fleet.boards, fleet)), screen.width)
    parts: list[Text | RichTable] = [
        rich_line((Cell(fleet.site, "strong"), Cell(clock, "quiet"), Cell(fleet.banner or "", "warn"))),
        rich_table(tables.summary(fleet), headings=False, one_line=True),
        Text(),
    ]
    if troubles:
        parts += [rich_table(Table(("", ""), troubles), headings=False, one_line=True), Text()]
    parts += [rich_table(boards, one_line=True), Text()]
    room = max(3, screen.height - len(troubles) - len(boards.rows) - _FRAME_LINES)
    parts.append(
        rich_table(Table(("WHEN", "WHAT", "NEWEST CHANGES"), _rows(changes[-room:], fleet.at)), one_line=True)
    )
    return Group(*parts)


def _rows(changes: list[Change], now: float) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            Cell(tables.moment(int(change.at * 1e6), now), "quiet"),
            Cell("command" if change.subject.startswith("command/") else change.subject, "strong"),
            Cell(change.text),
        )
        for change in reversed(changes)
    )
