"""Which numbers of a stream are in: a watermark, and open ranges above it.

Every number up to the watermark is in. A number is in when its envelope is stored, or when it was declared
lost; the first writer wins, so that nothing is ever both. Numbers begin at 1.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""First and last number, both included."""


class Ledger:
    """The numbers of one stream that are in."""

    def __init__(self, watermark: int = 0, ranges: Iterable[Range] = ()) -> None:
        """Begin with what is in already; ``ranges`` may overlap and come in any order."""
        self._watermark = watermark
        self._ranges: list[Range] = []
        for first, last in ranges:
            self.add_range(first, last)

    @property
    def watermark(self) -> int:
        """Every number up to this one is in."""
        return self._watermark

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What is in above the watermark: in order, apart from each other."""
        return tuple(self._ranges)

    @property
    def count(self) -> int:
        """How many numbers are in."""
        return self._watermark + sum(last - first + 1 for first, last in self._ranges)

    def __contains__(self, seq: int) -> bool:
        """Tell whether ``seq`` is in."""
        if seq <= self._watermark:
            return True
        place = bisect.bisect_right(self._ranges, seq, key=_first) - 1
        return place >= 0 and seq <= self._ranges[place][1]

    def add(self, seq: int) -> bool:
        """Enter ``seq``; return False when it was in before."""
        return bool(self.add_range(seq, seq))

    def add_range(self, first: int, last: int) -> tuple[Range, ...]:
        """Enter ``first`` to ``last``; return those that were not in before."""
        entered = self.missing([(first, last)])
        if entered:
            self._merge(first, last)
        return entered

    def missing(self, asked: Iterable[Range]) -> tuple[Range, ...]:
        """Return which numbers of ``asked`` are not in, as ranges in order and apart from each other."""
        gaps: list[Range] = []
        for first, last in merged(asked):
            gaps.extend(self._gaps(first, last))
        return tuple(gaps)

    def _gaps(self, first: int, last: int) -> Iterator[Range]:
        begin = max(first, self._watermark + 1)
        place = max(0, bisect.bisect_right(self._ranges, begin, key=_first) - 1)
        while begin <= last and place < len(self._ranges):
            low, high = self._ranges[place]
            if low > last:
                break
            if low > begin:
                yield begin, low - 1
            begin = max(begin, high + 1)
            place += 1
        if begin <= last:
            yield begin, last

    def _merge(self, first: int, last: int) -> None:
        """Put ``first`` to ``last`` in its place and swallow what it touches."""
        begin = bisect.bisect_left(self._ranges, first - 1, key=_last)
        end = bisect.bisect_right(self._ranges, last + 1, key=_first)
        touched = self._ranges[begin:end]
        if touched:
            first, last = min(first, touched[0][0]), max(last, touched[-1][1])
        self._ranges[begin:end] = [(first, last)]
        if self._ranges[0][0] <= self._watermark + 1:
            self._watermark = max(self._watermark, self._ranges.pop(0)[1])


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ``ranges`` in order, with those that overlap or touch made one."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            continue
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def _first(span: Range) -> int:
    return span[0]


def _last(span: Range) -> int:
    return span[1]
