"""A lab.toml in the making, out of what a lab had before: what does not fit stays in it as a comment. Pure.

The rules are those of every lab.toml: the draft is checked like any other file, and each line that is refused becomes a
comment with the sentence beside it, until the rest is good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from boardherd_shared.inventory import Inventory
from boardherd_shared.model import Capability, Platform
from boardherd_shared.settings import ConfigError
from boardherd_shared.stanzas import toml_key
from boardherd_shared.values import one_line

Kind = Literal["pc", "relay", "board"]

_SENTENCE = re.compile(r"[^:\n]*:(?P<line>\d+) (?P<key>[^ ]+): (?P<text>.*)")
_ROUNDS = 1000
"""Each round takes at least one line out, and a file of more faults than that nobody reads."""
_LONGEST_ID = 63


@dataclass
class Thing:
    """A test PC, relay or board of the draft."""

    kind: Kind
    id: str
    keys: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    """What could not be taken over, in words."""


@dataclass
class Draft:
    """Everything that was found."""

    source: str
    """Where it comes from, for the first line."""
    things: list[Thing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be taken over and belongs to no one thing."""
    _ids: dict[tuple[Kind, str], str] = field(default_factory=dict)

    def add(self, kind: Kind, name: str, /, **keys: Any) -> Thing:
        """Add a thing; its id is made of ``name``, which is kept where it differs. Empty values are left out."""
        thing = Thing(kind, self._new_id(kind, name), {})
        if thing.id != name.strip() and name.strip():
            thing.keys["name"] = one_line(name, 100)
        thing.keys |= {key: value for key, value in keys.items() if value not in (None, "", [], {})}
        self.things.append(thing)
        return thing

    def once(self, kind: Kind, name: str, /, **keys: Any) -> Thing:
        """Return the thing that was added under ``name``, with ``keys`` that it lacks; add it if there is none."""
        known = self._ids.get((kind, name.strip().lower()))
        for thing in self.things:
            if (thing.kind, thing.id) == (kind, known):
                for key, value in keys.items():
                    if value not in (None, "", []):
                        thing.keys.setdefault(key, value)
                return thing
        thing = self.add(kind, name, **keys)
        self._ids[kind, name.strip().lower()] = thing.id
        return thing

    def _new_id(self, kind: Kind, name: str) -> str:
        plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:_LONGEST_ID] or kind
        taken = {thing.id for thing in self.things if thing.kind == kind}
        number = 2
        id_ = plain
        while id_ in taken:
            id_ = f"{plain[: _LONGEST_ID - 4]}-{number}"
            number += 1
        return id_


@dataclass(frozen=True)
class Result:
    """A lab.toml that is good, and what is not in force in it."""

    text: str
    problems: tuple[str, ...]
    """A sentence for each line that had to become a comment."""


def render(draft: Draft, site: str) -> Result:
    """Return the draft as lab.toml."""
    lines = [f"# Made by `boardherd inventory import` from {one_line(draft.source)}."]
    lines += ["# Read it, complete it, then: boardherd inventory check"]
    lines += [f"# not taken over: {one_line(note)}" for note in draft.notes]
    lines += [f"site = {_value(site)}", *_codes(draft.things), ""]
    for thing in sorted(draft.things, key=lambda thing: ("pc", "relay", "board").index(thing.kind)):
        lines.append(f"[{thing.kind}.{toml_key(thing.id)}]")
        lines += [f"{toml_key(key)} = {_value(value)}" for key, value in thing.keys.items()]
        lines += [f"# {one_line(note)}" for note in thing.notes]
        lines.append("")
    return _accepted(lines)


def capability(text: str) -> str:
    """Return a capability's code: a known one in its own spelling, others in lower case."""
    known = {code.value.lower(): code.value for code in Capability}
    return known.get(text.strip().lower()) or _slug(text)


def platform(text: str | None) -> str | None:
    """Return a platform's code, in lower case."""
    return _slug(text) if text and text.strip() else None


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower()).strip("-._")


def _codes(things: Iterable[Thing]) -> list[str]:
    boards = [thing.keys for thing in things if thing.kind == "board"]
    platforms = {keys["platform"] for keys in boards if "platform" in keys} - {
        code.value for code in Platform
    }
    capabilities = {code for keys in boards for code in keys.get("capabilities", ())}
    capabilities -= {code.value for code in Capability}
    return [
        f"codes.{name} = {_value(sorted(codes))}"
        for name, codes in (("platform", platforms), ("capability", capabilities))
        if codes
    ]


def _accepted(lines: list[str]) -> Result:
    """Return the lines with everything that is refused as comments."""
    problems: list[str] = []
    for _ in range(_ROUNDS):
        text = "\n".join(lines)
        try:
            Inventory.parse(text)
        except ConfigError as error:
            for sentence in str(error).splitlines():
                problems += _comment_out(lines, sentence)
        else:
            return Result(text, tuple(problems))
    raise ConfigError(f"no lab.toml can be made of that: {problems[-1]}")


def _comment_out(lines: list[str], sentence: str) -> list[str]:
    """Make comments of what a sentence is about; return it as a problem, nothing when that was done already."""
    found = _SENTENCE.fullmatch(sentence)
    if found is None:
        raise ConfigError(f"no lab.toml can be made of that: {sentence}")
    first = int(found["line"]) - 1
    if lines[first].startswith("#"):
        return []
    last = first
    if lines[first].startswith("["):  # the thing as a whole
        while lines[last + 1]:
            last += 1
    for place in range(first, last + 1):
        lines[place] = lines[place] if lines[place].startswith("#") else f"# {lines[place]}"
    lines[first] += f"  # {found['text']}"
    return [f"{found['key']}: {found['text']}"]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
