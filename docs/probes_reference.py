"""The page of probes, made from the table that the inventory and the agent read."""

from __future__ import annotations

from collections.abc import Iterator

from boardherd_agent.watch.probing.prober import COSTLY
from boardherd_shared.probes import CONSOLE, KINDS, ProbeKind

_MADE = "<!-- Made from the table of probes by `make docs`; change the table, not this page. -->\n"

_INTRODUCTION = """\
How boardherd finds out whether a board lives. A board's `probes` in `lab.toml` name any number of them; each is one
question, and together with power and wiring their answers become the verdict. An answer is **yes**, **no**, or
**unavailable**: the probe could not look, for want of a permission, a network, a name. That is never held against the
board.

```toml
[board.evm-07]
board_ip = "10.0.6.7"
probes = ["ping", "ssh", "http:8080/health", "usb:1-1.4", "console"]
```
"""

_PACE = """\
Boards that answer are looked at every `probing.steady` seconds (10), by {costly} every `probing.ssh` (30);
a board that boots, twice a second; a silent one ever less, up to a minute apart. After the agent's start the first
looks are spread over one interval, later ones keep out of step by a random fifth, and at most `probing.at_once` run
at the same time on one PC: boots go first, and a quarter of the places is always left to the others. No probe looks
twice at once. Names are asked for once a minute; an address in `board_ip` needs no name service. All these numbers
stand in [agent.toml](configuration.md).

There is a page on [adding one](adding-a-device.md#adding-a-probe).
"""


def probes() -> str:
    """Return the page."""
    lines = ["# Probes\n", _MADE, _INTRODUCTION, *_table(), ""]
    costly = _listed([f"`{kind}`" for kind in sorted(COSTLY)])
    lines += [text for kind, about in KINDS.items() for text in _section(kind, about)]
    lines += ["## How often\n", _PACE.format(costly=costly)]
    return "\n".join(lines)


def _table() -> Iterator[str]:
    yield "| probe | asks | yes | no |"
    yield "| --- | --- | --- | --- |"
    for kind, about in KINDS.items():
        yield f"| [`{kind}`](#{kind}) | {about.asks} | {about.yes} | {about.no} |"


def _section(kind: str, about: ProbeKind) -> Iterator[str]:
    yield f"## `{kind}`\n"
    written = f"Written {about.written}; for example `{about.example}`."
    needs = f" Needs `{about.needs}`." if about.needs else ""
    yield written + needs + "\n"
    if about.notes:
        yield f"{about.notes[0].upper()}{about.notes[1:]}.\n"
    if kind == CONSOLE:
        yield "The agent only listens and never writes: a newline would stop U-Boot.\n"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
