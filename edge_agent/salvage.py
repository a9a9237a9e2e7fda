"""Layer: what can still be said of authentic messages that are meant as EVENTS and break the rules; pure."""

from __future__ import annotations

from gatelink import cbor, events
from gatelink.errors import CborError


def count(items: bytes) -> int:
    """How many events the items are, if they are at least a CBOR sequence of the right length; else 0."""
    if not items:
        return 0
    try:
        found = len(cbor.loads_sequence(items))
    except CborError:
        return 0
    return (found + 1) // 2 if found % 2 and found < 2 * events.MAX_BATCH else 0


def first_seq(plaintext: bytes) -> int | None:
    """The first seq of something that was meant as EVENTS but breaks its rules; None for anything else."""
    try:
        value = cbor.loads(plaintext)
    except CborError:
        return None
    if type(value) is list and len(value) > 1 and value[0] == 1 and type(value[1]) is int:
        return value[1] if 0 < value[1] <= 0xFFFFFFFF else None
    return None
