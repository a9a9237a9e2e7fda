# Layer: what happened <-> the payload that is journalled, MACed and stored as it was minted.
# payload = deterministic CBOR array [kind, fields...], at most MAX_PAYLOAD bytes. Numbers of kinds are never
# used again; a later version may append fields to a kind, a reader ignores those that it does not know.
from gatelink import cbor, reasons
from gatelink.errors import MessageError
from gatelink.fields import between, fits, maybe, octets_upto, text, u8, u16, u32, u48, uid, uint

try:
    from gatelink.events_host import plain_split
except ImportError:  # MicroPython

    def plain_split(items: bytes, max_payload: int, max_batch: int) -> "list[tuple[int, bytes]] | None":  # noqa: ARG001
        return None


try:
    from typing import Any
except ImportError:
    pass

MAX_PAYLOAD = 38
MAX_BATCH = 64

ROUTINE, NORMAL, ALARM = 0, 1, 2  # classes: heartbeats go first, alarms never

# common
HEARTBEAT, BOOT, REFUSED, FAULT, BATTERY, JOURNAL_FILL, JOURNAL_LOSS, TIME = 0, 1, 2, 3, 4, 5, 6, 7
# patrol tag
VISIT, SHIFT_START, SHIFT_END, INCIDENT, SOS, UNKNOWN_CARD = 16, 17, 18, 19, 20, 21
# barrier
BARRIER, ACCESS, FORCED, OBSTRUCTED, LOOP_FAULT = 32, 33, 34, 35, 36

# states and causes of BARRIER
CLOSED, OPENING, OPEN, CLOSING, STOPPED, BROKEN = 0, 1, 2, 3, 4, 5
POWER_ON, CREDENTIAL, COMMAND, AUTO_CLOSE, LOOP, BUTTON, LIMIT, TIMEOUT, FORCE = 0, 1, 2, 3, 4, 5, 6, 7, 8
# decisions and lane directions of ACCESS
DENIED, GRANTED = 0, 1
IN, OUT = 0, 1
# levels of BATTERY
OK, LOW, CRITICAL = 0, 1, 2

_percent = uint(100)

# kind: (how many fields must be there, a check for each field)
_KINDS = {
    HEARTBEAT: (1, (maybe(u16),)),
    BOOT: (2, (u8, text(16))),
    REFUSED: (3, (u32, u32, u32)),
    FAULT: (2, (u8, text(24))),
    BATTERY: (2, (u16, uint(2))),
    JOURNAL_FILL: (1, (_percent,)),
    JOURNAL_LOSS: (2, (between(1, 0xFFFFFFFF), between(1, 0xFFFFFFFF))),
    TIME: (2, (u48, u32, u48)),
    VISIT: (1, (uid,)),
    SHIFT_START: (1, (uid,)),
    SHIFT_END: (1, (uid,)),
    INCIDENT: (2, (uid, maybe(uid))),
    SOS: (1, (maybe(uid),)),
    UNKNOWN_CARD: (1, (uid,)),
    BARRIER: (3, (uint(5), uint(8), u32)),
    ACCESS: (4, (octets_upto(16), uint(1), u8, uint(1))),
    FORCED: (0, (_percent,)),
    OBSTRUCTED: (1, (u8,)),
    LOOP_FAULT: (1, (u8,)),
}
_ALARMS = (FAULT, SOS, FORCED, OBSTRUCTED)


# kind: 0..255 -> ROUTINE, NORMAL or ALARM. From 64 on the class is in the number (kind & 3), so that a reader
# knows the class of kinds that are younger than itself.
def class_of(kind: int) -> int:
    if kind >= 64:
        return (ROUTINE, NORMAL, ALARM, NORMAL)[kind & 3]
    return ALARM if kind in _ALARMS else ROUTINE if kind == HEARTBEAT else NORMAL


# -> payload. Raises MessageError: UNKNOWN_TYPE, BAD_FIELD, TOO_LONG.
def encode(kind: int, *fields: "Any") -> bytes:
    shape = _KINDS.get(kind)
    if shape is None:
        raise MessageError(reasons.UNKNOWN_TYPE, "event kind")
    least, checks = shape
    if not least <= len(fields) <= len(checks) or not fits(fields, checks):
        raise MessageError(reasons.BAD_FIELD, "event kind %d" % kind)
    payload = cbor.dumps((kind,) + fields)
    if len(payload) > MAX_PAYLOAD:
        raise MessageError(reasons.TOO_LONG, "event kind %d" % kind)
    return payload


