# Layer: the tag's judgement. Which card is what -> events to record and what the guard is told. Pure: nothing
# changes before the event is durable, taken() says so.
from gatelink.events import INCIDENT, SHIFT_END, SHIFT_START, UNKNOWN_CARD, VISIT

try:
    from typing import Any
except ImportError:
    pass

# how far back a restart looks for the state before it
LOOK_BACK = 512


class Shift:
    # staff, incident, checkpoints: lists of UIDs. Without checkpoints every other card is one.
    # repeat_ms: for so long a card that was taken is not taken again
    def __init__(
        self, staff: "list[bytes]", incident: "list[bytes]", checkpoints: "list[bytes]", repeat_ms: int
    ) -> None:
        self._kinds: "dict[bytes, int]" = {}
        for kind, uids in ((VISIT, checkpoints), (INCIDENT, incident), (SHIFT_START, staff)):
            for uid in uids:
                self._kinds[uid] = kind
        self._open_list = not checkpoints
        self._repeat_ms = repeat_ms
        self._last = b""
        self._last_ms = 0
        self.guard: "bytes | None" = None  # whose shift it is
        self.checkpoint: "bytes | None" = None  # visited last

    # uid: the card -> (events as (kind, fields...), pattern to show once all of them are durable)
    def judge(self, uid: bytes, now_ms: int) -> "tuple[list[tuple[Any, ...]], str]":
        if uid == self._last and now_ms - self._last_ms < self._repeat_ms:
            return [], "again"
        kind = self._kinds.get(uid, VISIT if self._open_list else UNKNOWN_CARD)
        if kind == SHIFT_START:
            if self.guard is None:
                return [(SHIFT_START, uid)], "shift_start"
            if self.guard == uid:
                return [(SHIFT_END, uid)], "shift_end"
            # the relief takes over
            return [(SHIFT_END, self.guard), (SHIFT_START, uid)], "shift_start"
        if kind == INCIDENT:
            return [(INCIDENT, uid, self.checkpoint)], "incident"
        if kind == VISIT:
            return [(VISIT, uid)], "taken" if self.guard else "no_shift"
        return [(UNKNOWN_CARD, uid)], "unknown"

    # event: one of judge()'s, durable now
    def taken(self, event: "tuple[Any, ...]") -> None:
        kind = event[0]
        if kind == VISIT:
            self.checkpoint = event[1]
        elif kind == SHIFT_START:
            self.guard = event[1]
            self.checkpoint = None
        elif kind == SHIFT_END:
            self.guard = None

    # All events of this card are durable: from now on it is a repetition.
    def done(self, uid: bytes, now_ms: int) -> None:
        self._last = uid
        self._last_ms = now_ms

    # newest_first: decoded events before the restart, [kind, fields...]. The shift goes on where it was.
    def restore(self, newest_first: "Any") -> None:
        checkpoint = None
        for event in newest_first:
            kind = event[0]
            if kind == VISIT and checkpoint is None:
                checkpoint = event[1]
            elif kind in (SHIFT_START, SHIFT_END):
                if kind == SHIFT_START:
                    self.guard = event[1]
                break
        self.checkpoint = checkpoint
