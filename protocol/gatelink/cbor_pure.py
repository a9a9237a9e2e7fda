# Layer: values <-> deterministic CBOR (RFC 8949 section 4.2.1), in plain Python for both interpreters.
# Values: None, bool, int (-2^64 .. 2^64-1), bytes, str, list (tuple), dict with int and str keys.
# Refused by reason: floats, tags, other simple values, indefinite lengths, unsorted or repeated keys, longer
# forms than needed.
import sys

from gatelink import reasons
from gatelink.errors import CborError

try:
    from typing import Any
except ImportError:
    pass

MAX_DEPTH = 8
MAX_INPUT = 16384

# MicroPython checks only the shape of UTF-8, CPython also refuses overlong forms and surrogates.
_LOOSE_TEXT = sys.implementation.name != "cpython"


def _put_head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major | number)
    elif number < 0x100:
        out.append(major | 24)
        out.append(number)
    elif number < 0x10000:
        out.append(major | 25)
        out.extend(number.to_bytes(2, "big"))
    elif number < 0x100000000:
        out.append(major | 26)
        out.extend(number.to_bytes(4, "big"))
    elif number < 0x10000000000000000:
        out.append(major | 27)
        out.extend(number.to_bytes(8, "big"))
    else:
        raise CborError(reasons.UNSUPPORTED, "integer beyond 64 bits")


def _put(out: bytearray, value: "Any", room: int) -> None:
    if value is None:
        out.append(0xF6)
    elif value is True:
        out.append(0xF5)
    elif value is False:
        out.append(0xF4)
    elif isinstance(value, int):
        if value >= 0:
            _put_head(out, 0x00, value)
        else:
            _put_head(out, 0x20, -1 - value)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _put_head(out, 0x40, len(value))
        out.extend(value)
    elif isinstance(value, str):
        try:
            text = value.encode()
        except UnicodeError:
            raise CborError(reasons.BAD_TEXT, "not encodable as UTF-8") from None
        _put_head(out, 0x60, len(text))
        out.extend(text)
    elif isinstance(value, (list, tuple)):
        if not room:
            raise CborError(reasons.TOO_DEEP)
        _put_head(out, 0x80, len(value))
        for item in value:
            _put(out, item, room - 1)
    elif isinstance(value, dict):
        if not room:
            raise CborError(reasons.TOO_DEEP)
        pairs = []
        for key in value:
            if isinstance(key, bool) or not isinstance(key, (int, str)):
                raise CborError(reasons.UNSUPPORTED, "map key")
            encoded = bytearray()
            _put(encoded, key, 0)
            pairs.append((bytes(encoded), key))
        pairs.sort(key=lambda pair: pair[0])
        _put_head(out, 0xA0, len(pairs))
        for encoded_key, key in pairs:
            out.extend(encoded_key)
            _put(out, value[key], room - 1)
    else:
        raise CborError(reasons.UNSUPPORTED, "type " + type(value).__name__)


# Raises CborError: UNSUPPORTED, TOO_DEEP, BAD_TEXT.
def dumps(value: "Any") -> bytes:
    out = bytearray()
    _put(out, value, MAX_DEPTH)
    return bytes(out)


