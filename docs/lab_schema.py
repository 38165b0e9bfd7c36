"""The JSON Schema of lab.toml, for editors: completion, help on each key, and a mark under what is wrong.

It says what one key may be. What needs the whole file, such as two boards on one port, ``boardherd inventory check``
tells. Draft 7, which is what the TOML tools of editors understand.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from boardherd_agent.devices.drivers import kinds, load
from boardherd_shared.command import parse_duration
from boardherd_shared.ids import SLUG_PATTERN
from boardherd_shared.lab import BoardConfig, Codes, Lab, PcConfig, RelayConfig
from boardherd_shared.lab import Feed as PowerFeed
from boardherd_shared.lab import Line as BoardLine
from boardherd_shared.model import Capability, Platform

Schema = dict[str, Any]

_PORT: Schema = {
    "type": "string",
    "pattern": r"^[a-z0-9][a-z0-9._-]{0,62}:[0-9]{1,3}$",
    "description": 'the relay and its port from 1: "eth-1:3"',
}
_DURATION: Schema = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(us|ms|s|m|min|h|d)?\s*$"}


def lab_schema() -> Schema:
    """Return the schema of the whole file."""
    board, relay = _board(), _relay()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "lab.toml",
        "description": "The inventory of a boardherd lab: its test PCs, relays and boards, and what is wired to what.",
        "type": "object",
        "additionalProperties": False,
        "required": ["site"],
        "properties": {
            "site": _field(Lab, "site"),
            "admins": _field(Lab, "admins"),
            "defaults": _object(
                {"board": {"$ref": "#/definitions/board"}, "relay": {"$ref": "#/definitions/relay"}},
                _help(Lab, "defaults"),
            ),
            "codes": _object(dict(_fields(Codes)), _help(Lab, "codes")),
            "pc": _by_id("pc", _help(Lab, "pc")),
            "relay": _by_id("relay", _help(Lab, "relay")),
            "board": _by_id("board", _help(Lab, "board")),
        },
        "definitions": {"pc": _object(dict(_fields(PcConfig)), "a test PC"), "relay": relay, "board": board},
    }


def _board() -> Schema:
    keys = dict(_fields(BoardConfig))
    keys["platform"] = {"type": "string", "description": _help(BoardConfig, "platform"), **_known(Platform)}
    keys["capabilities"] = {
        "type": "array",
        "description": _help(BoardConfig, "capabilities"),
        "items": {"type": "string", **_known(Capability)},
    }
    keys["power"] = {
        "type": "array",
        "description": _help(BoardConfig, "power"),
        "items": _wire(PowerFeed, "a feed with options"),
    }
    keys["lines"] = {
        "type": "object",
        "description": _help(BoardConfig, "lines"),
        "propertyNames": {"pattern": rf"^{SLUG_PATTERN}$"},
        "additionalProperties": _wire(BoardLine, "a line with options"),
    }
    return _object(keys, "a board")


def _relay() -> Schema:
    """Return the schema of a relay: the common keys, and those of every driver."""
    keys = dict(_fields(RelayConfig))
    keys["kind"] = {
        "description": _help(RelayConfig, "kind"),
        "oneOf": [{"const": kind, "description": load(kind).ABOUT.title} for kind in kinds()],
    }
    own: dict[str, list[tuple[str, Schema]]] = {}
    for kind in kinds():
        for name, schema in _fields(load(kind).Options):
            own.setdefault(name, []).append((kind, schema))
    return _object(keys | {name: _of_drivers(found) for name, found in sorted(own.items())}, "a relay")


def _of_drivers(found: list[tuple[str, Schema]]) -> Schema:
    """Return the schema of a key that one driver or several have."""
    different: list[Schema] = []
    for _, schema in found:
        bare = {key: value for key, value in schema.items() if key not in {"description", "default"}}
        if bare not in different:
            different.append(bare)
    texts = dict.fromkeys(schema.get("description", "") for _, schema in found)
    said = f"{'; '.join(texts)} (kind {', '.join(kind for kind, _ in found)})"
    return {"description": said, **(different[0] if len(different) == 1 else {"anyOf": different})}


def _wire(model: type[BaseModel], title: str) -> Schema:
    keys = {name: schema for name, schema in _fields(model) if name not in {"relay", "port"}}
    return {"anyOf": [_PORT, {**_object({"port": _PORT, **keys}, title), "required": ["port"]}]}


def _by_id(name: str, description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "propertyNames": {"pattern": rf"^{SLUG_PATTERN}$"},
        "additionalProperties": {"$ref": f"#/definitions/{name}"},
    }


def _object(properties: dict[str, Schema], description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": properties,
    }


def _known(choice: type[Platform | Capability]) -> Schema:
    """Return codes that an editor offers, where a lab may have others."""
    return {"examples": [member.value for member in choice]}


def _help(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].description or ""


def _field(model: type[BaseModel], name: str) -> Schema:
    return dict(_fields(model))[name]


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Schema]]:
    """Yield each key of a model with its schema, as TOML has it: without null, and durations also as text."""
    whole = model.model_json_schema(mode="validation")
    for name, field in model.model_fields.items():
        if name == "options":
            continue  # the driver's own keys are written beside the common ones
        schema = _plain(whole["properties"][field.alias or name], whole.get("$defs", {}))
        if _is_duration(field):
            kept = {key: schema.pop(key) for key in ("description", "default") if key in schema}
            schema = {**kept, "anyOf": [schema, _DURATION]}
        elif schema.get("type") == "object" and any(
            isinstance(mark, BeforeValidator) for mark in _all_marks(field)
        ):
            schema = {"description": schema.pop("description", ""), "anyOf": [schema, {"type": "string"}]}
        yield field.alias or name, schema


def _plain(schema: Any, parts: Schema) -> Any:
    """Return ``schema`` with references replaced, and without null, titles and what is only said of Python."""
    if isinstance(schema, list):
        return [_plain(inner, parts) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {key: inner for key, inner in schema.items() if key != "$ref"}
        return _plain({**parts[schema["$ref"].rpartition("/")[2]], **rest}, parts)
    out = {
        key: _plain(inner, parts)
        for key, inner in schema.items()
        if key not in {"title", "format", "writeOnly"} and not (key == "default" and inner in (None, [], {}))
    }
    for said, meant, stricter in (("ge", "minimum", max), ("le", "maximum", min)):
        if said in out:  # pydantic's own words, left over where several bounds meet
            bound = out.pop(said)
            out[meant] = stricter(bound, out.get(meant, bound))
    choices = [inner for inner in out.pop("anyOf", []) if inner != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | out
    return {**out, "anyOf": choices} if choices else out


def _is_duration(field: FieldInfo) -> bool:
    """Tell whether a field takes "5s"."""
    return any(
        isinstance(mark, BeforeValidator) and mark.func is parse_duration for mark in _all_marks(field)
    )


def _all_marks(field: FieldInfo) -> list[Any]:
    return [*field.metadata, *(mark for kind in typing.get_args(field.annotation) for mark in _marks(kind))]


def _marks(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation)[1:] if typing.get_origin(annotation) is typing.Annotated else ()
