"""Layer: when did it happen? Pure judgement of device time against anchors; everything in ms unless named _cs."""

from __future__ import annotations

from typing import NamedTuple

MAX_ANCHORS = 8
MAX_BOOTS = 8


class Anchor(NamedTuple):
    """At device uptime `uptime_ms` the edge's clock showed `edge_ms`, give or take `error_ms`."""

    uptime_ms: int
    edge_ms: int
    error_ms: int


def judge(
    uptime_ms: int,
    anchors: list[Anchor],
    contact: tuple[int, int] | None,
    floor_ms: int,
    received_ms: int,
    drift_ppm: int,
) -> tuple[int, int]:
    """Uptime of an event -> (t_lo_ms, t_hi_ms).

    anchors: of the same boot; contact: (uptime, reception) of a message that stated its uptime, bounds from above;
    floor_ms: when an earlier boot was surely still running (0: unknown). t_hi is never above the reception.
    """
    low, high = 0, received_ms
    if anchors:
        bounds = [_around(anchor, uptime_ms, drift_ppm) for anchor in anchors]
        low, high = max(b[0] for b in bounds), min(b[1] for b in bounds)
        if low > high:  # the edge's clock was set between two anchors: the nearer one is the better witness
            low, high = _around(
                min(anchors, key=lambda a: abs(a.uptime_ms - uptime_ms)), uptime_ms, drift_ppm
            )
    if contact is not None and uptime_ms <= contact[0]:
        apart = contact[0] - uptime_ms
        high = min(high, contact[1] - apart + _drift(apart, drift_ppm))
    if floor_ms:
        low = max(low, floor_ms + uptime_ms - _drift(uptime_ms, drift_ppm))
    high = min(high, received_ms)
    return min(low, high), high


def _drift(span_ms: int, drift_ppm: int) -> int:
    return -(-span_ms * drift_ppm // 1_000_000)


def _around(anchor: Anchor, uptime_ms: int, drift_ppm: int) -> tuple[int, int]:
    offset = uptime_ms - anchor.uptime_ms
    middle = anchor.edge_ms + offset
    slack = anchor.error_ms + _drift(abs(offset), drift_ppm)
    return max(middle - slack, 0), middle + slack


class _Boot:
    __slots__ = ("anchors", "contact", "last_lo_ms")

    def __init__(self) -> None:
        self.anchors: list[Anchor] = []
        self.contact: tuple[int, int] | None = None
        self.last_lo_ms = 0


class TimeBook:
    """What is known of one device's clock, boot by boot; bounded."""

    def __init__(self, drift_ppm: int) -> None:
        self._drift_ppm = drift_ppm
        self._boots: dict[int, _Boot] = {}

    def _boot(self, boot: int) -> _Boot:
        found = self._boots.get(boot)
        if found is None:
            found = self._boots[boot] = _Boot()
            if len(self._boots) > MAX_BOOTS:
                oldest = min(self._boots)
                gone = self._boots.pop(oldest)
                heir = self._boots[min(self._boots)]
                heir.last_lo_ms = max(heir.last_lo_ms, gone.last_lo_ms if oldest != boot else 0)
        return found

    def anchor(self, boot: int, anchor: Anchor) -> None:
        """A statement of the device; the loosest one goes when there are too many."""
        book = self._boot(boot)
        if anchor in book.anchors:
            return
        book.anchors.append(anchor)
        if len(book.anchors) > MAX_ANCHORS:
            inner = book.anchors[1:-1]
            book.anchors.remove(max(inner, key=lambda a: a.error_ms))
        self.happened(boot, max(anchor.edge_ms - anchor.error_ms, 0))

    def anchored(self, boot: int) -> bool:
        """Is there an anchor of this boot?"""
        book = self._boots.get(boot)
        return book is not None and bool(book.anchors)

    def contact(self, boot: int, uptime_ms: int, received_ms: int) -> None:
        """A message that stated its uptime came in: that uptime was reached by then."""
        book = self._boot(boot)
        if book.contact is None or received_ms - uptime_ms < book.contact[1] - book.contact[0]:
            book.contact = (uptime_ms, received_ms)

    def happened(self, boot: int, low_ms: int) -> None:
        """The device was surely running, in this boot, at low_ms or later."""
        book = self._boot(boot)
        book.last_lo_ms = max(book.last_lo_ms, low_ms)

    def judge(self, boot: int, uptime_cs: int, received_ms: int) -> tuple[int, int]:
        """An event's uptime (10 ms) -> (t_lo_ms, t_hi_ms)."""
        book = self._boot(boot)
        floor = 0
        for number, other in self._boots.items():
            if number < boot and other.last_lo_ms > floor:
                floor = other.last_lo_ms
        return judge(uptime_cs * 10, book.anchors, book.contact, floor, received_ms, self._drift_ppm)

    def uptime_at_least(self, boot: int, now_ms: int) -> int | None:
        """The least that the device's uptime is now, or None when nothing is known of this boot."""
        book = self._boots.get(boot)
        if book is None or book.contact is None:
            return None
        passed = max(now_ms - book.contact[1], 0)
        return book.contact[0] + passed - _drift(passed, self._drift_ppm)

    def to_value(self) -> list[object]:
        """For the store; load() takes it back."""
        return [
            [number, [list(a) for a in b.anchors], list(b.contact) if b.contact else None, b.last_lo_ms]
            for number, b in sorted(self._boots.items())
        ]

    def load(self, value: list[list[object]]) -> None:
        """Takes over what to_value() gave."""
        for number, anchors, contact, last_lo in value:
            assert isinstance(number, int)
            assert isinstance(anchors, list)
            assert isinstance(last_lo, int)
            book = self._boot(number)
            book.anchors = [Anchor(*anchor) for anchor in anchors]
            book.contact = (contact[0], contact[1]) if isinstance(contact, list) else None
            book.last_lo_ms = max(book.last_lo_ms, last_lo)
