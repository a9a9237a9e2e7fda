# Layer: one reading at one reader -> what is recorded and whether the boom rises. Pure.
from gatelink.events import ACCESS, DENIED, GRANTED

try:
    from typing import Any
except ImportError:
    pass

# a reader repeats a card that is held in front of it
REPEAT_MS = 3_000


class Lane:
    # direction: events.IN or events.OUT; access: an AccessList
    def __init__(self, direction: int, access: "Any") -> None:
        self.direction = direction
        self._access = access
        self._last = b""
        self._last_ms = -REPEAT_MS

    # now: as AccessList.judge takes it -> (granted, fields of the ACCESS event), or None for a repetition
    def read(
        self, credential: bytes, now_ms: int, now: "tuple[int, int] | None"
    ) -> "tuple[bool, tuple[int, bytes, int, int, int]] | None":
        repeated = credential == self._last and now_ms - self._last_ms < REPEAT_MS
        if repeated:
            return None
        self._last = credential
        self._last_ms = now_ms
        granted, reason = self._access.judge(credential, now)
        return granted, (ACCESS, credential, GRANTED if granted else DENIED, reason, self.direction)


# anchor: (uptime_ms, edge_ms, error_ms) of the last contact or None; -> (earliest, latest) unix s, None: not
# known.
# A crystal is within 50 ppm.
def interval(anchor: "Any", uptime_ms: int) -> "tuple[int, int] | None":
    if anchor is None:
        return None
    since_ms = uptime_ms - anchor[0]
    error_ms = anchor[2] + since_ms // 20_000 + 1
    now_ms = anchor[1] + since_ms
    return (now_ms - error_ms) // 1000, (now_ms + error_ms + 999) // 1000
