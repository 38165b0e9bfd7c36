"""What differs between two versions of lab.toml, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from boardherd_shared.definitions import HIDDEN, Definitions, Thing

What = Literal["added", "retired", "moved", "rewired", "changed"]

_SIGNS: Mapping[What, str] = {"added": "+", "retired": "-", "moved": ">", "rewired": "~", "changed": "~"}
_KINDS = {"pc": "test PC", "relay": "relay", "board": "board"}
_WIRING = {"power", "lines"}
_IDENTITY = ("hardware_serial_number", "mac", "ip", "address", "serial_port", "name")
"""By these a thing is recognised that has another id now."""


@dataclass(frozen=True)
class Change:
    """One difference."""

    kind: str
    """pc, relay, board or lab."""
    id: str
    what: What
    text: str
    key: str | None = None
    """Which key has changed; None for a thing as a whole."""
    before: Any = None
    after: Any = None

    @property
    def line(self) -> str:
        """The difference for a person, with a sign before it."""
        return f"{_SIGNS[self.what]} {self.text}"


def compare(old: Definitions, new: Definitions) -> list[Change]:
    """Return what becomes of ``old`` when ``new`` is in force: the lab, test PCs, relays, boards."""
    changes = [*_lab(old, new)]
    for kind, before, after in (
        ("pc", old.pc, new.pc),
        ("relay", old.relay, new.relay),
        ("board", old.board, new.board),
    ):
        changes += _things(kind, before, after)
    return changes


def summary(changes: list[Change]) -> str:
    """Return how much differs, in words."""
    counts = {what: len({(c.kind, c.id) for c in changes if c.what == what}) for what in _SIGNS}
    said = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join(said) or "no difference"


def _lab(old: Definitions, new: Definitions) -> Iterator[Change]:
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("site", old.site, new.site),
        ("admins", list(old.admins), list(new.admins)),
        *(
            (f"codes.{name}", list(old.codes.get(name, ())), list(new.codes.get(name, ())))
            for name in _codes(old, new)
        ),
    )
    for key, before, after in pairs:
        if before != after:
            yield Change(
                "lab", "", "changed", f"{key}: {_shown(before)} -> {_shown(after)}", key, before, after
            )


def _codes(old: Definitions, new: Definitions) -> list[str]:
    return sorted({*old.codes, *new.codes})


def _things(kind: str, old: Mapping[str, Thing], new: Mapping[str, Thing]) -> Iterator[Change]:
    gone = {id_: thing for id_, thing in old.items() if id_ not in new}
    for id_, thing in new.items():
        if id_ not in old:
            text = f"{_KINDS[kind]} {id_}{_about(thing)}{_formerly(thing, gone)}"
            yield Change(kind, id_, "added", text, after=thing)
    for id_, thing in gone.items():
        yield Change(kind, id_, "retired", f"{_KINDS[kind]} {id_} leaves; its history stays", before=thing)
    for id_, thing in new.items():
        if id_ in old:
            yield from _keys(kind, id_, old[id_], thing)


def _keys(kind: str, id_: str, old: Thing, new: Thing) -> Iterator[Change]:
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        name = f"{_KINDS[kind]} {id_}"
        if kind == "board" and key == "pc":
            text = f"{name} moves from {before or 'nobody'} to {after or 'nobody'}"
            yield Change(kind, id_, "moved", text, key, before, after)
        elif kind == "board" and key in _WIRING:
            text = f"{name} is rewired, {key}: {_shown(before)} -> {_shown(after)}"
            yield Change(kind, id_, "rewired", text, key, before, after)
        else:
            text = f"{name} {key}: {_shown(before)} -> {_shown(after)}"
            yield Change(kind, id_, "changed", text, key, before, after)


def _about(thing: Thing) -> str:
    parts = [
        thing.get("name"),
        thing.get("pc"),
        thing.get("kind"),
        thing.get("address"),
        _shown(thing.get("power")),
    ]
    said = [str(part) for part in parts if part and part != "nothing"]
    return f" ({', '.join(said)})" if said else ""


def _formerly(thing: Thing, gone: Mapping[str, Thing]) -> str:
    """Return which thing that leaves it seems to be: history goes by ids, and does not follow."""
    for other, was in gone.items():
        if thing.get("uuid") and thing["uuid"] == was.get("uuid"):
            return f"; it is {other} under another id, and keeps its history"
        same = [key for key in _IDENTITY if thing.get(key) and thing.get(key) == was.get(key)]
        if same:
            return f"; has the {same[0]} of {other}, whose history it does not take over"
    return ""


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "nothing"
    if isinstance(value, dict):
        return _shown_table(value)
    if isinstance(value, list):
        return ", ".join(_shown(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "(not shown)" if isinstance(value, str) and value.startswith(HIDDEN) else str(value)


def _shown_table(table: dict[str, Any]) -> str:
    """Return a table in words; a relay port as people write it."""
    if not {"relay", "port"} <= table.keys():
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in table.items())
    more = [f"{key} {_shown(inner)}" for key, inner in table.items() if key not in {"relay", "port"}]
    return f"{table['relay']}:{table['port']}" + (f" ({', '.join(more)})" if more else "")
