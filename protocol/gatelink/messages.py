# Layer: messages <-> the plaintext of a frame. Every message is a CBOR array [type, fields...]; each
# direction has its own types.
from collections import namedtuple

from gatelink import cbor, reasons
from gatelink.errors import MessageError
from gatelink.fields import (
    array,
    between,
    fits,
    maybe,
    octets,
    octets_upto,
    text,
    u8,
    u16,
    u24,
    u32,
    u40,
    u48,
    uint,
)

try:
    from typing import Any
except ImportError:
    pass

VERSION = 1
TAG_ROLE, BARRIER_ROLE = 1, 2

# codes of RESULT
DONE, REFUSED, STALE, UNKNOWN_ACTION, NOT_YET, FAILED = 0, 1, 2, 3, 4, 5
# actions of COMMAND
OPEN, CLOSE, STOP, BEEP = 1, 2, 3, 4

# kinds of CONFIG; its version is the number that the RESULT carries as cmd_id
REKEY = 2

MAX_GAPS = 16
MAX_CHUNK = 900  # bytes of a CONFIG or UPDATE message
_MAX_ITEMS = 990

# up
Hello = namedtuple(
    "Hello", ("version", "boot", "boot_nonce", "uptime_ms", "role", "firmware", "first_seq", "next_seq")
)
# mac8 None: not sent; skipped: how many seqs right before first_seq the device no longer has; mac_before: the
# value of the chain before them (None when skipped is 0).
Events = namedtuple("Events", ("first_seq", "boot", "uptime_cs", "items", "mac8", "skipped", "mac_before"))
Status = namedtuple(
    "Status", ("uptime_ms", "anchor", "battery_mv", "pending", "refused", "chain_seq", "chain_mac8")
)
Result = namedtuple("Result", ("cmd_id", "code", "detail"))
# down
Welcome = namedtuple("Welcome", ("uptime_ms", "edge_ms", "error_ms", "acked_seq", "window"))
Command = namedtuple("Command", ("cmd_id", "action", "deadline_ms", "argument"))
Ack = namedtuple("Ack", ("acked_seq", "gaps", "clock"))
Config = namedtuple("Config", ("kind", "version", "total", "offset", "chunk"))
Update = namedtuple("Update", ("name", "total", "offset", "chunk"))

_seq = between(1, 0xFFFFFFFF)
_mac = octets(8)
_gap = array(_seq, _seq)
_two = array(u16, octets(32))


def _gaps(value: "Any") -> bool:
    if type(value) not in (list, tuple) or len(value) > MAX_GAPS:
        return False
    last = 0
    for gap in value:
        if not _gap(gap) or not last < gap[0] <= gap[1]:
            return False
        last = gap[1]
    return True


def _rekey(value: "Any") -> bool:
    return _two(value) and value[0] > 0 and value[1] not in (bytes(32), b"\xff" * 32)


def _argument(value: "Any") -> bool:
    return value is None or type(value) in (bool, int) or _short_bytes(value) or _short_text(value)


# of a device that never sleeps, or of one that does: slept_ms at the anchor and slept_ms until this status
_awake = array(u48, u48, u32)
_sleeper = array(u48, u48, u32, u48, u48)


def _anchor(value: "Any") -> bool:
    return value is None or _awake(value) or (_sleeper(value) and value[3] <= value[4])


_short_bytes = octets_upto(64)
_short_text = text(64)

_EVENTS = (_seq, u24, u40, octets_upto(_MAX_ITEMS), maybe(_mac), u32, maybe(_mac))

# type number -> (what it is read into, a check for each field)
_UP: "Any" = (
    (Hello, (u8, u24, octets(8), u48, u8, text(16), _seq, _seq)),
    (Events, _EVENTS),
    (Status, (u48, _anchor, maybe(u16), u32, array(u32, u32, u32), u32, _mac)),
    (Result, (u32, uint(5), text(64))),
)
_DOWN: "Any" = (
    (Welcome, (u48, maybe(u48), u32, u32, between(1, 64))),
    (Command, (u32, u8, u48, _argument)),
    (Ack, (u32, _gaps, maybe(array(u48, maybe(u48), u32)))),
    (Config, (u8, u32, u32, u32, octets_upto(MAX_CHUNK))),
    (Update, (text(32), u32, u32, octets_upto(MAX_CHUNK))),
)


def _bad(number: int) -> MessageError:
    return MessageError(reasons.BAD_FIELD, "message type %d" % number)


def _consistent(number: int, up: bool, message: "Any") -> bool:
    if up:
        if number == 0:
            return bool(message.first_seq <= message.next_seq)
        if number == 1:
            return (
                (message.skipped > 0) == (message.mac_before is not None)
                and message.skipped < message.first_seq
                and len(message.items) > 0
            )
        return True
    if number > 2:
        return len(message.chunk) > 0 and bool(message.offset + len(message.chunk) <= message.total)
    return True


# message: one of the named tuples above -> plaintext. Raises MessageError: UNKNOWN_TYPE, BAD_FIELD.
def encode(message: "Any") -> bytes:
    for up, table in ((True, _UP), (False, _DOWN)):
        for number in range(len(table)):
            kind, checks = table[number]
            if isinstance(message, kind):
                if not fits(message, checks) or not _consistent(number, up, message):
                    raise _bad(number)
                fields = tuple(message)
                if kind is Events:
                    # What is absent at the end is not sent.
                    fields = fields[:4] if message.mac8 is None else fields[:5]
                    if message.skipped:
                        fields = tuple(message)
                return cbor.dumps((number,) + fields)
    raise MessageError(reasons.UNKNOWN_TYPE)


# direction: cose.UP (0) or cose.DOWN (1); plaintext of an authentic frame -> one of the named tuples above.
# The items of EVENTS are not looked into: events.split() does that. Raises CborError, MessageError:
# UNKNOWN_TYPE, BAD_FIELD.
def decode(direction: int, plaintext: "bytes | bytearray | memoryview") -> "Any":
    value = cbor.loads(plaintext)
    if type(value) is not list or not value or type(value[0]) is not int:
        raise MessageError(reasons.BAD_FIELD, "no message")
    number = value[0]
    table = _DOWN if direction else _UP
    if not 0 <= number < len(table):
        raise MessageError(reasons.UNKNOWN_TYPE)
    kind, checks = table[number]
    fields = value[1:]
    if kind is Events:
        if len(fields) == 4:
            fields = fields + [None, 0, None]
        elif len(fields) == 5 and fields[4] is not None:
            fields = fields + [0, None]
        elif len(fields) != 7 or not fields[5]:
            raise _bad(number)
    if len(fields) != len(checks) or not fits(fields, checks):
        raise _bad(number)
    message = kind(*fields)
    if not _consistent(number, not direction, message):
        raise _bad(number)
    return message


# Body of a CONFIG of kind REKEY: the link key of the next epoch. It travels inside a frame of the epoch before.
# epoch: u16; link_key: 32 bytes, neither all 00 nor all FF. Raises MessageError(BAD_FIELD).
def encode_rekey(epoch: int, link_key: bytes) -> bytes:
    if not _rekey([epoch, link_key]):
        raise MessageError(reasons.BAD_FIELD, "rekey")
    return cbor.dumps([epoch, link_key])


# -> (epoch, link_key). Raises CborError, MessageError(BAD_FIELD).
def decode_rekey(body: "bytes | bytearray | memoryview") -> "tuple[int, bytes]":
    value = cbor.loads(body)
    if not _rekey(value):
        raise MessageError(reasons.BAD_FIELD, "rekey")
    return value[0], value[1]
