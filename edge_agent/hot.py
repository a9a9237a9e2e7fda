"""Layer: the short way from the plaintext of an EVENTS message to its fields; held to gatelink's by a test.

Like gatelink.cbor_host it only ever says yes: a message of the common form whose shortest encoding is as long as the
input. All else goes the careful way, which names the reason.
"""

from __future__ import annotations

import cbor2

from gatelink.messages import Events

_MAX_ITEMS = 990


def _head(number: int) -> int:
    """Bytes that the shortest CBOR head of `number` takes."""
    return (
        1
        if number < 24
        else 2
        if number < 0x100
        else 3
        if number < 0x10000
        else 5
        if number < 0x100000000
        else 9
    )


def events_of(plaintext: bytes) -> Events | None:
    """[1, first_seq, boot, uptime_cs, items] or the same with mac8 -> Events; None: ask gatelink.messages.decode()."""
    if plaintext[:2] not in (b"\x85\x01", b"\x86\x01"):
        return None
    try:
        value = cbor2.loads(plaintext)
    except cbor2.CBORDecodeError:
        return None
    mac8 = None
    if len(value) == 6:
        mac8 = value[5]
        if type(mac8) is not bytes or len(mac8) != 8:
            return None
    _, first, boot, uptime_cs, items = value[:5]
    if not (type(first) is int is type(boot) is type(uptime_cs) and type(items) is bytes):
        return None
    if not (0 < first <= 0xFFFFFFFF and 0 <= boot <= 0xFFFFFF and 0 <= uptime_cs <= 0xFFFFFFFFFF):
        return None
    size = len(items)
    if not 0 < size <= _MAX_ITEMS:
        return None
    shortest = 2 + _head(first) + _head(boot) + _head(uptime_cs) + _head(size) + size + (9 if mac8 else 0)
    if shortest != len(plaintext):
        return None
    return Events(first, boot, uptime_cs, items, mac8, 0, None)
