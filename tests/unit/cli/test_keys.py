"""Keys that are for the console, and those that are for us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd.keys import Escapes


@pytest.mark.parametrize(
    ("typed", "sent", "leaves", "helps"),
    [
        (b"ls\r", b"ls\r", False, False),
        (b"~.", b"", True, False),
        (b"ls\r~.rm\r", b"ls\r", True, False),
        (b"cd ~.\r", b"cd ~.\r", False, False),
        (b"~?x", b"x", False, True),
        (b"~~.", b"~.", False, False),
        (b"~~\r~.", b"~\r", True, False),
        (b"~x", b"~x", False, False),
        (b"~\r~.", b"~\r", True, False),
        (b"abc\x03~.", b"abc\x03", True, False),
        (b"~", b"", False, False),
    ],
)
def test_escapes(typed: bytes, sent: bytes, leaves: bool, helps: bool) -> None:
    keys = Escapes()
    assert (keys.feed(typed), keys.leave, keys.help) == (sent, leaves, helps)


@given(st.lists(st.sampled_from([b"~", b".", b"?", b"\r", b"a", b"\x03"]), max_size=30).map(b"".join))
def test_it_does_not_matter_how_fast_one_types(typed: bytes) -> None:
    whole, slow = Escapes(), Escapes()
    sent = whole.feed(typed)
    assert b"".join(slow.feed(bytes([key])) for key in typed) == sent
    assert (slow.leave, slow.help) == (whole.leave, whole.help)
