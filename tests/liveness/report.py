"""What the trial and the table of verdicts came to, as tables of ``docs/liveness.md``.

Run as ``PYTHONPATH=tests python -m liveness.report docs/liveness.md``; it plays the trial, which takes some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from liveness import trial
from liveness.lab import LivenessLab
from liveness.situations import SITUATIONS
from liveness.trial import Outcome
from unit.watch.situations import rows

_BEGIN, _END = "<!-- {name}: made by liveness.report -->", "<!-- end of {name} -->"


async def play(directory: Path) -> list[Outcome]:
    """Play every situation that this machine can make, one after another, on one lab."""
    async with LivenessLab(directory) as lab:
        await trial.settle(lab, lab.options.boards)
        outcomes = []
        for situation in SITUATIONS:
            if situation.possible():
                outcomes.append(await trial.attempt(lab, situation))
                print(f"{outcomes[-1].seconds:6.1f} s  {situation.name}", file=sys.stderr)
        return outcomes


def answers(outcomes: Iterable[Outcome]) -> str:
    """Return what was said of each fault."""
    parts = []
    for outcome in outcomes:
        said = "\n".join(outcome.answer.lines)
        when = f"said after {outcome.seconds:.1f} s, healed {outcome.healing_s:.1f} s after its end"
        name = outcome.situation.name
        name = name[0].upper() + name[1:]
        parts.append(f"**{name}** (blame: {outcome.answer.blame}; {when})\n\n```\n{said}\n```\n")
    return "\n".join(parts)


def verdicts() -> str:
    """Return the table of situations and verdicts, which needs no lab."""
    head = ("situation", "verdict", "blame", "why, in its words")
    return _table(head, rows())


def replace(text: str, name: str, content: str) -> str:
    """Return ``text`` with ``content`` between the marks of ``name``."""
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"there are no marks for {name}")
    return pattern.sub(lambda _: f"{begin}\n{content.strip()}\n{end}", text)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in body]
    return "\n".join(lines)


def main() -> int:
    """Play the trial and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("document", type=Path, help="docs/liveness.md")
    document = parser.parse_args().document
    with tempfile.TemporaryDirectory(prefix="boardherd-liveness-") as directory:
        outcomes = asyncio.run(play(Path(directory)))
    text = replace(document.read_text(), "answers", answers(outcomes).replace(directory, "…"))
    document.write_text(replace(text, "verdicts", verdicts()))
    return 0 if all(outcome.right and outcome.healed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
