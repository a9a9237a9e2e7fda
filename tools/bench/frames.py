"""Sample events -> sealed frames, as a device's uplink puts them on the wire."""

from __future__ import annotations

from gatelink import cose, events, framing, kdf, messages
from tools.bench.sample import Sample

LINK_KEY = bytes(range(32))
EVENT_KEY = bytes(range(32, 64))


def plaintext(batch: list[Sample]) -> bytes:
    """One EVENTS message; two or more carry the chain's MAC of the last event, as on a device."""
    first = batch[0]
    mac8 = None
    if len(batch) > 1:
        mac8 = bytes(8)
        for s in batch:
            mac8 = kdf.mac8(EVENT_KEY, mac8, events.record(s.seq, s.boot, s.uptime_cs, s.payload))
    items = events.join([s.uptime_cs for s in batch], [s.payload for s in batch])
    return messages.encode(messages.Events(first.seq, first.boot, first.uptime_cs, items, mac8, 0, None))


def sealed(batch: list[Sample], keys: cose.Keys, counter: int) -> bytes:
    """The COSE frame, before serial framing."""
    return cose.seal(keys, cose.UP, batch[0].boot << 16 | counter, plaintext(batch))


def on_serial(batch: list[Sample], keys: cose.Keys, counter: int) -> bytes:
    """The bytes on a serial line: COBS, CRC and the closing zero included."""
    return framing.encode(sealed(batch, keys, counter))
