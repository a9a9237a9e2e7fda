"""Cuts the items of one run (CBOR sequence payload, delta, payload, ...) into events without building their values.

This is the hot path of ingest: an initial byte tells through a table how far the next item is, and gatelink's reader
is asked only for what the table does not know. The payload bytes stay as the device signed them. The result is that
of gatelink.events.split with the times worked out (a test holds them together), without intermediate lists.
"""

from __future__ import annotations

from gatelink.cbor import MAX_DEPTH, Reader
from gatelink.events import MAX_PAYLOAD

RHO_PPM = 10  # how far a device's clock may run off, parts per million
UNKNOWN_MS = (1 << 48) - 1  # as t_hi_ms: nothing is known


def _sizes() -> bytes:
    """Size of an item by its initial byte, 0 where the byte alone does not tell."""
    sizes = bytearray(256)
    for argument, size in ((24, 2), (25, 3), (26, 5), (27, 9)):
        sizes[argument] = sizes[0x20 | argument] = size
    for small in range(24):
        sizes[small] = sizes[0x20 | small] = 1
        sizes[0x40 | small] = sizes[0x60 | small] = 1 + small
    for simple in (0xF4, 0xF5, 0xF6):
        sizes[simple] = 1
    return bytes(sizes)


_SIZE = _sizes()

# site key, device, seq, boot, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms, payload
EventRow = tuple[int, int, int, int, int, int, int, int, int, bytes]


def cut(
    items: bytes,
    count: int,
    head: tuple[int, int, int, int, int, int, int, int],
) -> list[EventRow]:
    """The `count` events in `items`; head = (site, device, boot, first_seq, uptime_cs, t_lo_ms, t_hi_ms, received_ms).

    Raises ValueError saying what is wrong, and CborError or IndexError where the bytes are no CBOR.
    """
    site, device, boot, seq, uptime, t_lo, t_hi, received = head
    sizes = _SIZE
    out: list[EventRow] = []
    start = uptime
    pos, end = 0, len(items)
    lo, hi = t_lo, t_hi
    while True:
        begin = pos
        initial = items[pos]
        if not 0x81 <= initial <= 0x97:
            raise ValueError(f"event {seq}: a payload is an array of 1 to 23 values that begins with its kind")
        kind = items[pos + 1]
        if kind > 23:
            kind = _number(items, pos + 1, f"event {seq}: the kind", 8)
        pos += 1
        for _ in range(initial - 0x80):
            pos += sizes[items[pos]] or _skip(items, pos)
        if pos > end:
            raise IndexError
        if pos - begin > MAX_PAYLOAD:
            raise ValueError(f"event {seq}: a payload has at most {MAX_PAYLOAD} bytes, not {pos - begin}")
        out.append((site, device, seq, boot, kind, uptime, lo, hi, received, items[begin:pos]))
        if pos == end:
            break
        delta = items[pos]
        if delta < 24:
            pos += 1
        else:
            delta = _number(items, pos, f"event {seq + 1}: the time delta", 40)
            pos += sizes[items[pos]]
        seq += 1
        uptime += delta
        lo, hi = after(t_lo, t_hi, uptime - start)
    if len(out) != count:
        raise ValueError(f"holds {len(out)} events where first_seq..last_seq are {count}")
    if uptime >= 1 << 40:
        raise ValueError("the deltas run past 40 bits of uptime")
    return out


def after(t_lo_ms: int, t_hi_ms: int, passed_cs: int) -> tuple[int, int]:
    """When an event happened that came `passed_cs` (10 ms) after one that happened between t_lo_ms and t_hi_ms."""
    passed = passed_cs * 10
    drift = -(-passed * RHO_PPM // 1_000_000)
    return max(t_lo_ms + passed - drift, 1) if t_lo_ms else 0, min(t_hi_ms + passed + drift, UNKNOWN_MS)


def _number(items: bytes, pos: int, what: str, bits: int) -> int:
    """The unsigned number at `pos`; ValueError when there is anything else."""
    major, number = Reader(items, pos).head()
    if major != 0 or number >> bits:
        raise ValueError(f"{what} is a whole number from 0 to {(1 << bits) - 1}")
    return number


def _skip(items: bytes, pos: int) -> int:
    """How long the item at `pos` is, for those that the table does not know."""
    reader = Reader(items, pos)
    reader.skip(MAX_DEPTH - 1)
    return reader.pos - pos
