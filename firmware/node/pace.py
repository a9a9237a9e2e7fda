# How long to wait for an answer: RFC 6298 with jitter. Times in ms of uptime.
try:
    from typing import Callable
except ImportError:
    pass

MIN_MS = 500
MAX_MS = 60_000
_FIRST_MS = 1000


# rng: -> 0..255
class Pace:
    def __init__(self, rng: "Callable[[], int]") -> None:
        self._rng = rng
        self.srtt_ms = 0
        self._var_ms = 0
        self.rto_ms = _FIRST_MS

    # One round trip of something that was sent once only (Karn).
    def sample(self, rtt_ms: int) -> None:
        if self.srtt_ms:
            self._var_ms += (abs(self.srtt_ms - rtt_ms) - self._var_ms) // 4
            self.srtt_ms += (rtt_ms - self.srtt_ms) // 8
        else:
            self.srtt_ms = rtt_ms
            self._var_ms = rtt_ms // 2
        self.srtt_ms = max(self.srtt_ms, 1)
        self.rto_ms = min(MAX_MS, max(MIN_MS, self.srtt_ms + 4 * self._var_ms))

    # Older than this and overtaken means lost, not late.
    def late_ms(self) -> int:
        if not self.srtt_ms:
            return self.rto_ms // 2
        return self.srtt_ms + max(self.srtt_ms // 4, 2 * self._var_ms)

    # Wait before try number `tries` (0: the first wait): doubled each time, up to 60 s, plus or minus a
    # quarter.
    def wait_ms(self, tries: int, base_ms: int = 0) -> int:
        whole_ms = min(MAX_MS, (base_ms or self.rto_ms) << min(tries, 7))
        return whole_ms * (192 + self._rng() // 2) // 256
