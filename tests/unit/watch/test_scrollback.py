"""The ring in which the last bytes of a console are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.watch.consoles.scrollback import Scrollback, printable_lines


def filled(*pieces: bytes, size: int = 1000) -> Scrollback:
    ring = Scrollback(size)
    for number, piece in enumerate(pieces):
        ring.add(piece, number)
    return ring


@given(
    st.lists(st.binary(max_size=40), max_size=40),
    st.integers(1, 100),
    st.integers(0, 500),
    st.integers(1, 60),
)
def test_what_is_read_and_what_is_missed_add_up(
    pieces: list[bytes], size: int, offset: int, limit: int
) -> None:
    ring, everything = filled(*pieces, size=size), b"".join(pieces)
    offset = min(offset, len(everything))
    data, missed = ring.after(offset, limit)
    assert data == everything[offset + missed :][:limit]
    assert missed == max(0, len(everything) - size - offset)
    assert len(ring._bytes) <= size + size // 4
    assert len(ring._marks) <= len(ring._bytes) // 16 + 2


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(20, 400))
def test_a_reader_that_keeps_up_gets_every_byte(lengths: list[int], size: int) -> None:
    ring, read, offset, everything = Scrollback(size), b"", 0, b""
    for number, length in enumerate(lengths):
        piece = bytes([number % 256]) * min(length, size)
        everything += piece
        ring.add(piece, number)
        while True:
            data, missed = ring.after(offset, 64)
            assert missed == 0
            if not data:
                break
            read += data
            offset += len(data)
    assert read == everything


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        (b"one\r\ntwo\r\nthree", 0, b""),
        (b"one\r\ntwo\r\nthree", 1, b"three"),
        (b"one\r\ntwo\r\nthree", 2, b"two\r\nthree"),
        (b"one\r\ntwo\r\n", 1, b"two\r\n"),
        (b"one\r\ntwo\r\n", 9, b"one\r\ntwo\r\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"", 5, b""),
    ],
)
def test_the_last_lines(text: bytes, lines: int, expected: bytes) -> None:
    ring = filled(text)
    assert ring.after(ring.offset_of_last(lines), 1000)[0] == expected


def test_times_are_those_of_arrival() -> None:
    ring = filled(b"first line, long enough\r\n", b"second line, long enough\r\n", b"third")
    assert [ring.time_of(offset) for offset in (0, 24, 25, 51)] == [0, 0, 1, 2]
    assert Scrollback(10).time_of(0) == 0


def test_times_outlive_the_cutting_of_the_ring() -> None:
    ring = Scrollback(200)
    for number in range(100):
        ring.add(b"0123456789abcdef\n", number)
    assert ring.time_of(ring.end - 1) == 99
    assert ring.time_of(ring.end - 170) == 90
    assert len(ring._marks) == len(ring._times) < 20


def test_last_words_are_of_this_life_of_the_port_and_printable() -> None:
    ring = filled(b"an older life\r\n")
    ring.begin()
    assert ring.words(10) == ()
    ring.add(
        b"\x1b[0;32m[  OK  ]\x1b[0m Started.\r\n\r\n   \r\n10%\r20%\r100%\r\n\x00\xffKernel panic\x07 - x", 1
    )
    assert ring.words(10) == ("[ OK ] Started.", "100%", "\ufffdKernel panic - x")
    assert ring.words(1) == ("\ufffdKernel panic - x",)
    assert ring.words(0) == ()


def test_last_words_of_a_flood_are_found_at_once_and_short() -> None:
    ring = filled(b"x" * 900_000 + b"\nthe end", size=1_000_000)
    assert ring.words(3)[-1] == "the end"
    assert all(len(line) <= 200 for line in ring.words(3))


@given(st.binary(max_size=300))
def test_lines_for_people_are_always_printable(data: bytes) -> None:
    assert all(line.isprintable() and line for line in printable_lines(data))
