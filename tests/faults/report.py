"""The results of campaigns as tables: for the terminal, and for ``docs/reliability.md``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
NAMES = {
    "boardherd": "boardherd",
    "boardherd-postgres": "boardherd on PostgreSQL",
    "qos1-autosave": "QoS 1, persistent session, Mosquitto saving at every change",
    "qos1-defaults": "QoS 1, persistent session, Mosquitto's persistence as it comes",
}
_BEGIN, _END = "<!-- {name}: made by faults.report -->", "<!-- end of {name} -->"


def summary(results: Sequence[Result]) -> str:
    """Return everything about ``results`` for a terminal."""
    parts = [comparison(results)]
    for result in results:
        parts.append(f"{result['system']}: {result['options']}\n{faults(result)}")
        more = ("fresh_s", "drained", "figures", "deaths", "tracebacks")
        parts += [f"  {name}: {result[name]}" for name in more]
    return "\n".join(parts)


def comparison(results: Sequence[Result]) -> str:
    """Return one row for each system."""
    rows = [
        (
            NAMES.get(result["system"], result["system"]),
            _number(result["seconds"] / 60),
            _number(sum(result["faults"].values())),
            _number(result["accepted"]),
            _number(result["stored"]),
            _number(result["declared"]),
            f"**{_number(result['undeclared'])}**",
            f"**{_number(result['doubled'])}**",
            f"{max(result['fresh_s'], default=0):.1f} s",
        )
        for result in results
    ]
    head = (
        "how", "minutes", "faults", "records accepted", "stored", "reported lost", "lost without a word",
        "doubled", "slowest return",
    )  # fmt: skip
    return _table(head, rows)


def faults(result: Result) -> str:
    """Return how often each kind of fault was inflicted."""
    rows = [
        (kind, _number(count))
        for kind, count in sorted(result["faults"].items(), key=lambda i: (-i[1], i[0]))
    ]
    rows.append(("**all**", f"**{_number(sum(result['faults'].values()))}**"))
    return _table(("fault", "times"), rows)


def renew(page: str, results: Sequence[Result]) -> str:
    """Return ``page`` with its tables made from ``results``."""
    ours = next((result for result in results if result["system"].startswith("boardherd")), None)
    page = _replace(page, "comparison", comparison(results))
    page = _replace(page, "faults", faults(ours) if ours else "")
    return _replace(page, "run", _run_line(ours) if ours else "")


def _run_line(result: Result) -> str:
    o, v = result["options"], result["versions"]
    drained = (
        f"{_number(max(result['drained']))} records a second" if result["drained"] else "too short to tell"
    )
    return (
        f"Run of {result['began']}: {result['seconds'] / 60:.0f} minutes, seed {o['seed']}, {o['agents']} agents of"
        f" {o['rate']:g} records a second each; Python {v['python']}, SQLite {v['sqlite']}. Fastest backlog: {drained}"
        f" (production: {o['agents'] * o['rate']:g}). Records kept in memory because a disk was full:"
        f" {_number(result['volatile'])}, of which {_number(result['volatile_lost'])} went with their process."
    )


def _replace(page: str, name: str, text: str) -> str:
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"the page has no place for {name}")
    return found.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    return f"{round(value):,}".replace(",", " ")


def main() -> int:
    """Write the tables of a result file into a page."""
    parser = argparse.ArgumentParser(prog="faults.report", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="JSON files of campaigns")
    parser.add_argument("--page", type=Path, default=Path("docs/reliability.md"))
    arguments = parser.parse_args()
    results = [result for path in arguments.results for result in json.loads(path.read_text())]
    arguments.page.write_text(renew(arguments.page.read_text(), results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
