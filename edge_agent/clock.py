"""Layer: the agent's clocks; in drills wall time runs scaled, so that a night fits into minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Rehearsal(NamedTuple):
    """Drill time: the wall clock shows epoch_ms when the real clock shows started_ms and runs `speed` times as fast."""

    epoch_ms: int
    started_ms: int
    speed: float


def real_ms() -> int:
    """Milliseconds since 1970 by the machine's clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds that never step back, from an arbitrary start."""
    return time.monotonic_ns() // 1_000_000


class Clock:
    """What time it is for events (`now_ms`) and for intervals (`uptime_ms`); both scaled alike in a rehearsal."""

    def __init__(
        self,
        rehearsal: Rehearsal | None = None,
        *,
        wall: Callable[[], int] = real_ms,
        steady: Callable[[], int] = steady_ms,
    ) -> None:
        self._rehearsal = rehearsal
        self._wall = wall
        self._steady = steady
        self._started = steady()

    @property
    def speed(self) -> float:
        """How many milliseconds of events pass in one real millisecond."""
        return self._rehearsal.speed if self._rehearsal else 1.0

    def now_ms(self) -> int:
        """Wall time of events in ms since 1970."""
        wall = self._wall()
        plan = self._rehearsal
        if plan is None:
            return wall
        return plan.epoch_ms + round((wall - plan.started_ms) * plan.speed)

    def uptime_ms(self) -> int:
        """Milliseconds since this clock was made, in event time; never steps."""
        return round((self._steady() - self._started) * self.speed)

    def real_s(self, event_ms: float) -> float:
        """Real seconds in which `event_ms` of event time pass."""
        return event_ms / 1000.0 / self.speed
