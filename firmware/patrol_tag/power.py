# Layer: how deep and how long the tag may sleep. Pure: what is known goes in, a depth and a time come out.
AWAKE, LIGHT, DEEP = 0, 1, 2

LEAST_MS = 5  # a shorter sleep costs more than it saves
LONGEST_MS = 60_000
DOCKED_MS = 500  # is it still there, and may it be taken?
BUSY_MS = 20


class Power:
    # pocket_ms: without shift, tap and button for so long it sleeps deeply; 0: never
    def __init__(self, pocket_ms: int, now_ms: int) -> None:
        self._pocket_ms = pocket_ms
        self._active_ms = now_ms

    # A tap, a button: somebody has it in hand.
    def active(self, now_ms: int) -> None:
        self._active_ms = now_ms

    # docked: power from outside and a line to the edge. busy: a session, frames under way, feedback playing, a
    # pressed button, a reader in mid-talk. needed: a shift is open or a call for help is not stored yet.
    # due_ms: until the next thing that is due by time. -> (depth, ms): awake: look again after; light: at most
    def judge(self, now_ms: int, docked: bool, busy: bool, needed: bool, due_ms: int) -> "tuple[int, int]":
        if docked:
            self._active_ms = now_ms
            return AWAKE, DOCKED_MS
        if busy:
            return AWAKE, BUSY_MS
        if self._pocket_ms and not needed:
            left_ms = self._active_ms + self._pocket_ms - now_ms
            if left_ms <= 0:
                return DEEP, 0
            due_ms = min(due_ms, left_ms)
        if due_ms < LEAST_MS:
            return AWAKE, max(0, due_ms)
        return LIGHT, min(due_ms, LONGEST_MS)
