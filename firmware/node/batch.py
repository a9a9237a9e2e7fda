# Layer: journal -> EVENTS messages.
from gatelink import events, messages

try:
    from typing import Any
except ImportError:
    pass

# what a batch's items may take, so that its frame stays within 512 bytes
MAX_ITEMS = 436


# bytes of a time difference in CBOR
def _delta_size(delta_cs: int) -> int:
    if delta_cs < 24:
        return 1
    if delta_cs < 0x10000:
        return 2 if delta_cs < 0x100 else 3
    return 5 if delta_cs < 0x100000000 else 9


# The next batch from first on and not beyond last: one boot, no gap inside, at most limit events. Returns
# (message, last seq), or None when nothing is held there. What is missing right before it is told as skipped.
def build(journal: "Any", first: int, last: int, limit: int = events.MAX_BATCH) -> "tuple[Any, int] | None":
    slot = journal.read(first)
    skipped = 0
    mac_before = None
    if slot is None:
        held = journal.next_held(first)
        slot = journal.read(held) if held <= last else None
        if slot is None:
            return None
        skipped = held - first
        # what this event's own chain value was computed over: the office starts anew from it
        mac_before = journal.mac_before(held)
    head = slot
    end = slot
    uptimes_cs = []
    payloads = []
    size = 0
    while slot and slot.boot == head.boot and slot.uptime_cs >= end.uptime_cs:
        size += len(slot.payload) + _delta_size(slot.uptime_cs - end.uptime_cs)
        if size > MAX_ITEMS:
            break
        uptimes_cs.append(slot.uptime_cs)
        payloads.append(slot.payload)
        end = slot
        if end.seq >= last or len(payloads) >= limit:
            break
        slot = journal.read(end.seq + 1)
    mac8 = end.mac8 if len(payloads) > 1 or skipped else None
    items = events.join(uptimes_cs, payloads)
    return messages.Events(head.seq, head.boot, head.uptime_cs, items, mac8, skipped, mac_before), end.seq
