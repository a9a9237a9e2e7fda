"""Layer: may an event be shown as happening now? Pure judgement; a stale one is never live, a live one may be missed.

Nothing that a bus or a line says counts here, only what timing.py could prove: the earliest moment at which the event
can have happened. An event whose time is not known, or that waited anywhere on its way, is not live.
"""

from __future__ import annotations

from edge_agent.moments import RHO_PPM

LIVE_MS = 5_000  # less than the 8 s after which a bus device counts as offline


def age_at_most_ms(t_lo_ms: int, since_cs: int, now_ms: int) -> int | None:
    """How old an event of a run is at most; None: nobody knows. since_cs: of the run's first event.

    t_lo_ms is a bound on this edge's own clock, so that clock's error is in it already.
    """
    if not t_lo_ms:
        return None
    earliest_ms = t_lo_ms + since_cs * 10 - since_cs * RHO_PPM // 100_000 - 1
    return max(now_ms - earliest_ms, 0)


def is_live(t_lo_ms: int, since_cs: int, now_ms: int, *, time_known: bool, limit_ms: int = LIVE_MS) -> bool:
    """Whether an event surely happened within the last limit_ms. time_known: this edge knows what time it is."""
    age_ms = age_at_most_ms(t_lo_ms, since_cs, now_ms)
    return time_known and age_ms is not None and age_ms <= limit_ms