class Reader:
    # buffer: bytes; pos: where the next item begins
    def __init__(self, buffer: bytes, pos: int = 0) -> None:
        self.buffer = buffer
        self.pos = pos
        self.end = len(buffer)

    # Reads one initial byte and its argument; what announces more than is left is refused before any
    # allocation.
    def head(self) -> "tuple[int, int]":
        pos = self.pos
        if pos >= self.end:
            raise CborError(reasons.TRUNCATED)
        first = self.buffer[pos]
        pos += 1
        major = first >> 5
        number = first & 31
        if major == 7:
            if number < 20 or number > 22:
                raise CborError(reasons.UNSUPPORTED, "float or simple value")
        elif major == 6:
            raise CborError(reasons.UNSUPPORTED, "tag")
        elif number > 23:
            if number > 27:
                raise CborError(reasons.UNSUPPORTED, "indefinite or reserved length")
            size = 1 << (number - 24)
            if pos + size > self.end:
                raise CborError(reasons.TRUNCATED)
            floor = 24 if size == 1 else 1 << (4 * size)
            number = int.from_bytes(self.buffer[pos : pos + size], "big")
            if number < floor:
                raise CborError(reasons.NOT_CANONICAL, "long form")
            pos += size
        if 2 <= major <= 5 and (number * 2 if major == 5 else number) > self.end - pos:
            raise CborError(reasons.TRUNCATED)
        self.pos = pos
        return major, number

    # room: how many further levels of arrays and maps may open
    def value(self, room: int) -> "Any":
        major, number = self.head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            start = self.pos
            self.pos = start + number
            return self.buffer[start : self.pos]
        if major == 3:
            start = self.pos
            self.pos = start + number
            return text(self.buffer[start : self.pos])
        if major == 7:
            return None if number == 22 else number == 21
        if not room:
            raise CborError(reasons.TOO_DEEP)
        if major == 4:
            return [self.value(room - 1) for _ in range(number)]
        found = {}
        last = b""
        for _ in range(number):
            start = self.pos
            key = self.value(0)
            if isinstance(key, bool) or not isinstance(key, (int, str)):
                raise CborError(reasons.UNSUPPORTED, "map key")
            encoded = self.buffer[start : self.pos]
            if encoded <= last:
                raise CborError(reasons.NOT_CANONICAL, "keys unsorted or repeated")
            last = encoded
            found[key] = self.value(room - 1)
        return found

    # Checks one item as value() does and steps over it without building it.
    def skip(self, room: int) -> None:
        major, number = self.head()
        if major < 2 or major == 7:
            return
        if major == 2:
            self.pos += number
        elif major == 4 and room:
            for _ in range(number):
                self.skip(room - 1)
        else:
            self.pos -= 1 if number < 24 else 2 if number < 0x100 else 3 if number < 0x10000 else 5
            self.value(room)


# Raises CborError(BAD_TEXT) on anything that is not well-formed UTF-8 (RFC 3629).
def text(raw: bytes) -> str:
    try:
        found = str(raw, "utf-8")
    except UnicodeError:
        raise CborError(reasons.BAD_TEXT) from None
    if _LOOSE_TEXT:
        at = 0
        for first in raw:
            at += 1
            if first < 0xC2:
                if first < 0xC0:
                    continue
            elif first < 0xF5:
                second = raw[at]
                if not (
                    (first == 0xE0 and second < 0xA0)
                    or (first == 0xED and second > 0x9F)
                    or (first == 0xF0 and second < 0x90)
                    or (first == 0xF4 and second > 0x8F)
                ):
                    continue
            raise CborError(reasons.BAD_TEXT)
    return found


def capped(buffer: "bytes | bytearray | memoryview", max_input: int) -> bytes:
    if len(buffer) > max_input:
        raise CborError(reasons.TOO_LONG)
    return buffer if isinstance(buffer, bytes) else bytes(buffer)


# buffer: exactly one item; max_input in bytes. Raises CborError: TOO_LONG, TRUNCATED, TRAILING, TOO_DEEP,
# NOT_CANONICAL, UNSUPPORTED, BAD_TEXT; of several faults the first in the bytes is named.
def loads(buffer: "bytes | bytearray | memoryview", max_input: int = MAX_INPUT) -> "Any":
    reader = Reader(capped(buffer, max_input))
    value = reader.value(MAX_DEPTH)
    if reader.pos != reader.end:
        raise CborError(reasons.TRAILING)
    return value


# buffer: any number of items one after the other (RFC 8742). Raises as loads does.
def loads_sequence(buffer: "bytes | bytearray | memoryview", max_input: int = MAX_INPUT) -> "list[Any]":
    reader = Reader(capped(buffer, max_input))
    found = []
    while reader.pos < reader.end:
        found.append(reader.value(MAX_DEPTH))
    return found
