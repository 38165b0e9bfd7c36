"""Who owns which field of the domain: the file, the agent, or people and CI. Made from the models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from pydantic import BaseModel

from boardherd_collector.marks import MARKS, Marks, ThingKind
from boardherd_shared.lab import BoardConfig, PcConfig, RelayConfig
from boardherd_shared.messages import HostFacts
from boardherd_shared.records import BoardRecord, HostRecord, RelayRecord

_TEXT = """\
## Who owns which field

Each field has one owner, and nobody else writes it. **file**: lab.toml, so it is changed there and the file applied.
**agent**: observed by the test PC's agent. **people**: decided by people and CI with `boardherd`, kept by the
collector or, for locks, by the agent; a name and a reason go with it. What leaves the file is retired, never deleted,
and keeps what people decided about it.
"""
_THINGS: tuple[tuple[ThingKind, str, type[BaseModel], tuple[type[BaseModel], ...]], ...] = (
    ("pc", "test PC", PcConfig, (HostFacts, HostRecord)),
    ("relay", "relay and its ports", RelayConfig, (RelayRecord,)),
    ("board", "board", BoardConfig, (BoardRecord,)),
)
_BY_PEOPLE = {
    "maintenance": "since when, by whom and why it is in maintenance: `boardherd maintenance`",
    "deactivated": "since when, by whom and why it is out of use: `boardherd deactivate`",
    "retired": "shown no more, once it has left the file: `boardherd retire`",
    "name": "a name that goes before that of the file: `boardherd rename`",
    "notes": "what people should know: `boardherd note`, `boardherd set --note`",
}
_OF_BOARDS = {
    "use": "IDLE, BUSY or UPDATING_SDK, with the lock that it comes from and ends with: `boardherd lock`",
    "sdk_version": "what runs on it: `boardherd set --sdk-version`",
}
_NOT_THE_AGENTS = {"kind", "at", "up", "change", "lock", "board", "relay", "port", "line"}
"""How a record travels, what it is about, and the lock, which is people's."""


def ownership() -> str:
    """Return the section."""
    return "\n".join([_TEXT, *(_table(*thing) for thing in _THINGS)])


def _table(
    kind: ThingKind, title: str, config: type[BaseModel], observed: tuple[type[BaseModel], ...]
) -> str:
    lines = [f"### Fields of a {title}\n", "| field | owner | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | file | {text} |" for name, text in _described(config)]
    for model in observed:
        lines += [
            f"| `{name}` | agent | {text} |"
            for name, text in _described(model)
            if name not in _NOT_THE_AGENTS
        ]
    lines += [f"| `{name}` | people | {text} |" for name, text in _decided(kind)]
    return "\n".join(lines) + "\n"


def _described(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        yield name, field.description or ""


def _decided(kind: ThingKind) -> Iterator[tuple[str, str]]:
    """Yield what people decide about a kind of thing; a mark without words is a mistake in this page."""
    of_kind = {*MARKS[kind], "name", "notes"}
    yield from ((mark.name, _BY_PEOPLE[mark.name]) for mark in fields(Marks) if mark.name in of_kind)
    if kind == "board":
        yield from _OF_BOARDS.items()
