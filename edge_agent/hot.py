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


def is_events(plaintext: bytes) -> bool:
    """Whether this is an EVENTS message, or was meant as one."""
    return plaintext[:1] in (b"\x85", b"\x86", b"\x87", b"\x88") and plaintext[1:2] == b"\x01"


def events_of(plaintext: bytes) -> Events | None:
    """[1, first_seq, boot, uptime_cs, items] or the same with mac8 -> Events; None: ask gatelink.messages.decode()."""
    if plaintext[:2] not in (b"\x85\x01", b"\x86\x01"):
        return None
    try:
        value = cbor2.loads(plaintext)
    except cbor2.CBORDecodeError:
        return None
    mac8 = None
    shortest = 2  # without its numbers and items
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
        and shortest + _head(first) + _head(boot) + _head(uptime_cs) + _head(size) + size == len(plaintext)
    ):
        return None
    return Events(first, boot, uptime_cs, items, mac8, 0, None)


def _head(number: int) -> int:
    """Bytes of the head of a number below 2^40."""
    if number < 0x100:
        return 1 if number < 24 else 2
    if number < 0x10000:
        return 3
    return 5 if number < 0x100000000 else 9


# What is tried first is what there is most of.
_UINT = rb"(?:\x19[\x01-\xff].|[\x00-\x17]|\x18[\x18-\xff]|\x1a(?:[\x01-\xff].|\x00[\x01-\xff])..)"
# Kinds of class normal below 64: all but 0, 3, 20, 34 and 35; and not TIME (7), which is more than an event.
_SHORT_KIND = rb"[\x01\x02\x04-\x06\x08-\x13\x15-\x17]"
_KIND = b"(?:" + _SHORT_KIND + rb"|\x18[\x18-\x21\x24-\x3f])"
# Up to 8 bytes: with four of them an event stays within its limit.
_FIELD = (
    rb"(?:\x47.......|[\x00-\x17\x40\xf4-\xf6]|\x44....|\x18[\x18-\xff]|\x19[\x01-\xff]."
    rb"|\x1a(?:[\x01-\xff].|\x00[\x01-\xff])..|\x43...|\x45.....)"
)
_EVENT = b"(?:" + b"|".join([bytes([0x81 + n]) + _KIND + _FIELD * n for n in (1, 3, 4, 0, 2)]) + b")"
_ONE = re.compile(_EVENT, re.DOTALL)
_ALL = re.compile(b"(?:" + _EVENT + _UINT + b")*+" + _EVENT, re.DOTALL)
_DELTAS = re.compile(_EVENT + b"(" + _UINT + b"?)", re.DOTALL)
# What a round brings: one field, a uid of 7 bytes, and 2.56 s to 10.9 min to the next.
_VISIT = rb"\x82" + _SHORT_KIND + rb"\x47......."
_VISITS = re.compile(b"(?:" + _VISIT + rb"\x19[\x01-\xff].)*+" + _VISIT, re.DOTALL)
_VISIT_SIZE, _STEP = 10, 13


def normal_span(items: bytes) -> tuple[int, int] | None:
    """Items of a batch -> (events, cs from the first to the last), when all are of class normal; None: look closer."""
    if len(items) > _STEP and _VISITS.fullmatch(items):
        found = len(items) // _STEP + 1
        above, below = items[_VISIT_SIZE + 1 :: _STEP], items[_VISIT_SIZE + 2 :: _STEP]
        return (found, sum(above) * 256 + sum(below)) if found <= _MAX_BATCH else None
    if _ONE.fullmatch(items):
        return 1, 0
    if not _ALL.fullmatch(items):
        return None
    deltas = _DELTAS.findall(items)
    if len(deltas) > _MAX_BATCH:
        return None
    return len(deltas), sum(cbor2.loads(b"\x9f" + b"".join(deltas) + b"\xff"))


def accept(window: cose.ReplayWindow, piv: int, count: int) -> None:
    """As window.accept() of piv, piv + 1 and so on, `count` of them (<= 64); more than one only above window.high."""
    window.accept(piv)
    if count > 1:
        more = count - 1
        window.mask = (window.mask << more | (1 << more) - 1) & 0xFFFFFFFFFFFFFFFF
        window.high += more


is_normal = _ONE.fullmatch  # whether a payload is surely of class normal


def uint(number: int) -> bytes:
    """As cbor.dumps(number), for 0 <= number < 2^64."""
    if number < 0x100:
        return bytes((number,)) if number < 24 else bytes((0x18, number))
    if number < 0x10000:
        return b"\x19" + number.to_bytes(2, "big")
    if number < 0x100000000:
        return b"\x1a" + number.to_bytes(4, "big")
    return b"\x1b" + number.to_bytes(8, "big")


def ack(acked_seq: int) -> bytes:
    """As messages.encode(Ack(acked_seq, [], None))."""
    return b"\x84\x02" + uint(acked_seq) + b"\x80\xf6"
