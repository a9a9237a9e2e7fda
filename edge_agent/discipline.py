"""Layer: how well this machine's own clock is known, and when it was set. Readings in, judgement out; pure."""

from __future__ import annotations

SYSTEM, KERNEL = "system", "kernel"
# 2023: a clock that shows less has not been set since power came.
EARLIEST_MS = 1_672_531_200_000

# A clock that may be off by more tells nothing; what devices are told has 32 bits for it.
MOST_ERROR_MS = 30 * 86_400_000


class Discipline:
    """Compares wall time with a steady clock.

    source "system": whoever runs the edge vouches for its clock; after a step nobody can say which side of it was
    right, so the error grows by it for good. "kernel": the time is known while the kernel calls its clock synchronised
    (NTP, PTP, GPS), and is not known otherwise.
    """

    def __init__(self, error_ms: int, source: str = SYSTEM) -> None:
        self._error_ms = error_ms
        self._source = source
        self._step_ms = max(2 * error_ms, 20)
        self._offset_ms: int | None = None
        self._at = self._least = self._most = 0  # where the steps led to, from the start
        self._synced = True
        self._known = False
        self.stepped_ms = 0  # all steps out of a known time, without their signs

    @property
    def error_ms(self) -> int | None:
        """How far wall time may be off; None: the time is not known."""
        error_ms = self._error_ms + self.doubt_ms
        return error_ms if self._known and error_ms <= MOST_ERROR_MS else None

    @property
    def doubt_ms(self) -> int:
        """What the steps added to the error."""
        if self._source == KERNEL:
            return 0
        return max(self._at - self._least, self._most - self._at)

    def look(self, wall_ms: int, steady_ms: int, *, synced: bool = True) -> int:
        """Takes a reading of both clocks; returns by how much wall time was set since the last, 0 for not at all."""
        offset = wall_ms - steady_ms
        before = self._offset_ms
        self._offset_ms = offset  # slewing is followed
        was_known = self._known
        self._known = wall_ms >= EARLIEST_MS and (synced or self._source != KERNEL)
        if before is None:
            return 0
        step = offset - before
        if abs(step) <= self._step_ms:
            return 0
        if was_known:
            self.stepped_ms += abs(step)
            self._at += step
            self._least, self._most = min(self._least, self._at), max(self._most, self._at)
        return step
