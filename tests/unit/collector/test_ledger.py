"""The ledger, against a plain set of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from boardherd_collector.ledger import Ledger, merged

ranges = st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def numbers(spans: object) -> set[int]:
    return {seq for first, last in spans for seq in range(first, last + 1)}  # type: ignore[attr-defined]


@given(st.lists(ranges), st.lists(ranges))
def test_it_knows_what_a_set_knows(entered: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    """DEL-1: whatever comes in whatever order is new exactly once."""
    ledger, model = Ledger(), set[int]()
    for first, last in entered:
        new = numbers([(first, last)]) - model
        assert numbers(ledger.add_range(first, last)) == new
        model |= new
        assert ledger.count == len(model)
    assert all((seq in ledger) == (seq in model) for seq in range(1, 60))
    assert numbers(ledger.missing(asked)) == numbers(asked) - model


@given(st.lists(st.integers(1, 30)))
def test_its_form_is_the_shortest(entered: list[int]) -> None:
    ledger = Ledger()
    for place, seq in enumerate(entered):
        assert ledger.add(seq) == (seq not in entered[:place])
    spans = [(0, ledger.watermark), *ledger.ranges]
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(spans))
    again = Ledger(ledger.watermark, ledger.ranges)
    assert (again.watermark, again.ranges) == (ledger.watermark, ledger.ranges)


@given(st.lists(ranges))
def test_merged_ranges_are_in_order_and_apart(spans: list[tuple[int, int]]) -> None:
    result = merged(spans)
    assert numbers(result) == numbers(spans)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(result))


def test_the_watermark_swallows_what_it_reaches() -> None:
    ledger = Ledger()
    assert ledger.add_range(3, 5) == ((3, 5),)
    assert ledger.add(1)
    assert (ledger.watermark, ledger.ranges) == (1, ((3, 5),))
    assert ledger.add_range(1, 4) == ((2, 2),)
    assert (ledger.watermark, ledger.ranges, ledger.count) == (5, (), 5)
