"""Layer: which sequence numbers of one device are held: a watermark and islands above it; pure."""

from __future__ import annotations

MAX_ISLANDS = 1_024
MAX_SEQ = (1 << 32) - 1  # on the wire


class Coverage:
    """`upto`: every seq 1..upto is held or given up; `islands`: sorted, disjoint (first, last) further above."""

    __slots__ = ("islands", "upto")

    def __init__(self, upto: int = 0, islands: list[tuple[int, int]] | None = None) -> None:
        self.upto = upto
        self.islands: list[tuple[int, int]] = islands if islands is not None else []

    def copy(self) -> Coverage:
        """An independent copy."""
        return Coverage(self.upto, list(self.islands))

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of first..last that are not held yet, in order."""
        first = max(first, self.upto + 1)
        parts = []
        for low, high in self.islands:
            if high < first:
                continue
            if low > last:
                break
            if low > first:
                parts.append((first, low - 1))
            first = high + 1
        if first <= last:
            parts.append((first, last))
        return parts

    def add(self, first: int, last: int) -> bool:
        """Marks first..last as held. False, and nothing changed, when that would make too many islands."""
        if last <= self.upto:
            return True
        if first <= self.upto + 1 and not self.islands:
            self.upto = last
            return True
        merged: list[tuple[int, int]] = []
        for low, high in self.islands:
            if high + 1 < first or low > last + 1:
                merged.append((low, high))
            else:
                first, last = min(first, low), max(last, high)
        merged.append((first, last))
        merged.sort()
        upto = self.upto
        while merged and merged[0][0] <= upto + 1:
            upto = max(upto, merged.pop(0)[1])
        if len(merged) > MAX_ISLANDS:
            return False
        self.upto, self.islands = upto, merged
        return True

    def gaps(self, limit: int) -> list[tuple[int, int]]:
        """The first `limit` ranges between watermark and highest held seq that are not held."""
        found = []
        first = self.upto + 1
        for low, high in self.islands[:limit]:
            found.append((first, low - 1))
            first = high + 1
        return found
