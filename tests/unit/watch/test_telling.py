"""How a console is shown to its readers."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.consoles.scrollback import Scrollback
from boardherd_agent.watch.consoles.telling import Lines, Raw


def test_bytes_stay_bytes_and_words_stand_on_a_line_of_their_own() -> None:
    assert Raw().said(b"\x1b[0mab\xff", 5) == b"\x1b[0mab\xff"
    assert Raw().notice("evm-07: gone") == b"\r\n[boardherd: evm-07: gone]\r\n"


def test_lines_carry_the_time_at_which_they_began() -> None:
    ring = Scrollback(1000)
    ring.add(b"U-Boot SPL 2024.04 begins\r\nTrying to ", 1_500_000)
    ring.add(b"boot from MMC2\r\n\r\nevm login: ", 2_500_000)
    lines = Lines(ring)
    told = lines.said(ring.after(0, 30)[0], 0) + lines.said(ring.after(30, 1000)[0], 30)
    assert [json.loads(line) for line in told.splitlines()] == [
        {"at": 1.5, "text": "U-Boot SPL 2024.04 begins"},
        {"at": 1.5, "text": "Trying to boot from MMC2"},
    ]
    told = lines.notice("evm-07: the port is left to ops1")
    assert [json.loads(line) for line in told.splitlines()] == [
        {"at": 2.5, "text": "evm login:"},
        {"text": "evm-07: the port is left to ops1", "notice": True},
    ]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_chunking_never_changes_the_lines(data: bytes, cuts: list[int]) -> None:
    ring = Scrollback(1000)
    ring.add(data, 0)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    cut, whole = Lines(ring), Lines(ring)
    told = b"".join(cut.said(data[begin:end], begin) for begin, end in itertools.pairwise(edges))
    assert told == whole.said(data, 0)
    for line in told.splitlines():
        assert json.loads(line)["text"].isprintable()
