# Time: an uptime that never wraps, and what it was on the edge's clock at the last contact.
try:
    from typing import Callable
except ImportError:
    pass

_PERIOD = 1 << 30


# ticks_ms: a counter of milliseconds that wraps at 2^30 (or at a multiple of it). Ask at least every 12 days.
class Clock:
    def __init__(self, ticks_ms: "Callable[[], int]") -> None:
        self._ticks_ms = ticks_ms
        self._last = ticks_ms()
        self._uptime_ms = 0
        # [uptime_ms, edge_ms, error_ms] of the latest contact, None before the first
        self.anchor: "tuple[int, int, int] | None" = None

    # since this clock was made; counts through every wrap
    def uptime_ms(self) -> int:
        now = self._ticks_ms()
        self._uptime_ms += (now - self._last) & (_PERIOD - 1)
        self._last = now
        return self._uptime_ms

    # Asked at sent_ms, answered at received_ms (both uptimes): the edge read its clock somewhere in between.
    def contact(self, sent_ms: int, received_ms: int, edge_ms: int, edge_error_ms: int) -> None:
        half_ms = (received_ms - sent_ms + 1) // 2
        self.anchor = (sent_ms + half_ms, edge_ms, half_ms + edge_error_ms)
