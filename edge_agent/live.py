"""Layer: may an event be shown as happening now? Pure judgement; a stale one is never live, a live one may be missed.

Nothing that a bus or a line says counts here, only what timing.py could prove: the earliest moment at which the event
can have happened. An event whose time is not known, or that waited anywhere on its way, is not live.
"""

from __future__ import annotations

from edge_agent.moments import RHO_PPM

LIVE_MS = 5_000  # less than the 8 s after which a bus device counts as offline


def age_at_most_ms(t_lo_ms: int, since_cs: int, now_ms: int) -> int | None:
    """How old an event is at most; None: nobody knows. t_lo_ms: of its run's first event, since_cs: after that one.

    t_lo_ms is a bound on this edge's own clock, so that clock's error is in it already. Below 0: this clock is wrong.
    """
    if not t_lo_ms:
        return None
    return now_ms - (t_lo_ms + since_cs * 10 - since_cs * RHO_PPM // 100_000 - 1)


def is_live(t_lo_ms: int, since_cs: int, now_ms: int, error_ms: int | None) -> bool:
    """Whether an event surely happened within LIVE_MS before now_ms, when it can be shown at the earliest.

    error_ms: how far the clock may be off then; None: it is not known. A clock that stands further before the earliest
    moment that was proved is wrong, and says nothing about what goes on now.
    """
    if error_ms is None:
        return False
    age_ms = age_at_most_ms(t_lo_ms, since_cs, now_ms)
    return age_ms is not None and -error_ms <= age_ms <= LIVE_MS
