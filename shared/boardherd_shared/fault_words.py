"""What is wrong with a value in a configuration file, in words for the person who wrote it. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from boardherd_shared.ids import OPERATOR_PATTERN, SLUG_PATTERN
from boardherd_shared.near import did_you_mean

MAC_PATTERN = r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"

ID_FORM = "an id consists of a-z, 0-9, dot, dash and underscore, and starts with a-z or 0-9"

_FORMS = {
    rf"^{SLUG_PATTERN}$": ID_FORM,
    rf"^{OPERATOR_PATTERN}$": "a user name consists of letters, digits and . _ @ -, and starts with a letter or digit",
    MAC_PATTERN: "a hardware address is written 00:04:A3:12:34:56",
}
"""What a person should know in place of a regular expression."""
_PLAIN = {
    "missing": "is required",
    "tuple_type": "should be a list, in brackets",
    "list_type": "should be a list, in brackets",
    "model_type": "should be a table, in braces",
    "model_attributes_type": "should be a table, in braces",
    "dict_type": "should be a table, in braces",
}
"""What pydantic says about Python, said about TOML."""
_SHOWN = 60
"""A longer value is not repeated in the sentence about it."""


def words_for(fault: Any, model: type[BaseModel], more_keys: Sequence[str] = ()) -> str:
    """Return what a fault of pydantic says, without its jargon.

    Args:
        fault: one of ``ValidationError.errors()``.
        model: what was validated.
        more_keys: keys that are known at the top beside those of the model.
    """
    match fault["type"]:
        case "extra_forbidden":
            *where, name = fault["loc"]
            known = {*_fields_at(model, where), *(() if where else more_keys)}
            return f"is not a known key here{did_you_mean(str(name), known)}"
        case "string_pattern_mismatch":
            return _wrong_form(fault, model)
        case _:
            return _plain_words(fault)


def _plain_words(fault: Any) -> str:
    value, kind = fault["input"], fault["type"]
    if kind in {"string_too_short", "too_short"} and not value:
        return "is empty; leave the key out instead"
    if kind in {"string_too_long", "too_long"} and isinstance(value, str):
        return f"should have at most {fault['ctx']['max_length']} characters, not {len(value)}"
    message: str = _PLAIN.get(kind, fault["msg"].removeprefix("Value error, "))
    message = (message[0].lower() + message[1:]).replace("input should be", "should be")
    if kind in {"value_error", "missing"} or repr(value) in message:
        return message
    return message + _not(fault)


def _wrong_form(fault: Any, model: type[BaseModel]) -> str:
    form = _FORMS.get(fault["ctx"]["pattern"])
    if form is None:
        field = _field_at(model, fault["loc"])
        form = field.description if field and field.description else "it has a form of its own"
    return f'"{fault["input"]}" does not have the right form: {form}'


def _not(fault: Any) -> str:
    value = fault["input"]
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    return f", not {shown}" if isinstance(value, str | int | float | bool) and len(shown) <= _SHOWN else ""


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> set[str]:
    """Return the keys that the models at ``loc`` have."""
    return {name for found in _models_at(model, loc) for name in _keys(found)}


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _field_at(model: type[BaseModel], loc: Sequence[str | int]) -> FieldInfo | None:
    """Return the innermost field on the way to ``loc``."""
    found: FieldInfo | None = None
    for depth, part in enumerate(loc):
        for inner in _models_at(model, loc[:depth]):
            found = inner.model_fields.get(str(part), found)
    return found


def _models_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[type[BaseModel]]:
    """Return the models that ``loc`` may lead to: several where a type is a choice."""
    kinds: list[Any] = [model]
    for part in loc:
        kinds = [inner for kind in kinds for inner in _step(kind, part)]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _step(kind: Any, part: str | int) -> list[Any]:
    """Return what is one key or index below a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return _choices(field.annotation) if field else [kind]  # the name of a branch leads nowhere else
    if typing.get_origin(kind) in {dict, tuple, list}:
        arguments = [inner for inner in typing.get_args(kind) if inner is not Ellipsis]
        return _choices(arguments[-1]) if arguments else []
    return []


def _choices(annotation: Any) -> list[Any]:
    """Return the types that an annotation stands for."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _choices(typing.get_args(annotation)[0])
    if origin in {typing.Union, types.UnionType}:
        return [kind for inner in typing.get_args(annotation) for kind in _choices(inner)]
    return [annotation]
