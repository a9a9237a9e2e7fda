"""Layer: the agent's clocks; in drills wall time runs scaled, so that a night fits into minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from edge_agent import kernel_clock
from edge_agent.discipline import KERNEL, SYSTEM, Discipline

SYNC_MS = 1_000  # how old the kernel's word may be
JITTER_MS = 5  # readings of the two clocks that lie further apart are taken again


class Rehearsal(NamedTuple):
    """Drill time: the wall clock shows epoch_ms when the real clock shows started_ms and runs `speed` times as fast."""

    epoch_ms: int
    started_ms: int
    speed: float


def real_ms() -> int:
    """Milliseconds since 1970 by the machine's clock."""
    return time.time_ns() // 1_000_000


def steady_ms() -> int:
    """Milliseconds that never step, from an arbitrary start; they go on while the machine sleeps, where it can."""
    if _BOOTTIME is not None:
        return time.clock_gettime_ns(_BOOTTIME) // 1_000_000
    return time.monotonic_ns() // 1_000_000


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock:
    """What time it is for events (`now_ms`) and for intervals (`uptime_ms`); both scaled alike in a rehearsal."""

    def __init__(
        self,
        rehearsal: Rehearsal | None = None,
        *,
        wall: Callable[[], int] = real_ms,
        steady: Callable[[], int] = steady_ms,
        synced: Callable[[], bool] = kernel_clock.synchronised,
    ) -> None:
        self._rehearsal = rehearsal
        self._wall = wall
        self._steady = steady
        self._started = steady()
        self._synced = synced
        self._synced_ms = -SYNC_MS
        self._in_sync = False
        self._source = SYSTEM
        self._discipline = Discipline(0)
        self.on_step: Callable[[int], None] = lambda _: None
        self.watch(0)

    def watch(self, error_ms: int, source: str = SYSTEM) -> None:
        """From now on: how far the machine's clock may be off, and who says that it is set (see discipline.py)."""
        self._source = SYSTEM if self._rehearsal else source
        self._discipline = Discipline(error_ms, self._source)
        self.look()

    def look(self) -> None:
        """Notices when wall time was set since the last look, and whether the time is known. Cheap; call it often."""
        if self._rehearsal:  # scaled time has no steps
            self._discipline.look(self.now_ms(), self.now_ms())
            return
        for _ in range(3):
            before = self._steady()
            wall = self._wall()
            if self._steady() - before <= JITTER_MS:
                break
        else:
            return
        if self._source == KERNEL and before - self._synced_ms >= SYNC_MS:
            self._in_sync, self._synced_ms = self._synced(), before
        step = self._discipline.look(wall, before, synced=self._in_sync)
        if step:
            if self._source == KERNEL:
                self._in_sync, self._synced_ms = self._synced(), before
                self._discipline.look(wall, before, synced=self._in_sync)
            self.on_step(step)

    @property
    def error_ms(self) -> int | None:
        """How far now_ms() may be off, as of the last look; None: the time is not known."""
        return self._discipline.error_ms

    @property
    def doubt_ms(self) -> int:
        """What steps of the clock added to that."""
        return self._discipline.doubt_ms

    @property
    def stepped_ms(self) -> int:
        """By how much wall time was set so far, all steps added up."""
        return self._discipline.stepped_ms

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