# payload -> [kind, fields...] with the fields that this version knows.
# Raises CborError, MessageError: UNKNOWN_TYPE (a younger kind), BAD_FIELD, TOO_LONG.
def decode(payload: "bytes | bytearray | memoryview") -> "list[Any]":
    if len(payload) > MAX_PAYLOAD:
        raise MessageError(reasons.TOO_LONG, "event")
    return check(cbor.loads(payload))


# One item of a batch that was already decoded -> as decode().
def check(value: "Any") -> "list[Any]":
    if type(value) is not list or not value or not u8(value[0]):
        raise MessageError(reasons.BAD_FIELD, "event")
    shape = _KINDS.get(value[0])
    if shape is None:
        raise MessageError(reasons.UNKNOWN_TYPE, "event kind")
    least, checks = shape
    fields = value[1:]
    if len(fields) < least or not fits(fields, checks):
        raise MessageError(reasons.BAD_FIELD, "event kind %d" % value[0])
    return value[: 1 + len(checks)]


# payload -> its kind without reading further: what the class and the MAC need. Raises
# MessageError(BAD_FIELD).
def kind_of(payload: "bytes | bytearray | memoryview") -> int:
    if len(payload) > 1 and 0x81 <= payload[0] <= 0x97:
        kind = payload[1]
        if kind < 24:
            return kind
        if kind == 24 and len(payload) > 2 and payload[2] > 23:
            return payload[2]
    raise MessageError(reasons.BAD_FIELD, "event kind")


# The bytes under the MAC of the event chain: seq u32, boot u24, uptime_cs u40 (10 ms since boot), class u8,
# length u8, payload.
def record(seq: int, boot: int, uptime_cs: int, payload: bytes) -> bytes:
    return (
        seq.to_bytes(4, "big")
        + boot.to_bytes(3, "big")
        + uptime_cs.to_bytes(5, "big")
        + bytes([class_of(kind_of(payload)), len(payload)])
        + payload
    )


# uptimes_cs and payloads of one batch, in order -> its items: payload0, dt1, payload1, dt2, payload2 ...
# Raises MessageError(BAD_FIELD) when time runs backwards or the batch is empty or too long.
def join(uptimes_cs: "list[int]", payloads: "list[bytes]") -> bytes:
    count = len(payloads)
    if not 1 <= count <= MAX_BATCH or len(uptimes_cs) != count:
        raise MessageError(reasons.BAD_FIELD, "batch size")
    out = bytearray(payloads[0])
    for index in range(1, count):
        delta_cs = uptimes_cs[index] - uptimes_cs[index - 1]
        if delta_cs < 0:
            raise MessageError(reasons.BAD_FIELD, "time runs backwards")
        out.extend(cbor.dumps(delta_cs))
        out.extend(payloads[index])
    return bytes(out)


# items -> [(cs since the batch's first event, payload), ...]; checks the form, not the fields: an event of a
# younger kind passes. Raises CborError, MessageError: BAD_FIELD, TOO_LONG.
def split(items: bytes) -> "list[tuple[int, bytes]]":
    return plain_split(items, MAX_PAYLOAD, MAX_BATCH) or careful_split(items)


# As split(), item by item, naming what is wrong.
def careful_split(items: bytes) -> "list[tuple[int, bytes]]":
    reader = cbor.Reader(items)
    found = []
    since_cs = 0
    while True:
        start = reader.pos
        reader.skip(cbor.MAX_DEPTH)
        payload = items[start : reader.pos]
        kind_of(payload)
        if len(payload) > MAX_PAYLOAD:
            raise MessageError(reasons.TOO_LONG, "event")
        found.append((since_cs, payload))
        if reader.pos == reader.end:
            return found
        if len(found) == MAX_BATCH:
            raise MessageError(reasons.TOO_LONG, "batch")
        major, delta_cs = reader.head()
        since_cs += delta_cs
        if major or since_cs > 0xFFFFFFFFFF:
            raise MessageError(reasons.BAD_FIELD, "time between events")
