"""Intervals against plain sets."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tools.office import intervals

runs = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda at: (at[0], at[0] + at[1])), max_size=12)


@settings(deadline=None)
@given(runs, st.integers(1, 80))
def test_as_sets(added: list[tuple[int, int]], seq: int) -> None:
    spans: list[tuple[int, int]] = []
    numbers: set[int] = set()
    for first, last in added:
        intervals.add(spans, first, last)
        numbers |= set(range(first, last + 1))
        assert {n for a, b in spans for n in range(a, b + 1)} == numbers
        assert all(b + 1 < c for (_, b), (c, _) in itertools.pairwise(spans))
    complete = intervals.complete_to(spans)
    assert set(range(1, complete + 1)) <= numbers
    assert complete + 1 not in numbers
    gaps = intervals.missing(spans, 100)
    assert {n for a, b in gaps for n in range(a, b + 1)} == set(range(1, max(numbers, default=0) + 1)) - numbers
    assert intervals.missing(spans, 1) == gaps[:1]
    end = intervals.covering_end(spans, seq)
    assert set(range(seq, end + 1)) <= numbers
    assert end + 1 not in numbers
    inside = intervals.within(spans, seq, seq + 5)
    assert {n for a, b in inside for n in range(a, b + 1)} == numbers & set(range(seq, seq + 6))
