"""Range arithmetic against plain sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from boardherd_agent.delivery.ranges import clip, coarsen, collapse, contains, size, subtract

RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=8)


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


@given(RANGES)
def test_collapse_keeps_the_numbers_and_leaves_gaps_between(ranges: list[tuple[int, int]]) -> None:
    out = collapse(ranges)
    assert numbers(out) == numbers(ranges)
    assert size(out) == len(numbers(ranges))
    assert all(a[1] + 1 < b[0] for a, b in pairwise(out))


@given(RANGES, RANGES)
def test_subtract_is_the_difference_of_sets(
    ranges: list[tuple[int, int]], holes: list[tuple[int, int]]
) -> None:
    assert numbers(subtract(ranges, holes)) == numbers(ranges) - numbers(holes)


@given(RANGES, st.integers(1, 40), st.integers(1, 40))
def test_clip_is_the_intersection(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    assert numbers(clip(ranges, first, last)) == {n for n in numbers(ranges) if first <= n <= last}


@given(RANGES, st.integers(1, 5))
def test_coarsen_covers_everything_and_is_exact_for_the_newest(
    ranges: list[tuple[int, int]], limit: int
) -> None:
    exact = collapse(ranges)
    out = coarsen(exact, limit)
    assert len(out) <= limit
    assert numbers(exact) <= numbers(out)
    if len(exact) > limit > 1:
        assert out[1:] == exact[1 - limit :]


@given(RANGES, st.integers(1, 40))
def test_contains(ranges: list[tuple[int, int]], number: int) -> None:
    assert contains(ranges, number) == (number in numbers(ranges))
