"""Configuration files: TOML into a model, with faults in words that name file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from boardherd_shared.fault_words import words_for
from boardherd_shared.toml_lines import Key, key_lines
from boardherd_shared.values import one_line

__all__ = ["ConfigError", "Document", "Key", "load", "read_text"]

_LONGEST = 2000
"""More of a sentence is not told."""

_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TUPLE = re.compile(r"\((?:'[^']*',? ?)+\)")
_PLAINER = {
    "Cannot overwrite a value": "this key has a value already",
    "Invalid value": "this is no value; text stands in quotes",
    r"Illegal character '\n'": "the text has no closing quote",
}
"""What the parser says, and what a person understands."""

M = TypeVar("M", bound=BaseModel)


class ConfigError(Exception):
    """A configuration that cannot be used. The message is one or more lines, one fault each."""


def read_text(path: Path) -> str:
    """Return the text of a configuration file, without a byte order mark; ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error


class Document:
    """A TOML file, and where in it each key stands."""

    def __init__(self, path: Path, text: str) -> None:
        """Parse ``text``; ``path`` is only for messages. Raises ConfigError."""
        self.path = path
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(_no_toml(path, str(error))) from error
        self._lines = key_lines(text)
        self._heirs: dict[Key, Key] = {}

    @classmethod
    def read(cls, path: Path) -> Document:
        """Return the document in the file ``path``; ConfigError if it cannot be read or parsed."""
        return cls(path, read_text(path))

    def inherit(self, heir: Key, origin: Key) -> None:
        """Note that the table ``heir`` has got what it does not say itself from the table ``origin``."""
        self._heirs[heir] = origin

    def has(self, key: Key) -> bool:
        """Tell whether the file itself says ``key``; False for what a table has got from another."""
        return key in self._lines

    def written(self, key: Key) -> Key:
        """Return where what counts for ``key`` is written: in another table, for what was inherited."""
        for depth in range(1, len(key)):
            origin = self._heirs.get(key[:depth])
            if (
                origin is not None
                and not self.has(key[: depth + 1])
                and self.has(origin + key[depth : depth + 1])
            ):
                return origin + key[depth:]
        return key

    def line(self, key: Key) -> int | None:
        """Return the line where ``key`` is written, or the nearest key around it."""
        key = self.written(key)
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[:-1]
        return None

    def fault(self, key: Key, message: str) -> str:
        """Return ``message`` with file, line and key before it, on one line whatever the values in it hold."""
        line = self.line(key)
        place = f"{self.path}:{line}" if line else str(self.path)
        name = ".".join(str(part) for part in self.written(key))
        said = one_line(f"{name}: {message}" if name else message, _LONGEST)
        return f"{place} {said}" if name else f"{place}: {said}"

    def parse(self, model: type[M]) -> M:
        """Return the document as ``model``; ConfigError with a line for each fault."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise ConfigError("\n".join(self.explain(error, model))) from error

    def explain(
        self,
        error: ValidationError,
        model: type[BaseModel],
        below: Key = (),
        more_keys: Sequence[str] = (),
        spare: Callable[[str], bool] = lambda _text: False,
    ) -> list[str]:
        """Return a sentence for each fault of pydantic.

        Args:
            error: the faults.
            model: what was validated.
            below: what the keys of the faults are relative to.
            more_keys: keys that are known there beside those of the model.
            spare: tells of a text whether it is right whatever it is.
        """
        found = [
            (self._key_of(fault, below), words_for(fault, model, more_keys))
            for fault in error.errors(include_url=False)
            if fault["type"] == "extra_forbidden"
            or not (isinstance(fault["input"], str) and spare(fault["input"]))
        ]
        return self.sentences(found)

    def sentences(self, found: Iterable[tuple[Key, str]]) -> list[str]:
        """Return a sentence for each fault, in the order of the file, each once."""
        in_order = sorted(found, key=lambda fault: self.line(fault[0]) or 0)
        return list(dict.fromkeys(self.fault(key, message) for key, message in in_order))

    def _key_of(self, fault: Any, below: Key) -> Key:
        """Return where a fault is, without what pydantic adds to a location, such as the branch of a union."""
        inner: Any = self.data
        for part in below:
            inner = inner[part]
        key = below
        for part in fault["loc"]:
            if (part in inner) if isinstance(inner, Mapping) else isinstance(inner, list) and part != "[key]":
                inner = inner[part]
                key += (part,)
        if fault["type"] == "missing":
            key += fault["loc"][-1:]
        return key


def load(path: Path, model: type[M]) -> M:
    """Return the configuration in ``path``; raises ConfigError."""
    return Document.read(path).parse(model)


def _no_toml(path: Path, message: str) -> str:
    """Return what the parser says, with file and line in front as everywhere else."""
    place = _PLACE.search(message)
    words = _TUPLE.sub(lambda found: ".".join(re.findall(r"'([^']*)'", found[0])), _PLACE.sub("", message))
    words = _PLAINER.get(words, words[0].lower() + words[1:])
    if place is None:
        return f"{path}: this is no TOML: {words}"
    return f"{path}:{place[1]}: this is no TOML: {words} (column {place[2]})"
