"""Layer: may an event be shown as happening now? Pure judgement; a stale one is never live, a live one may be missed.

Nothing that a bus or a line says counts here, only what timing.py could prove: the earliest moment at which the event
can have happened. An event whose time is not known, or that waited anywhere on its way, is not live.
"""

from __future__ import annotations

from edge_agent.moments import RHO_PPM

LIVE_MS = 5_000  # less than the 8 s after which a bus device counts as offline


def age_at_most_ms(t_lo_ms: int, since_cs: int, now_ms: int) -> int | None:
    """How old an event is at most; None: nobody knows. t_lo_ms: of its run's first event, since_cs: after that one.

    t_lo_ms is a bound on this edge's own clock, so that clock's error is in it already.
    """
    if not t_lo_ms:
        return None
    return max(now_ms - (t_lo_ms + since_cs * 10 - since_cs * RHO_PPM // 100_000 - 1), 0)


def is_live(t_lo_ms: int, since_cs: int, now_ms: int) -> bool:
    """Whether an event surely happened within LIVE_MS before now_ms, when it can be shown at the earliest."""
    age_ms = age_at_most_ms(t_lo_ms, since_cs, now_ms)
    return age_ms is not None and age_ms <= LIVE_MS
