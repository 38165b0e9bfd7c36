"""How results get onto a terminal, into a pipe and into JSON.

Standard output carries data, standard error talk. On a terminal rich lays the tables out (imported only then;
it honours NO_COLOR); anywhere else they are plain aligned text, as wide as it needs to be. Texts of the network
never reach a terminal with control characters in them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from boardherd.printable import printable
from boardherd.tables import Cell, Row, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

_GAP = 2
_ROOM_FOR_WORDS = 24
"""What the last column, the one with whole sentences, should have before others are left out."""

STYLES = {"": "", "good": "green", "bad": "bold red", "warn": "yellow", "quiet": "dim", "strong": "bold"}


def emit_json(document: Any) -> None:
    """Print one JSON document, indented."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def emit_json_line(document: Any) -> None:
    """Print one JSON document on one line, at once."""
    click.echo(json.dumps(document, ensure_ascii=False))
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something beside the data."""
    click.echo(printable(text), err=True)


def emit_line(*cells: Cell) -> None:
    """Print cells side by side."""
    cells = tuple(cell for cell in cells if cell.text)
    if sys.stdout.isatty():
        console().print(rich_line(cells), soft_wrap=True)
    else:
        click.echo("  ".join(printable(cell.text) for cell in cells))


def emit_labelled(label: str, cell: Cell) -> None:
    """Print a text behind its label; on a narrow terminal it goes on below itself."""
    text = printable(cell.text)
    if not sys.stdout.isatty():
        click.echo(f"{label}{text}".rstrip())
        return
    from rich.text import Text

    screen = console()
    lines = Text(text, style=STYLES[cell.tone]).wrap(screen, max(screen.width - len(label), _ROOM_FOR_WORDS))
    for number, line in enumerate(lines):
        line.rstrip()
        before = Text(label, style=STYLES["quiet"]) if number == 0 else Text(" " * len(label))
        screen.print(before + line, soft_wrap=True)


def emit_table(table: Table, *, headings: bool = True, indent: int = 0) -> None:
    """Print a table; nothing at all if it has no rows."""
    table = without_empty_columns(table)
    if not table.rows:
        return
    if sys.stdout.isatty():
        from rich.padding import Padding

        screen = console()
        table = fitting(table, screen.width - indent)
        screen.print(Padding(rich_table(table, headings=headings), (0, 0, 0, indent)))
    else:
        click.echo(plain_table(table, headings=headings, indent=indent))


def without_empty_columns(table: Table) -> Table:
    """Return ``table`` with the columns that say something."""
    return _choose(table, [i for i in range(len(table.headings)) if any(row[i].text for row in table.rows)])


def fitting(table: Table, width: int) -> Table:
    """Return ``table`` without as many of its expendable columns as it takes to give the last one room."""
    last = len(table.headings) - 1
    widths = [
        max(len(heading), *(len(row[i].text) for row in table.rows)) if table.rows else len(heading)
        for i, heading in enumerate(table.headings)
    ]
    widths[last] = min(widths[last], _ROOM_FOR_WORDS)
    keep = list(range(last + 1))
    for heading in table.expendable:
        if sum(widths[i] + _GAP for i in keep) - _GAP <= width:
            break
        keep = [i for i in keep if i == last or table.headings[i] != heading]
    return _choose(table, keep)


def _choose(table: Table, columns: Sequence[int]) -> Table:
    rows = tuple(tuple(row[i] for i in columns) for row in table.rows)
    return Table(tuple(table.headings[i] for i in columns), rows, table.expendable)


def plain_table(table: Table, *, headings: bool = True, indent: int = 0) -> str:
    """Return a table as aligned text without anything at line ends."""
    lines: list[Sequence[str]] = [table.headings] if headings else []
    lines += [tuple(printable(cell.text) for cell in row) for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            " " * indent + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def console(*, stderr: bool = False) -> Console:
    """Return a console for the terminal as it is now."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def rich_table(table: Table, *, headings: bool = True, one_line: bool = False) -> RichTable:
    """Return a table for rich: the last column gives way when the terminal is narrow, by folding or by an end."""
    from rich.table import Table as RichTable

    last = len(table.headings) - 1
    it = RichTable(
        box=None, show_header=headings, header_style="dim", pad_edge=False, padding=(0, _GAP, 0, 0)
    )
    for index, heading in enumerate(table.headings):
        it.add_column(heading, no_wrap=index < last, overflow="fold")
    for row in table.rows:
        texts = [_text(cell) for cell in row]
        if one_line:
            texts[last].no_wrap, texts[last].overflow = True, "ellipsis"
        it.add_row(*texts)
    return it


def rich_line(cells: Row) -> Text:
    """Return cells side by side for rich."""
    from rich.text import Text

    return Text("  ").join(_text(cell) for cell in cells)


def _text(cell: Cell) -> Text:
    from rich.text import Text

    return Text(printable(cell.text), style=STYLES[cell.tone])
