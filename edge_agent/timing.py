"""Layer: when did it happen? Pure judgement of device time against anchors; everything in ms unless named _cs.

A device's uptime keeps within `drift_ppm` of true time while it is awake and within 5 % while it sleeps. A bound is
only ever narrowed by what is surely so; what is not known widens it. edge_agent/timebook.py collects the facts.
"""

from __future__ import annotations

from typing import NamedTuple

UNKNOWN_MS = (1 << 48) - 1  # as the upper end: nothing is known
GRAIN_MS = 2  # readings are cut off to whole milliseconds
EVENT_GRAIN_MS = 11  # an event's uptime to 10 of them


class Anchor(NamedTuple):
    """At device uptime `uptime_ms` it was `edge_ms`, give or take `error_ms`."""

    uptime_ms: int
    edge_ms: int
    error_ms: int


class Sleep(NamedTuple):
    """Of its first `uptime_ms` the device had slept `slept_ms`, by its own (slow) clock."""

    uptime_ms: int
    slept_ms: int


class Facts(NamedTuple):
    """All that bounds the uptimes of one boot.

    sleeper: it may have slept, as far as `sleeps` (by uptime) leaves room for it. contact and ceiling: (uptime, time
    when it was surely over): of a message that stated its uptime, and of the end of this boot by the start of a later
    one. floor_ms: an earlier boot surely was still running then (0: not known).
    """

    anchors: list[Anchor]
    drift_ppm: int = 10
    sleeper: bool = False
    sleeps: list[Sleep] = []  # noqa: RUF012 - never changed
    contact: tuple[int, int] | None = None
    floor_ms: int = 0
    ceiling: tuple[int, int] | None = None


def judge(uptime_ms: int, facts: Facts, latest_ms: int) -> tuple[int, int]:
    """Uptime -> (low, high); low 0 and high UNKNOWN_MS: not known. latest_ms: it was surely over by then."""
    low, high = 0, UNKNOWN_MS
    least, most = UNKNOWN_MS, 0
    for anchor in facts.anchors:
        from_ms, to_ms = _around(anchor, uptime_ms, facts)
        low, high = max(low, from_ms), min(high, to_ms)
        least, most = min(least, from_ms), max(most, to_ms)
    if low > high:  # anchors that contradict each other: nobody knows which is wrong
        low, high = least, most
    for bound in (facts.contact, facts.ceiling):
        if bound is not None and bound[0] >= uptime_ms:
            apart = bound[0] - uptime_ms
            high = min(high, bound[1] - apart + slack(uptime_ms, bound[0], facts) + GRAIN_MS)
    if facts.floor_ms:
        low = max(low, facts.floor_ms + uptime_ms - slack(0, uptime_ms, facts) - GRAIN_MS)
    high = max(min(high, latest_ms), 0)
    return max(min(low, high), 0), high


def slack(first_ms: int, last_ms: int, facts: Facts) -> int:
    """How far the device's clock may have run off between two of its uptimes."""
    span = last_ms - first_ms
    if not span:
        return 0
    drift = -(-span * facts.drift_ppm // 1_000_000) + 1
    if facts.sleeper:
        # Measured by a clock that may be 5 % fast: 5/95 of what it shows.
        drift += -(-asleep_at_most(first_ms, last_ms, facts.sleeps) // 19)
    return drift


def asleep_at_most(first_ms: int, last_ms: int, sleeps: list[Sleep]) -> int:
    """The most that may have been slept between two uptimes: the sums only grow, and no faster than the uptime."""
    least, most = 0, last_ms
    for at, slept in sleeps:
        surely = slept if at <= first_ms else slept - (at - first_ms)
        if surely > least:
            least = surely
        perhaps = slept if at >= last_ms else slept + last_ms - at
        if perhaps < most:
            most = perhaps
    return max(min(most - least, last_ms - first_ms), 0)


def _around(anchor: Anchor, uptime_ms: int, facts: Facts) -> tuple[int, int]:
    offset = uptime_ms - anchor.uptime_ms
    middle = anchor.edge_ms + offset
    if offset >= 0:
        wide = anchor.error_ms + slack(anchor.uptime_ms, uptime_ms, facts)
    else:
        wide = anchor.error_ms + slack(uptime_ms, anchor.uptime_ms, facts)
    return max(middle - wide, 0), max(middle + wide, 0)
