"""What a lab's own power program is given and what it says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.devices.codecs import command as codec
from boardherd_agent.devices.codecs.replies import BadReply


def test_words_in_braces_are_replaced_and_nothing_else() -> None:
    template = ["{port}", "--at={address}:{tcp_port}", "{}", '{"a": 1}', "{port}{port}"]
    values = {"port": "3", "address": "10.0.5.9", "tcp_port": "23"}
    assert codec.placeholders(template) == {"port", "address", "tcp_port"}
    assert codec.fill(template, values) == ["3", "--at=10.0.5.9:23", "{}", '{"a": 1}', "33"]


def test_what_was_filled_in_is_not_filled_again() -> None:
    assert codec.fill(["{address}"], {"address": "{port}", "port": "3"}) == ["{port}"]


@pytest.mark.parametrize(
    ("output", "state"), [("on\n", True), (" OFF ", False), ("1", True), ("0\r\n", False), ("True", True)]
)
def test_states_in_plain_words(output: str, state: bool) -> None:
    assert codec.parse_state(output.encode()) is state


@pytest.mark.parametrize("output", ["", "on off", "yes", "2", "on\non", "\xff"])
def test_anything_else_is_no_state(output: str) -> None:
    with pytest.raises(BadReply, match="makes no sense"):
        codec.parse_state(output.encode("latin-1"))


def test_lists_in_the_usual_forms() -> None:
    assert codec.parse_states(b"1 on\n 2: off\n\n3=1\n16\t0\n") == {1: True, 2: False, 3: True, 16: False}


@given(st.dictionaries(st.integers(0, 999), st.booleans()))
def test_lists_survive_the_round_trip(states: dict[int, bool]) -> None:
    text = "".join(f"{port} {'on' if state else 'off'}\n" for port, state in states.items())
    assert codec.parse_states(text.encode()) == states


@given(st.binary(max_size=40))
def test_any_output_is_understood_or_called_bad(output: bytes) -> None:
    for parse in (codec.parse_state, codec.parse_states):
        with contextlib.suppress(BadReply):
            parse(output)
