"""The devices' event chain: mac8(n) = HMAC(event key, mac8(n-1) || record n)[:8]. Pure judgement, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from gatelink.events import class_of

_CLASS = [class_of(kind) for kind in range(256)]

START = bytes(8)  # the chain value before event 1

# seq, boot, uptime_cs, payload: one event as the chain signs it
Signed = tuple[int, int, int, bytes]


class Chain:
    """One device's chain under one event key; a context made once, since every event asks for it.

    The same bytes as gatelink.events.record and gatelink.kdf.mac8, with the key prepared once (tests compare).
    """

    def __init__(self, event_key: bytes) -> None:
        block = event_key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def follow(self, mac8: bytes, events: Iterable[Signed]) -> bytes:
        """The chain value after `events`, begun at `mac8`."""
        inner, outer = self._inner, self._outer
        for seq, boot, uptime_cs, payload in events:
            kind = payload[1] if payload[1] < 24 else payload[2]
            head = seq << 80 | boot << 56 | uptime_cs << 16 | _CLASS[kind] << 8 | len(payload)
            digest = inner.copy()
            digest.update(mac8 + head.to_bytes(14, "big") + payload)
            last = outer.copy()
            last.update(digest.digest())
            mac8 = last.digest()[:8]
        return mac8
