"""Closed intervals of sequence numbers, sorted, apart and never touching: which events are accounted for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Span = tuple[int, int]


def add(spans: list[Span], first: int, last: int) -> None:
    """Join first..last into `spans`, in place."""
    low = bisect_left(spans, first - 1, key=lambda span: span[1])
    high = bisect_right(spans, last + 1, key=lambda span: span[0])
    if low < high:
        first = min(first, spans[low][0])
        last = max(last, spans[high - 1][1])
    spans[low:high] = [(first, last)]


def complete_to(spans: list[Span]) -> int:
    """The last number up to which nothing is missing, counted from 1; 0 when 1 itself is missing."""
    return spans[0][1] if spans and spans[0][0] <= 1 else 0


def missing(spans: Iterable[Span], limit: int) -> list[Span]:
    """The gaps from 1 up to the highest number known, oldest first, at most `limit` of them."""
    gaps: list[Span] = []
    expected = 1
    for first, last in spans:
        if len(gaps) == limit:
            break
        if first > expected:
            gaps.append((expected, first - 1))
        expected = last + 1
    return gaps


def covering_end(spans: list[Span], seq: int) -> int:
    """The end of the interval that holds `seq`, or seq - 1 when none does."""
    at = bisect_left(spans, seq, key=lambda span: span[1])
    if at < len(spans) and spans[at][0] <= seq:
        return spans[at][1]
    return seq - 1


def within(spans: Iterable[Span], first: int, last: int) -> list[Span]:
    """The parts of first..last that `spans` hold."""
    return [(max(a, first), min(b, last)) for a, b in spans if a <= last and b >= first]
