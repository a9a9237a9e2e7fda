# Layer: blocks of a polled bus that are no frames: who may speak, and who has finished. They prove nothing: whatever
# counts is in the frames beside them. A frame begins with 83, these with 84 and 85.
from gatelink import cbor, reasons
from gatelink.errors import MessageError
from gatelink.fields import array, between, u8, u16, u32, uint

try:
    from typing import Any
except ImportError:
    pass

POLL, END = 0, 1
# state of END: something is to be said; an alarm is among it
MORE, ALARM = 1, 2
FRAME = 0x83

_poll = array(between(POLL, POLL), u32, u8, u16, uint(1))
_end = array(between(END, END), u32, u8, uint(MORE | ALARM))


# device: u32; turn: u8; limit: bytes that the answer may have beside its END, 0: nothing but that; tell: 1: say STATUS,
# or HELLO without a session
def poll(device: int, turn: int, limit: int, tell: int) -> bytes:
    return cbor.dumps((POLL, device, turn, limit, tell))


# turn: that of the poll; state: MORE | ALARM
def end(device: int, turn: int, state: int) -> bytes:
    return cbor.dumps((END, device, turn, state))


# A block that is no frame -> [POLL, device, turn, limit, tell] or [END, device, turn, state]. Raises CborError,
# MessageError(BAD_FIELD).
def decode(block: "bytes | bytearray | memoryview") -> "Any":
    value = cbor.loads(block)
    if not _poll(value) and not _end(value):
        raise MessageError(reasons.BAD_FIELD, "bus")
    return value
