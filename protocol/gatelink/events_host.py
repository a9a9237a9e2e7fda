# Layer: the batches that nearly all are, taken apart at the speed of the regular expression engine; CPython
# only, not shipped to devices. Only ever says yes: None means "look closer", never "wrong"; events.py looks
# closer.
import re
import sys

if sys.implementation.name != "cpython":
    raise ImportError("MicroPython's re is smaller")

_UINT = rb"(?:[\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff].|\x1a(?:[\x01-\xff].|\x00[\x01-\xff])..)"
_KIND = rb"(?:[\x00-\x17]|\x18[\x18-\xff])"
# Small negatives, uids, credentials of 3 to 5 bytes, false, true, null; every form the shortest.
_FIELD = (
    rb"(?:[\x00-\x17]|\x47.{7}|\x18[\x18-\xff]|\x19[\x01-\xff].|\x1a(?:[\x01-\xff].|\x00[\x01-\xff]).."
    rb"|\x44.{4}|\x4a.{10}|[\x20-\x37\x40\xf4-\xf6]|\x43.{3}|\x45.{5})"
)
_EVENT = b"(?:" + b"|".join([bytes([0x81 + n]) + _KIND + _FIELD * n for n in (1, 3, 4, 0, 2)]) + b")"
_PAIRS = re.compile(b"(" + _EVENT + b")(" + _UINT + b"?)", re.DOTALL)


# items -> [(cs since the batch's first event, payload), ...] or None. max_payload in bytes, max_batch in
# events.
def plain_split(items: bytes, max_payload: int, max_batch: int) -> "list[tuple[int, bytes]] | None":
    found = []
    since_cs = 0
    size = 0
    delta = b"\x00"
    for payload, delta in _PAIRS.findall(items):
        found.append((since_cs, payload))
        size += len(payload) + len(delta)
        if len(payload) > max_payload or not delta:
            break
        since_cs += delta[0] if len(delta) == 1 else int.from_bytes(delta[1:], "big")
    # Nothing was stepped over, the last event has no time after it, and none before the last lacks one.
    if size == len(items) and not delta and len(found) <= max_batch and len(found[-1][1]) <= max_payload:
        return found
    return None
