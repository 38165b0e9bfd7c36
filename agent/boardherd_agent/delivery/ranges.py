"""Arithmetic on closed ranges of sequence numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Range = tuple[int, int]
"""First and last, both included."""


def collapse(ranges: Iterable[Range]) -> list[Range]:
    """Return ``ranges`` in order, with those that touch or overlap made one; empty ones vanish."""
    out: list[Range] = []
    for first, last in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    """Return what is in ``ranges`` and not in ``holes``, in order."""
    out: list[Range] = []
    cuts = collapse(holes)
    at = 0
    for first, last in collapse(ranges):
        start = first
        while at < len(cuts) and cuts[at][1] < start:
            at += 1
        cut = at
        while cut < len(cuts) and cuts[cut][0] <= last:
            if start < cuts[cut][0]:
                out.append((start, cuts[cut][0] - 1))
            start = cuts[cut][1] + 1
            cut += 1
        if start <= last:
            out.append((start, last))
    return out


def clip(ranges: Iterable[Range], first: int, last: int) -> list[Range]:
    """Return the part of ``ranges`` that lies between ``first`` and ``last``, in order."""
    return collapse((max(a, first), min(b, last)) for a, b in ranges)


def coarsen(ranges: Sequence[Range], limit: int) -> list[Range]:
    """Return at most ``limit`` ranges that cover ``ranges``: the oldest are drawn together over their gaps."""
    spare = len(ranges) - limit
    if spare <= 0:
        return list(ranges)
    return [(ranges[0][0], ranges[spare][1]), *ranges[spare + 1 :]]


def contains(ranges: Iterable[Range], number: int) -> bool:
    """Tell whether ``number`` lies in one of ``ranges``."""
    return any(first <= number <= last for first, last in ranges)


def size(ranges: Iterable[Range]) -> int:
    """Return how many numbers ``ranges`` hold; overlaps count twice."""
    return sum(last - first + 1 for first, last in ranges)
