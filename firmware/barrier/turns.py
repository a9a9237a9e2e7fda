# Layer: the device's side of a polled bus, sans-IO: it speaks only in its turn, and then at once. It reads the
# uplink's inner state here, so that devices that have a line of their own don't carry this.
from gatelink import bus, framing
from gatelink.errors import GatelinkError

try:
    from typing import Any
except ImportError:
    pass

_TELL_MS = 1000
# bytes behind a poll that are no more than a line that turns round
_GLITCH = 3
# with less room nothing of the backlog is said
_FULL = 560
_SHORT = 128
_WAITING_MAX = 24


# device: its number; uplink: a node.uplink.Uplink
class Turns:
    def __init__(self, device: int, uplink: "Any") -> None:
        self.decoder = framing.Decoder()
        self._device = device
        self._kid = device.to_bytes(4, "big")
        self._uplink = uplink
        self._poll: "Any" = None
        # blocks that the last turn had no room for
        self._waiting: "list[bytes]" = []
        self._told_ms = -_TELL_MS

    # Bytes off the line. A poll counts while nothing follows it: after that it is somebody else's turn.
    def feed(self, data: bytes, now_ms: int) -> None:
        for block in self.decoder.feed(data):
            self._poll = None
            if block[0] == bus.FRAME:
                if block[8:12] == self._kid:
                    self._uplink.receive(block, now_ms)
                continue
            try:
                found = bus.decode(block)
            except GatelinkError:
                continue
            if found[0] == bus.POLL and found[1] == self._device:
                self._poll = found

    # -> what to send now, b"": it is not this device's turn
    def reply(self, now_ms: int) -> bytes:
        poll = self._poll
        self._poll = None
        if not poll or len(self.decoder._tail) > _GLITCH:
            return b""
        _, _, turn, limit, tell = poll
        uplink = self._uplink
        if tell and now_ms - self._told_ms >= _TELL_MS:
            self._told_ms = uplink._status_due_ms = uplink._hello_due_ms = now_ms
        out = b"\0"
        waiting = self._waiting
        if limit and (not waiting or (self._alarm(now_ms) and len(waiting) < _WAITING_MAX)):
            waiting += [framing.encode(frame) for frame in self._frames(limit, now_ms)]
            if sum([len(block) for block in waiting]) > limit:
                # alarms and answers are short
                waiting.sort(key=len)
        while waiting and len(out) + len(waiting[0]) <= limit:
            out += waiting.pop(0)
        state = 0
        if waiting or not uplink.next_wake_ms(now_ms):
            short = waiting and len(waiting[0]) <= _SHORT
            state = bus.MORE | bus.ALARM if short or self._alarm(now_ms) else bus.MORE
        return out + framing.encode(bus.end(self._device, turn, state))

    # What the uplink has to say. A frame of the backlog is made when there is room for it, never to lie about.
    def _frames(self, limit: int, now_ms: int) -> "list[bytes]":
        uplink = self._uplink
        if limit >= _FULL:
            return list(uplink.poll(now_ms))
        window = uplink._window
        flights = uplink._flights
        uplink._window = 0
        uplink._flights = [each for each in flights if each.first == each.last]
        try:
            return list(uplink.poll(now_ms))
        finally:  # flash may fail in between: the backlog goes on later all the same
            uplink._window = window
            if uplink.online:
                uplink._flights += [each for each in flights if each.first != each.last]

    # Is there an alarm that was not sent yet? Or a single event that got lost: it may be one. Told once: what went
    # ahead of a gap stays unsettled until the gap is filled.
    def _alarm(self, now_ms: int) -> bool:
        uplink = self._uplink
        lost = [
            each
            for each in uplink._flights
            if each.first == each.last and not each.tries and now_ms >= each.due_ms
        ]
        return bool(uplink._alarms or uplink._hurry or lost)
