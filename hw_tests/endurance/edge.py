"""Layer: the other end of a device's uplink: takes everything in order, acknowledges it, keeps no history."""

from __future__ import annotations

from gatelink import cose, events, framing, messages
from gatelink.errors import GatelinkError

EDGE_MS = 1_775_000_000_000
WINDOW = 4


class Edge:
    """Bytes from the device in, bytes for the device out. `there` False: nobody is at the other end."""

    def __init__(self, device: int, link_key: bytes, acked: int = 0) -> None:
        self._keys = cose.derive(link_key, device, 0)
        self._decoder = framing.Decoder()
        self._nonce = b""
        self._piv = 1000
        self.acked = acked
        self.there = True
        self.kinds: dict[int, int] = {}
        self.frames = 0
        self.refused = 0
        self.pending = 0  # what the device said that it still holds

    def receive(self, data: bytes, now_ms: int) -> bytes:
        """now_ms: the world's time."""
        out = b""
        for frame in self._decoder.feed(data):
            if self.there:
                out += self._frame(frame, now_ms)
        return out

    def _frame(self, frame: bytes, now_ms: int) -> bytes:
        try:
            message = messages.decode(cose.UP, cose.open_(self._keys, cose.UP, frame)[1])
        except GatelinkError:
            self.refused += 1
            return b""
        self.frames += 1
        if isinstance(message, messages.Hello):
            self._nonce = message.boot_nonce
            return self._send(messages.Welcome(message.uptime_ms, EDGE_MS + now_ms, 5, self.acked, WINDOW))
        clock = None
        if isinstance(message, messages.Events):
            found = events.split(message.items)
            if message.first_seq - message.skipped <= self.acked + 1:
                for index, (_, payload) in enumerate(found):
                    if message.first_seq + index > self.acked:
                        kind = int(events.decode(payload)[0])
                        self.kinds[kind] = self.kinds.get(kind, 0) + 1
                self.acked = max(self.acked, message.first_seq + len(found) - 1)
        elif isinstance(message, messages.Status):
            self.pending = message.pending
            clock = (message.uptime_ms, EDGE_MS + now_ms, 5)
        return self._send(messages.Ack(self.acked, [], clock)) if self._nonce else b""

    def _send(self, message: object) -> bytes:
        self._piv += 1
        return framing.encode(
            cose.seal(self._keys, cose.DOWN, self._piv, messages.encode(message), self._nonce)
        )
