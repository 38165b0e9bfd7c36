"""Every fault that delivery is promised to stand, by id, and the tests that inflict it.

A test says at the head of its docstring which cases it is and which promises it proves: ``DEL-1, OPS-1 (N01): ...``.
``python -m faults.catalogue`` renews the table of ``docs/reliability.md`` from there.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
_BEGIN, _END = "<!-- cases: made by faults.catalogue -->", "<!-- end of cases -->"
_CASE = re.compile(r"\b[DNSTF]\d\d\b")
_PROMISE = re.compile(r"\b(?:DEL|CMD|OPS|SEC)-\d\b")

CASES: dict[str, str] = {
    "D01": "agent killed, again and again",
    "D02": "collector killed, again and again",
    "D03": "broker killed, again and again",
    "D04": "all three killed at once",
    "D05": "killed between the commit and the acknowledgement",
    "D06": "killed between the acknowledgement and its note",
    "D07": "killed inside a transaction of the spool",
    "D08": "the broker's state wiped",
    "D09": "another broker in its place",
    "D10": "database away for a long time",
    "D11": "database killed during a commit",
    "D12": "database slow",
    "D13": "database restored from an older backup",
    "D14": "database full or not writable",
    "D15": "acknowledgements lost",
    "D16": "acknowledgements doubled, reordered, late",
    "D17": "forged and absurd acknowledgements",
    "D18": "envelopes doubled and reordered",
    "D19": "a record that no database takes, among others",
    "D20": "an envelope that the broker does not let through",
    "D21": "the spool reaches its bound",
    "D22": "disk filled by somebody else",
    "D23": "errors of the disk",
    "D24": "spool damaged",
    "D25": "power cut in mid-write",
    "D26": "spool directory missing, read-only, somebody else's",
    "D27": "two agents on one spool",
    "D28": "cloned and rolled-back machines",
    "D29": "a spool of another release",
    "D30": "a whole fleet returns with its backlog",
    "D31": "a second collector takes over",
    "N01": "connections refused",
    "N02": "a line that stalls while TCP says nothing",
    "N03": "connections reset at any byte",
    "N04": "a slow and narrow line",
    "N05": "a link that flaps",
    "N06": "loss in one direction",
    "N07": "names resolved late, not at all, or otherwise",
    "N08": "certificates expired, of another host, of another authority; renewed while running",
    "N09": "a connection taken over by somebody else",
    "N10": "a broker that denies topics",
    "S01": "processes frozen",
    "S02": "an event loop that is blocked",
    "S03": "stopped under load",
    "S04": "a fault of our own in a background task",
    "S05": "no processor, no memory",
    "S06": "no file can be opened",
    "S07": "a day of work and faults",
    "S08": "one reconnect after another",
    "T01": "a wall clock that jumps while running",
    "T02": "a wall clock that is wrong from the start, and set later",
    "T03": "summer time, a leap second, standing still",
    "T04": "the collector's own clock wrong",
    "F01": "random and mutated payloads",
    "F02": "giants: payloads, topics, nesting",
    "F03": "agents that nobody knows, by the thousand",
    "F04": "words with a sting for logs, SQL, pages",
    "F05": "readers without a token, without an end, without number",
    "F06": "a side of another version",
}


@dataclass(frozen=True)
class NamedTest:
    """A test that names cases."""

    name: str
    file: str
    cases: tuple[str, ...]
    promises: tuple[str, ...]


def find_tests(place: Path = TESTS) -> list[NamedTest]:
    """Return the tests below ``place`` whose docstrings name cases, in the order of files and lines."""
    found = []
    for path in sorted(_files(place)):
        for function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            head = (ast.get_docstring(function) or "").partition(":")[0]
            cases = tuple(dict.fromkeys(_CASE.findall(head)))
            if cases:
                promises = tuple(dict.fromkeys(_PROMISE.findall(head)))
                found.append(NamedTest(function.name, path.relative_to(place).as_posix(), cases, promises))
    return found


def _files(place: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(place):
        below[:] = [name for name in below if name != "node_modules"]
        yield from (Path(folder, name) for name in names if name.startswith("test_") and name.endswith(".py"))


def _functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def by_case(found: list[NamedTest]) -> Mapping[str, list[NamedTest]]:
    """Return for each case the tests that name it."""
    cases: defaultdict[str, list[NamedTest]] = defaultdict(list)
    for test in found:
        for case in test.cases:
            cases[case].append(test)
    return cases


def table(found: list[NamedTest]) -> str:
    """Return the cases with their promises and tests, as a table in Markdown."""
    cases = by_case(found)
    rows = ["| case | fault | promises | tests |", "| --- | --- | --- | --- |"]
    for case, fault in CASES.items():
        promises = sorted({promise for test in cases.get(case, ()) for promise in test.promises})
        names = dict.fromkeys(f"`{test.file}` {_readable(test.name)}" for test in cases.get(case, ()))
        rows.append(f"| {case} | {fault} | {', '.join(promises)} | {'<br>'.join(names)} |")
    return "\n".join(rows)


def _readable(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def renew(page: str, found: list[NamedTest]) -> str:
    """Return ``page`` with the table made anew, where it has a place for it."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return f"{before}{begin}\n\n{table(found)}\n\n{end}{after}" if begin and end else page


def main() -> int:
    """Renew the table of a page, or print it."""
    parser = argparse.ArgumentParser(prog="faults.catalogue", description="Renews the table of fault cases.")
    parser.add_argument(
        "page", type=Path, nargs="?", help="docs/reliability.md; without it the table is printed"
    )
    page = parser.parse_args().page
    if page is None:
        print(table(find_tests()))
    else:
        page.write_text(renew(page.read_text(encoding="utf-8"), find_tests()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
