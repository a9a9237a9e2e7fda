"""Layer: which positions of a lane are delivered, under way, still to send, and where live rows overtake; pure."""

from __future__ import annotations

from edge_agent.coverage import Coverage
from edge_agent.store.outbox import LAST_POS, Part

Span = tuple[int, int]  # first and last position
MAX_AHEAD = 64  # so many delivered ranges above the cursor; then live rows wait for their turn


class Spans:
    """Rows before `live_from` are backlog, sent oldest first; from it on live ones. 0: nothing is told apart.

    They are told apart when more waits than fits into one upload, and no longer when the backlog is drained.
    """

    def __init__(self, covered: Coverage) -> None:
        self.covered = covered
        self.live_from = 0
        self._under_way: list[Span] = []

    def next(self) -> Span | None:
        """Where to read the oldest rows that nobody sends yet; with a backlog: of it. None when all is under way."""
        if self.live_from:
            found = self._free(1, self.live_from - 1)
            if found is not None:
                return found
            if any(first < self.live_from for first, _ in self._under_way):
                return None
            self.live_from = 0
        return self._free(1, LAST_POS)

    def next_live(self) -> Span | None:
        """Where to read live rows; None without a backlog, or while live rows are under way."""
        if not self.live_from or any(first >= self.live_from for first, _ in self._under_way):
            return None
        return self._free(self.live_from, LAST_POS)

    def read(self, part: Part, *, live: bool, behind_rows: int) -> None:
        """Rows were read, to be sent now. What comes in from here on overtakes, if there is more than this part."""
        self._under_way.append((part.first, part.through))
        if not part.full or len(self.covered.islands) >= MAX_AHEAD:
            return
        if not self.live_from or (live and part.head - part.through > behind_rows):
            self.live_from = part.head + 1

    def done(self, first: int, through: int) -> None:
        """Delivered, or set aside, and on disk as such."""
        self.covered.add(first, through)

    def ended(self, part: Part) -> None:
        """No longer under way; what of it was not done is read again."""
        self._under_way.remove((part.first, part.through))

    def _free(self, first: int, last: int) -> Span | None:
        missing = self.covered.missing(first, last)
        for low, high in missing:
            for taken_first, taken_last in sorted(self._under_way):
                if taken_last < low or taken_first > high:
                    continue
                if taken_first > low:
                    return low, taken_first - 1
                low = taken_last + 1
            if low <= high:
                return low, high
        return None
