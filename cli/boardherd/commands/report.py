"""What boards did over a span of time: report."""

from __future__ import annotations

import csv
import io

import click

from boardherd.commands.lab import Duration, Lab, example, lab_options, pass_lab, run


@click.command(
    epilog=example("boardherd report --by platform --since 7d", "boardherd report --csv > week.csv")
)
@click.option(
    "--by",
    type=click.Choice(["board", "platform", "test_farm", "pc"]),
    default="board",
    show_default=True,
    help="What is summed up.",
)
@click.option(
    "--since", type=Duration(), default="7d", show_default=True, metavar="TIME", help="How far back."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of text.")
@lab_options(hidden=True)
@pass_lab
def report(lab: Lab, by: str, since: float, as_csv: bool) -> None:
    """Show how long boards were in use, idle, alive and dead, and how their power cycles went.

    Needs the collector. Hours are decimal; what is missing to the whole time nobody knows. Idle is alive and not
    in use; of the cycles count those that came to an end.
    """
    from boardherd import history_tables, output

    rows = history_tables.grouped(run(lab.client().ask("report", hours=since / 3600)), by)
    if lab.json:
        output.emit_json(rows)
    elif as_csv:
        click.echo(_csv(rows), nl=False)
    else:
        output.emit_table(history_tables.report(rows, by))
        if not rows:
            output.note("there is no board")


def _csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
