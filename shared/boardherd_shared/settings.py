"""Configuration files: TOML into a model, with faults in words that name file, line and key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Key = tuple[str | int, ...]
"""Where a value stands in a file: ("board", "evm-07", "power", 0)."""

M = TypeVar("M", bound=BaseModel)


class ConfigError(Exception):
    """A configuration that cannot be used. The message is one or more lines, one fault each."""


class Document:
    """A TOML file, and where in it each key stands."""

    def __init__(self, path: Path, text: str) -> None:
        """Parse ``text``; ``path`` is only for messages. Raises ConfigError."""
        self.path = path
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: this is no TOML: {error}") from error
        self._lines = _find_lines(text)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Return the document in the file ``path``; ConfigError if it cannot be read or parsed."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
        return cls(path, text)

    def line(self, key: Key) -> int | None:
        """Return the line where ``key`` stands, or the nearest key around it."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[:-1]
        return None

    def fault(self, key: Key, message: str) -> str:
        """Return ``message`` with file, line and key before it."""
        line = self.line(key)
        place = f"{self.path}:{line}" if line else str(self.path)
        name = ".".join(str(part) for part in key)
        return f"{place} {name}: {message}" if name else f"{place}: {message}"

    def parse(self, model: type[M]) -> M:
        """Return the document as ``model``; ConfigError with a line for each fault."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise ConfigError("\n".join(self.explain(error))) from error

    def explain(self, error: ValidationError, below: Key = ()) -> Iterable[str]:
        """Yield a sentence for each fault of ``error``, whose keys are relative to ``below``."""
        said = set()
        for fault in error.errors(include_url=False):
            key = below + tuple(
                part for part in fault["loc"] if part in _keys_of(self.data) or isinstance(part, int)
            )
            if fault["type"] in {"extra_forbidden", "missing"}:
                key = below + tuple(fault["loc"])
            sentence = self.fault(key, _say(fault))
            if sentence not in said:
                said.add(sentence)
                yield sentence


def load(path: Path, model: type[M]) -> M:
    """Return the configuration in ``path``; raises ConfigError."""
    return Document.read(path).parse(model)


def _say(fault: Any) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "is not a known key here"
        case "missing":
            return "is required"
        case _:
            message: str = fault["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            value = fault["input"]
            shown = (
                f", not {value!r}"
                if isinstance(value, str | int | float | bool) and repr(value) not in message
                else ""
            )
            return message.replace("input should be", "should be") + (shown if '"' not in message else "")


def _keys_of(data: Any) -> set[str]:
    """Return every key anywhere in ``data``: pydantic's locations also carry names of union branches."""
    keys: set[str] = set()
    if isinstance(data, Mapping):
        for key, value in data.items():
            keys |= {key} | _keys_of(value)
    elif isinstance(data, list):
        for value in data:
            keys |= _keys_of(value)
    return keys


def _find_lines(text: str) -> dict[Key, int]:
    """Return the line of every key, by parsing the file one statement at a time."""
    lines: dict[Key, int] = {}
    table: Key = ()
    statement: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        statement.append(line)
        try:
            parsed = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue  # a statement over several lines
        start = number - len(statement) + 1
        if statement[0].lstrip().startswith("["):
            table = _innermost(parsed)
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], start)
        else:
            for key in _paths(parsed):
                lines.setdefault(table + key, start)
        statement = []
    return lines


def _innermost(parsed: Mapping[str, Any]) -> Key:
    key: Key = ()
    inner: Any = parsed
    while isinstance(inner, Mapping) and inner:
        name, inner = next(iter(inner.items()))
        key += (name,)
    return key


def _paths(parsed: Mapping[str, Any]) -> Iterable[Key]:
    for name, value in parsed.items():
        yield (name,)
        if isinstance(value, Mapping):
            for rest in _paths(value):
                yield (name, *rest)
