"""Reference pages made from the models: configuration files, metrics."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from boardherd.settings import Source
from boardherd_agent.devices.drivers import kinds, load
from boardherd_agent.settings import AgentSettings
from boardherd_collector.metrics import METRICS
from boardherd_collector.settings import CollectorSettings
from boardherd_shared.inventory import Lab
from ownership_reference import ownership

FILES: tuple[tuple[str, type[BaseModel], str], ...] = (
    (
        "lab.toml",
        Lab,
        "The inventory: one file for the whole lab, the same on every test PC and on the collector.",
    ),
    ("agent.toml", AgentSettings, "One on each test PC: connection, credentials and local options."),
    ("collector.toml", CollectorSettings, "One on the collector."),
    ("config.toml", Source, "The operator's own, in `~/.config/boardherd/`; every key is optional."),
)

_CONFIGURATION = """\
Four files in TOML. Unknown keys are refused, and every fault is told with file, line and key. Durations are numbers of
seconds, or text with a unit: `"300ms"`, `"5s"`, `"20m"`, `"8h"`, `"7d"`.

`boardherd inventory check` checks lab.toml whole. Editors with a TOML server such as Taplo complete its keys, explain
them and mark what is wrong while you type, from the JSON Schema [lab.schema.json](lab.schema.json): put a copy beside
your lab.toml and write as its first line

```toml
#:schema ./lab.schema.json
```
"""

_METRICS = """\
The collector's `/metrics`, in base units. What was measured disappears after three of the PC's own sample intervals
without news; `boardherd_agent_up`, `_last_seen_timestamp_seconds` and `_info` stay until the PC is retired.
"""

_MADE = "<!-- Made from the models by `make docs`; change the models, not this page. -->\n"


_LIMITS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "≥ {}"),
    Gt: ("gt", "> {}"),
    Le: ("le", "≤ {}"),
    Lt: ("lt", "< {}"),
    MaxLen: ("max_length", "at most {} characters"),
    MinLen: ("min_length", "at least {} characters"),
}
_NAMES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "text",
}


def configuration() -> str:
    """Return the page that lists every key of every configuration file."""
    parts = [
        "# Configuration reference\n",
        _MADE,
        _CONFIGURATION,
    ]
    for name, model, purpose in FILES:
        parts += [f"## {name}\n", f"{purpose}\n", *_tables(model, "")]
        if model is Lab:
            parts += [text for kind in kinds() for text in _driver(kind)]
    parts.append(ownership())
    return "\n".join(parts)


def _driver(kind: str) -> Iterator[str]:
    """Yield the table of a driver's own keys."""
    yield f"### `relay.<id>` of kind `{kind}`\n"
    yield f"{inspect.getdoc(load(kind).Options)}\n"
    yield keys_of(load(kind).Options)


def keys_of(model: type[BaseModel]) -> str:
    """Return the table of a model's own keys."""
    return next(_tables(model, ""))


def metrics() -> str:
    """Return the page that lists every metric."""
    lines = [
        "# Metrics\n",
        _MADE,
        _METRICS,
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def _tables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the table of ``model``, then those of the models inside it."""
    if prefix:
        yield f"### `{prefix}`\n"
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {_type(field)} | {_default(field)} | {field.description or ''} |")
        for key, part in _parts(field.annotation):
            inner.append((f"{prefix}.{name}{key}".lstrip("."), part))
    yield "\n".join(rows) + "\n"
    for name, part in inner:
        yield from _tables(part, name)


def _parts(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models inside a type, with what follows the key's name to reach them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
        return
    mark = {dict: ".<id>", tuple: "[]"}.get(typing.get_origin(annotation), "")  # type: ignore[call-overload]
    for argument in typing.get_args(annotation):
        for key, part in _parts(argument):
            yield mark + key, part


def _type(field: FieldInfo) -> str:
    limits = [text for data in field.metadata if (text := _limit(data))]
    return ", ".join([_name(field.annotation), *limits])


def _limit(data: Any) -> str:
    for kind, (attribute, words) in _LIMITS.items():
        if isinstance(data, kind):
            return words.format(getattr(data, attribute))
    return ""


def _name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Annotated, tuple}:
        return ("list of " if origin is tuple else "") + _name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(_name(argument) for argument in arguments if argument is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f'`"{member.value}"`' for member in annotation)
    return _NAMES.get(annotation, "table")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined or value is None or value == () or isinstance(value, BaseModel):
        return ""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
