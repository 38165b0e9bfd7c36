"""Where keys stand, which word was meant, and which addresses there are: what sentences about mistakes are made of."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from boardherd_shared.addresses import Host, IpAddress, canonical, is_loopback
from boardherd_shared.fault_words import words_for
from boardherd_shared.near import did_you_mean, near
from boardherd_shared.toml_lines import Key, key_lines

ODD = '''# a comment with = and [
site = "lab" # "and
defaults.board = { off_time = "5s", probes = ["ping",
  "ssh", # ]
] }
pc."PC 01" = {}
pc.'x.y' = { a.b = 1, since = 1979-05-27 07:32:32 }
[board.evm-07] # }
power = [
  "eth-1:3", # [
  { port = "x]}", after = 1 },
]
text = """
a = 1
""\\"
"""""
literal = \'\'\'
[nothing]
b = 2\'\'\'
[[tools]]
name = "a"
[[tools]]
name = "b"
[tools.sub]
deep = 3
[ "q\\u0075oted" . "k=\\"e#y" ]
last=true'''

PLACES: dict[Key, int] = {
    ("site",): 2,
    ("defaults", "board"): 3,
    ("defaults", "board", "off_time"): 3,
    ("defaults", "board", "probes", 0): 3,
    ("defaults", "board", "probes", 1): 4,
    ("pc", "PC 01"): 6,
    ("pc", "x.y", "a", "b"): 7,
    ("pc", "x.y", "since"): 7,
    ("board", "evm-07"): 8,
    ("board", "evm-07", "power"): 9,
    ("board", "evm-07", "power", 0): 10,
    ("board", "evm-07", "power", 1, "after"): 11,
    ("board", "evm-07", "text"): 13,
    ("board", "evm-07", "literal"): 17,
    ("tools", 0, "name"): 21,
    ("tools", 1, "name"): 23,
    ("tools", 1, "sub", "deep"): 25,
    ("quoted", 'k="e#y', "last"): 27,
}


def keys_of(value: Any, key: Key = ()) -> Iterator[Key]:
    """Yield every key of parsed TOML."""
    if key:
        yield key
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield from keys_of(inner, (*key, name))


@pytest.mark.parametrize(("key", "line"), PLACES.items(), ids=str)
def test_every_way_of_writing_a_key_has_its_line(key: Key, line: int) -> None:
    assert key_lines(ODD)[key] == line


def test_all_keys_have_a_line_and_nothing_else_has() -> None:
    assert set(key_lines(ODD)) == set(keys_of(tomllib.loads(ODD)))


NAMES = st.text(st.sampled_from("ab-_1 .#=\"'[]{}\\ü"), min_size=1, max_size=4)
VALUES = st.recursive(
    st.sampled_from(
        ["1", "1.5", "true", "07:32:00", '"x"', '"a # \\" ]"', "'}'", '"""\n=\n"""', "'''\n[\n'''"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[ # ]\n" + ",\n".join(parts) + "\n]"),
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{quoted(key)} = {value}" for key, value in pairs.items()) + "}"
        ),
    ),
    max_leaves=6,
)


def quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=4))
def test_places_are_those_of_what_the_parser_finds(tables: dict[str, dict[str, str]]) -> None:
    lines: list[str] = []
    expected: dict[Key, int] = {}
    for table, pairs in tables.items():
        expected[table,] = sum(line.count("\n") + 1 for line in lines) + 1
        lines.append(f"[{quoted(table)}] # {table!r}")
        for key, value in pairs.items():
            expected[table, key] = sum(line.count("\n") + 1 for line in lines) + 1
            lines.append(f"{quoted(key)} = {value}")
    text = "\n".join(lines)
    found = key_lines(text)
    assert set(found) == set(keys_of(tomllib.loads(text)))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("of_time", ["off_time", "on"], "off_time"),
        ("CAMRA", ["CMD", "CAMERA"], "CAMERA"),
        ("camera", ["CMD", "CAMERA"], "CAMERA"),
        ("pc-02", ["pc-01", "pc-03"], None),
        ("PC_2", ["pc-01", "pc-02"], "pc-02"),
        ("eth-01", ["eth-1", "eth-10"], "eth-1"),
        ("dlpy", ["devantech", "dli"], None),
        ("colour", ["interval"], None),
    ],
)
def test_a_misspelt_word_finds_the_one_that_was_meant(word: str, known: list[str], meant: str | None) -> None:
    assert near(word, known) == meant
    assert did_you_mean(word, known) == (f'; did you mean "{meant}"?' if meant else "")


@pytest.mark.parametrize(
    "good", ["10.0.5.21", "fd00::1", "eth-1", "eth_1.lab.example", "fe80::1%eth0", "a.b."]
)
def test_host_names_and_addresses_are_taken(good: str) -> None:
    assert TypeAdapter(Host).validate_python(good) == good


@pytest.mark.parametrize(
    "bad", ["10.0.5.300", "1.2.3", "a:80", "http://a", "a b", "-a", "a/b", "[::1]:80", "", "x" * 256]
)
def test_what_is_no_host_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Host).validate_python(bad)


def test_one_address_has_one_form() -> None:
    assert TypeAdapter(IpAddress).validate_python("FD00:0::1") == "fd00::1" == canonical("fd00::0:1")
    assert canonical("ETH-1.Lab.") == "eth-1.lab"
    assert is_loopback("127.0.0.7") is is_loopback("::1") is is_loopback("LocalHost") is True
    assert is_loopback("localhost.lab") is False


def test_a_key_that_is_known_deeper_down_is_found_there() -> None:
    class Inner(BaseModel):
        model_config = ConfigDict(extra="forbid")
        timeout: float = 1

    class Outer(BaseModel):
        parts: dict[str, Inner] | None = None
        more: tuple[Inner, ...] = ()

    for data in ({"parts": {"a": {"timeuot": 1}}}, {"more": [{"timeuot": 1}]}):
        with pytest.raises(ValidationError) as caught:
            Outer.model_validate(data)
        said = [words_for(fault, Outer) for fault in caught.value.errors()]
        assert 'is not a known key here; did you mean "timeout"?' in said
