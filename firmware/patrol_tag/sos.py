# Layer: the SOS button's judgement. Pure. Held for hold_ms it is a call for help; a call that could not be
# stored is due again and again until it was.

RETRY_MS = 1_000


class Sos:
    # hold_ms: a pocket presses shorter; repeat_ms: further presses within it belong to the same call
    def __init__(self, hold_ms: int, repeat_ms: int) -> None:
        self._hold_ms = hold_ms
        self._repeat_ms = repeat_ms
        self._due_ms = -1
        self._called_ms = -1
        self._failed = False

    def button(self, pressed: bool, now_ms: int) -> None:
        if not pressed:
            # a call that is due already stays due
            if self._due_ms > now_ms and not self._failed:
                self._due_ms = -1
        elif self._due_ms < 0 and (self._called_ms < 0 or now_ms - self._called_ms >= self._repeat_ms):
            self._due_ms = now_ms + self._hold_ms

    # True when SOS must be recorded now; then answer with stored() or failed()
    def due(self, now_ms: int) -> bool:
        return 0 <= self._due_ms <= now_ms

    def stored(self, now_ms: int) -> None:
        self._due_ms = -1
        self._called_ms = now_ms
        self._failed = False

    def failed(self, now_ms: int) -> None:
        self._due_ms = now_ms + RETRY_MS
        self._failed = True

    # ms since boot, -1: nothing is due by time
    def next_wake_ms(self) -> int:
        return self._due_ms
