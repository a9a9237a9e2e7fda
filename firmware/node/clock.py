# Time: an uptime that never wraps, how much of it was slept, and what it was on the edge's clock at the last
# contact.
import struct
from binascii import crc32

try:
    from typing import Callable
except ImportError:
    pass

_PERIOD = 1 << 30
# what is kept through deep sleep: magic, boot, uptime, slept, the slow clock; and a CRC behind it
_KEPT = ">4sIQQQ"
_MAGIC = b"gpc1"
_SIZE = 32
# no battery sleeps longer
_LONGEST_MS = 1000 * 86_400_000


# ticks_ms: a counter of milliseconds that wraps at 2^30 (or at a multiple of it). Ask at least every 12 days.
# sleeper: a device that may sleep; only then slept() may be called. uptime_ms, slept_ms: to go on from.
class Clock:
    def __init__(
        self, ticks_ms: "Callable[[], int]", sleeper: bool = False, uptime_ms: int = 0, slept_ms: int = 0
    ) -> None:
        self._ticks_ms = ticks_ms
        self._last = ticks_ms()
        self._uptime_ms = uptime_ms
        self.sleeper = sleeper
        # asleep the clock runs on an RC oscillator (5 %) instead of the crystal (10 ppm)
        self.slept_ms = slept_ms
        # [uptime_ms, edge_ms, error_ms] of the latest contact, None before the first
        self.anchor: "tuple[int, int, int] | None" = None
        self._slept_then_ms = 0

    # since this clock was made; counts through every wrap
    def uptime_ms(self) -> int:
        now = self._ticks_ms()
        self._uptime_ms += (now - self._last) & (_PERIOD - 1)
        self._last = now
        return self._uptime_ms

    # The last `ms` of the uptime were spent in light sleep.
    def slept(self, ms: int) -> None:
        self.slept_ms += ms

    # Asked at sent_ms, answered at received_ms (both uptimes): the edge read its clock somewhere in between.
    def contact(self, sent_ms: int, received_ms: int, edge_ms: int, edge_error_ms: int) -> None:
        half_ms = (received_ms - sent_ms + 1) // 2
        # one millisecond for each rounded reading; a sixteenth in case the wait was slept through
        error_ms = half_ms + (half_ms >> 4) + 3 + edge_error_ms
        self.anchor = (sent_ms + half_ms, edge_ms, error_ms)
        self._slept_then_ms = self.slept_ms

    # The anchor as STATUS says it, None before the first contact.
    def told(self) -> "tuple[int, ...] | None":
        if self.anchor is None or not self.sleeper:
            return self.anchor
        return self.anchor + (self._slept_then_ms, self.slept_ms)

    # What has to survive deep sleep, taken right before it. slow_ms: a clock that runs on through it.
    def keep(self, boot: int, slow_ms: int) -> bytes:
        data = struct.pack(_KEPT, _MAGIC, boot, self.uptime_ms(), self.slept_ms, slow_ms)
        return data + crc32(data).to_bytes(4, "big")


# What keep() gave, after deep sleep -> (boot, uptime_ms, slept_ms) of now. None when it is not whole or makes
# no sense: then this is a new boot.
def kept(data: bytes, slow_ms: int) -> "tuple[int, int, int] | None":
    if len(data) != _SIZE + 4 or crc32(data[:_SIZE]).to_bytes(4, "big") != data[_SIZE:]:
        return None
    magic, boot, uptime_ms, slept_ms, then_ms = struct.unpack(_KEPT, data[:_SIZE])
    asleep_ms = slow_ms - then_ms
    if magic != _MAGIC or not 0 <= asleep_ms < _LONGEST_MS:
        return None
    return boot, uptime_ms + asleep_ms, slept_ms + asleep_ms
