"""Days of work on both main programs: the heap stays flat and within its budget, every tap costs the same.

Quick size: two short days; the week is a part of `make bench` and of `make soak` (GATEPOST_SOAK=1).
"""

import os
from pathlib import Path

import pytest

from hw_tests.endurance.life import GROWTH_BYTES, HEAP_BYTES, live
from hw_tests.endurance.work import DAY_MS, HOUR_MS

DAYS, LENGTH_MS = (7, DAY_MS) if os.environ.get("GATEPOST_SOAK") == "1" else (2, 3 * HOUR_MS)


@pytest.mark.vm
@pytest.mark.soak
@pytest.mark.parametrize("role", ["patrol_tag", "barrier"])
def test_the_heap_is_flat(tmp_path: Path, role: str) -> None:
    life = live(tmp_path, role, DAYS, day_ms=LENGTH_MS)
    first, last = life.days[0], life.days[-1]
    works = sum(day.works for day in life.days)
    durable_ms, computed_ms = life.durable_ms
    print(
        f"{role}: {DAYS} days of {LENGTH_MS // HOUR_MS} h, {works} taps or passages, {life.events} events; code"
        f" {life.code:,} B; alive {life.started:,} at the start, {first.live:,} after the first day,"
        f" {last.live:,} after the last; peak {life.peak:,}; a tap or passage allocates {first.per_work:,} B on"
        f" the first day, {last.per_work:,} on the last; durable after {durable_ms:.0f} ms"
        f" modelled and {computed_ms:.1f} ms computed here"
    )
    assert life.printed == ""
    assert abs(life.growth) <= GROWTH_BYTES
    assert life.peak - life.code <= HEAP_BYTES
    assert abs(last.per_work - first.per_work) <= first.per_work // 10
    assert durable_ms + computed_ms <= 1000
