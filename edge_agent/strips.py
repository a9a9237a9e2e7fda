"""Layer: single events of one length that follow each other, a read's worth at once; pure.

As hot.py it only ever says yes: to frames whose counters and events follow each other, each one event of the common
form. All else is looked at frame by frame; tests hold the two to each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, pairwise

from edge_agent.hot import events_of, is_normal, uint
from edge_agent.runs import MAX_SPAN_CS, Survey
from gatelink import cose, events
from gatelink.errors import AuthError
from gatelink.messages import Events

LEAST, MOST = 4, events.MAX_BATCH  # frames of a strip: with fewer it does not pay
_START = 21  # of the ciphertext, where its length takes one byte
_LENGTHS = range(_START + 24, _START + 256)  # of such frames

# Frames -> (partial IV of the first, plaintexts); None: frame by frame.
Opener = Callable[[list[bytes]], tuple[int, list[bytes]] | None]


def stretches(frames: list[bytes]) -> Iterator[list[bytes]]:
    """Neighbours of one length, at most MOST together."""
    size = len(frames)
    if size < LEAST:
        yield frames
        return
    for _, group in groupby(frames, len):
        found = list(group)
        for at in range(0, len(found), MOST):
            yield found[at : at + MOST]


def opener(keys: cose.Keys) -> Opener:
    """As hot.opener(keys) for each of a stretch whose partial IVs count up by one."""
    head = keys.head
    base = int.from_bytes(keys.nonce(cose.UP, 0), "big")
    aad = keys.aad(cose.UP, b"")
    decrypt = keys.cipher(cose.UP).open_all

    def open_(frames: list[bytes]) -> tuple[int, list[bytes]] | None:
        count, size = len(frames), len(frames[0])
        if count < LEAST or size not in _LENGTHS:
            return None
        heads, boots, counters, lengths, sealed = zip(
            *_frame(size).iter_unpack(b"".join(frames)), strict=True
        )
        boot, first = boots[0], counters[0]
        if (
            heads.count(head) != count
            or lengths.count(bytes((0x58, size - _START))) != count
            or boots.count(boot) != count
            or counters != tuple(range(first, first + count))
        ):
            return None
        nonce = base ^ int.from_bytes(boot, "big") << 16
        try:
            plaintexts = decrypt([(nonce ^ n).to_bytes(13, "big") for n in counters], sealed, aad)
        except AuthError:
            return None
        return int.from_bytes(boot, "big") << 16 | first, plaintexts

    return open_


@lru_cache(256)
def _frame(size: int) -> struct.Struct:
    return struct.Struct(f">14s3sH2s{size - _START}s")


_NUMBERS = {0x18: "B", 0x19: "H", 0x1A: "I", 0x1B: "Q"}


@lru_cache(256)
def _message(seq: str, middle: int, uptime: str, end: int, items: int) -> struct.Struct:
    return struct.Struct(f">3s{seq}{middle}s{uptime}{end}s{items}s")


def merged(plaintexts: list[bytes]) -> tuple[Events, Survey] | None:
    """Single events of class normal, one after the other -> the message in which the device might have sent them all.

    All of one length.
    """
    lead = plaintexts[0]
    first = events_of(lead)
    if first is None or first.mac8 is not None:
        return None
    seq, boot, uptime_cs, items = first[:4]
    # Where the heads stand; a number below 24 has none.
    boot_at = 2 + len(uint(seq))
    uptime_at = boot_at + len(uint(boot))
    end_at = uptime_at + len(uint(uptime_cs))
    if seq < 24 or uptime_cs < 24:
        return None
    shape = _message(
        _NUMBERS[lead[2]],
        uptime_at + 1 - boot_at,
        _NUMBERS[lead[uptime_at]],
        len(lead) - len(items) - end_at,
        len(items),
    )
    starts, seqs, middles, uptimes, ends, payloads = zip(
        *shape.iter_unpack(b"".join(plaintexts)), strict=True
    )
    count = len(plaintexts)
    if (
        starts.count(starts[0]) != count
        or middles.count(middles[0]) != count
        or ends.count(ends[0]) != count
        or seqs != tuple(range(seq, seq + count))
        or not all(map(is_normal, payloads))
    ):
        return None
    # Numbers of one width that grow from a shortest form on are all in their shortest form.
    pieces = [payloads[0]]
    for (before, after), payload in zip(pairwise(uptimes), payloads[1:], strict=True):
        if after < before:
            return None
        pieces += (uint(after - before), payload)
    if uptimes[-1] > 0xFFFFFFFFFF or uptimes[-1] - uptime_cs > MAX_SPAN_CS:
        return None
    return (
        Events(seq, boot, uptime_cs, b"".join(pieces), None, 0, None),
        Survey(count, uptimes[-1] - uptime_cs, events.NORMAL, has_time=False, plain=True),
    )
