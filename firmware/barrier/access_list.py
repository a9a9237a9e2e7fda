# Layer: who may pass. Held on the device, sorted, searched by halving; judged without network and, where an
# entry has a window, only when the device knows the time well enough: what cannot be decided is denied, and
# said so.
import struct

from drivers.uid import octets

try:
    from typing import Any
except ImportError:
    pass

# classes, as stored; BLACKLIST is denied by name, so that the guard learns of it
RESIDENT, VISITOR, DELIVERY, CONTRACTOR, BLACKLIST = 0, 1, 2, 3, 4
CLASSES = {"resident": 0, "visitor": 1, "delivery": 2, "contractor": 3, "blacklist": 4}

# reasons in ACCESS events: granted = GRANTED_BASE + class
UNKNOWN, BLACKLISTED, NOT_YET, EXPIRED, NO_TIME = 1, 2, 3, 4, 5
GRANTED_BASE = 16

# credential length, credential right-padded, class, from, until (unix s; 0 = open): order = by length, then
# bytes
_RECORD = ">B10sBII"
_SIZE = 20
_ENDLESS = 0


# entry: {"credential": hex, "class": name, "from": unix s | null, "until": unix s | null} -> a record.
# ValueError: what would be right.
def record(entry: "Any") -> bytes:
    if type(entry) is not dict or type(entry.get("credential")) is not str:
        raise ValueError("credential: hex")
    try:
        credential = octets(entry["credential"])
    except ValueError:
        raise ValueError("credential %s: 1 to 10 bytes in hex" % entry["credential"][:20]) from None
    kind = CLASSES.get(entry.get("class", "resident"))
    if kind is None:
        raise ValueError("class of %s: one of %s" % (entry["credential"][:20], ", ".join(sorted(CLASSES))))
    window = []
    for key in ("from", "until"):
        at_s = entry.get(key)
        if at_s is None:
            at_s = _ENDLESS
        if type(at_s) is not int or not 0 <= at_s < 1 << 32:
            raise ValueError("%s of %s: unix seconds" % (key, entry["credential"][:20]))
        window.append(at_s)
    for key in entry:
        if key not in ("credential", "class", "from", "until", "note"):
            raise ValueError("%s: unknown key" % key[:20])
    return struct.pack(_RECORD, len(credential), credential, kind, window[0], window[1])


# entries: as record() takes them -> (packed list, problems). A wrong entry is left out and named; of two
# entries for one credential the blacklist wins, else the last.
def pack(entries: "list[Any]") -> "tuple[bytes, list[str]]":
    found: "dict[bytes, bytes]" = {}
    problems = []
    for entry in entries:
        try:
            packed = record(entry)
        except ValueError as error:
            problems.append("access: %s" % error)
            continue
        before = found.get(packed[:11])
        if before is None or before[11] != BLACKLIST:
            found[packed[:11]] = packed
    return b"".join(found[key] for key in sorted(found)), problems


class AccessList:
    # packed: from pack()
    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed) // _SIZE

    # -> (class, from_s, until_s) or None
    def find(self, credential: bytes) -> "tuple[int, int, int] | None":
        if not 0 < len(credential) <= 10:
            return None
        key = struct.pack("B10s", len(credential), credential)
        low = 0
        high = len(self)
        while low < high:
            middle = (low + high) // 2
            at = middle * _SIZE
            here = self._packed[at : at + 11]
            if here == key:
                found = struct.unpack_from(_RECORD, self._packed, at)
                return (found[2], found[3], found[4])
            if here < key:
                low = middle + 1
            else:
                high = middle
        return None

    # now: (earliest, latest) unix s that it can be, None while the time is not known -> (granted, reason)
    def judge(self, credential: bytes, now: "tuple[int, int] | None") -> "tuple[bool, int]":
        entry = self.find(credential)
        if entry is None:
            return False, UNKNOWN
        kind, from_s, until_s = entry
        if kind == BLACKLIST:
            return False, BLACKLISTED
        if from_s or until_s:
            if now is None:
                return False, NO_TIME
            if from_s and now[1] < from_s:
                return False, NOT_YET
            if until_s and now[0] > until_s:
                return False, EXPIRED
            if (from_s and now[0] < from_s) or (until_s and now[1] > until_s):
                return False, NO_TIME
        return True, GRANTED_BASE + kind
