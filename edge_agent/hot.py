"""Layer: the short ways of the frames that nearly all are; held to gatelink's own by tests.

Like gatelink.cbor_host they only ever say yes: to a frame, a message or items of the common form in their shortest
encoding. All else goes the careful way, which names the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import cbor2

from gatelink import cose
from gatelink.framing import MAX_FRAME
from gatelink.messages import Events

_MAX_ITEMS = 990
_MAX_BATCH = 64

Opener = Callable[[bytes], tuple[int, bytes] | None]


def opener(keys: cose.Keys) -> Opener:
    """As cose.open_(keys, UP, frame), with what does not change from frame to frame worked out once.

    None: ask cose.open_(). Raises AuthError(NOT_AUTHENTIC).
    """
    head = keys.head
    nonce = int.from_bytes(keys.nonce(cose.UP, 0), "big")
    aad = keys.aad(cose.UP, b"")
    decrypt = keys.cipher(cose.UP).open_
    whole = int.from_bytes

    def open_(frame: bytes) -> tuple[int, bytes] | None:
        size = len(frame)
        if frame[:14] != head or not 45 <= size <= MAX_FRAME:
            return None
        if frame[19] == 0x58 and frame[20] == size - 21:
            start = 21
        elif frame[19] == 0x59 and frame[20] and whole(frame[20:22], "big") == size - 22:
            start = 22
        else:
            return None
        piv = whole(frame[14:19], "big")
        return piv, decrypt((nonce ^ piv).to_bytes(13, "big"), frame[start:], aad)

    return open_


def events_of(plaintext: bytes) -> Events | None:
    """[1, first_seq, boot, uptime_cs, items] or the same with mac8 -> Events; None: ask gatelink.messages.decode()."""
    if plaintext[:2] not in (b"\x85\x01", b"\x86\x01"):
        return None
    try:
        value = cbor2.loads(plaintext)
    except cbor2.CBORDecodeError:
        return None
    mac8 = None
    shortest = 2
    if len(value) == 6:
        mac8 = value[5]
        if type(mac8) is not bytes or len(mac8) != 8:
            return None
        shortest = 11
    _, first, boot, uptime_cs, items = value[:5]
    if not (type(first) is int is type(boot) is type(uptime_cs) and type(items) is bytes):
        return None
    size = len(items)
    if not (
        0 < first <= 0xFFFFFFFF
        and 0 <= boot <= 0xFFFFFF
        and 0 <= uptime_cs <= 0xFFFFFFFFFF
        and 0 < size <= _MAX_ITEMS
    ):
        return None
    for number in (first, boot, uptime_cs, size):
        shortest += 1 + (number > 23) + (number > 0xFF) + 2 * (number > 0xFFFF) + 4 * (number > 0xFFFFFFFF)
    if shortest + size != len(plaintext):
        return None
    return Events(first, boot, uptime_cs, items, mac8, 0, None)


_UINT = rb"(?:[\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff].|\x1a(?:[\x01-\xff].|\x00[\x01-\xff])..)"
# Kinds of class normal below 64: all but 0, 3, 20, 34 and 35; and not TIME (7), which is more than an event.
_KIND = rb"(?:[\x01\x02\x04-\x06\x08-\x13\x15-\x17]|\x18[\x18-\x21\x24-\x3f])"
# Up to 8 bytes: with four of them an event stays within its limit.
_FIELD = rb"(?:\x47.{7}|\x44.{4}|[\x40\xf4-\xf6]|\x43.{3}|\x45.{5}|" + _UINT + b")"
_EVENT = b"(?:" + b"|".join([bytes([0x81 + n]) + _KIND + _FIELD * n for n in (1, 3, 4, 0, 2)]) + b")"
_ONE = re.compile(_EVENT, re.DOTALL)
_ALL = re.compile(b"(?:" + _EVENT + _UINT + b")*+" + _EVENT, re.DOTALL)
_DELTAS = re.compile(_EVENT + b"(" + _UINT + b"?)", re.DOTALL)


def normal_span(items: bytes) -> tuple[int, int] | None:
    """Items of a batch -> (events, cs from the first to the last), when all are of class normal; None: look closer."""
    if _ONE.fullmatch(items):
        return 1, 0
    if not _ALL.fullmatch(items):
        return None
    deltas = _DELTAS.findall(items)
    if len(deltas) > _MAX_BATCH:
        return None
    return len(deltas), sum(cbor2.loads(b"\x9f" + b"".join(deltas) + b"\xff"))


def ack(acked_seq: int) -> bytes:
    """As messages.encode(Ack(acked_seq, [], None))."""
    return b"\x84\x02" + bytes(cbor2.dumps(acked_seq)) + b"\x80\xf6"
