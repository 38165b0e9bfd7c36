"""Where in a TOML file each key stands: one pass over the text, which is known to be valid TOML. Pure.

The standard library's parser tells values and no places. This one tells places and no values, so it may trust
that the text is well-formed and only has to know where keys, strings and brackets begin and end.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Key = tuple[str | int, ...]
"""Where a value stands in a file: ("board", "evm-07", "power", 0)."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r"""
      \"{3} (?: [^\\] | \\. )*? \"{3} \"{0,2}
    | '{3} .*? '{3} '{0,2}
    | " (?: [^"\\\n] | \\. )* "
    | ' [^'\n]* '
    """,
    re.DOTALL | re.VERBOSE,
)
_OTHER = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Key, int]:
    """Return the line of every key of valid TOML, from 1; of a table that is opened twice, the first.

    Elements of arrays have a number in place of a name. A key that a dotted one only implies stands where the
    dotted one does.
    """
    scan = _Scan(text)
    scan.run()
    return scan.lines


class _Scan:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Key, int] = {}
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._tables: dict[Key, int] = {}
        """How many elements each array of tables has so far."""

    def run(self) -> None:
        table: Key = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Key:
        """Read ``[table]`` or ``[[table]]``; return where what follows belongs."""
        many = self._text.startswith("[[", self._at)
        line = self._line()
        self._at += 2 if many else 1
        key: Key = ()
        path = self._path()
        for depth, name in enumerate(path, 1):
            key += (name,)
            self.lines.setdefault(key, line)
            last = depth == len(path)
            if many and last:
                self._tables[key] = self._tables.get(key, 0) + 1
            if key in self._tables:
                key += (self._tables[key] - 1,)
                self.lines.setdefault(key, line)
        self._at += 2 if many else 1
        return key

    def _pair(self, table: Key) -> None:
        """Read ``key = value``, and note where the key and everything inside the value stands."""
        line, key = self._line(), table
        for name in self._path():
            key += (name,)
            self.lines.setdefault(key, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(key)

    def _path(self) -> list[str]:
        """Read a key with its dots, up to what ends it."""
        names = []
        while True:
            self._skip(_SPACE)
            names.append(self._name())
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _name(self) -> str:
        quote = self._text[self._at]
        if quote not in {'"', "'"}:
            return self._take(_BARE)
        quoted = self._take(_STRING)
        return (
            quoted[1:-1] if quote == "'" or "\\" not in quoted else next(iter(tomllib.loads(f"{quoted}=0")))
        )

    def _value(self, key: Key) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._take(_STRING)
            case "[":
                self._array(key)
            case "{":
                self._inline_table(key)
            case _:
                self._take(_OTHER)

    def _array(self, key: Key) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                break
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self.lines[*key, index] = self._line()
            self._value((*key, index))
            index += 1
        self._at += 1

    def _inline_table(self, key: Key) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                break
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(key)
        self._at += 1

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        assert found is not None  # all of them match nothing, too
        self._at = found.end()

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no valid TOML at character {self._at}")
        self._at = found.end()
        return found[0]
