# Layer: reading as cbor_pure does, faster, on CPython with cbor2; not shipped to devices. cbor2 only ever
# says yes here: a value counts when it is of the subset and when its shortest encoding is as long as the
# input, for then every head was the shortest, no length was indefinite and nothing trailed. All else goes to
# cbor_pure, which names the reason. (Writing is not here: for messages of this size cbor_pure writes as fast
# as cbor2.)
from typing import Any, NoReturn

import cbor2

from gatelink import cbor_pure
from gatelink.cbor_pure import MAX_DEPTH, MAX_INPUT, capped

# The tags that cbor2 builds objects from; every other tag reaches the hook.
_BUILT_IN_TAGS = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799,
)  # fmt: skip
_ODD = -1 << 40  # makes a sum of sizes match no input


def _refuse(*_: Any) -> NoReturn:
    raise cbor2.CBORDecodeError("tag")


_REFUSED_TAGS = dict.fromkeys(_BUILT_IN_TAGS, _refuse)


def _head_size(number: int) -> int:
    if number < 24:
        return 1
    if number < 0x100:
        return 2
    if number < 0x10000:
        return 3
    if number < 0x100000000:
        return 5
    return 9 if number < 0x10000000000000000 else _ODD


# -> bytes of the shortest encoding; far below zero when something in it is not for this path
def _size(value: Any, room: int) -> int:
    kind = type(value)
    if kind is int:
        return _head_size(value if value >= 0 else ~value)
    if kind is bytes:
        return _head_size(len(value)) + len(value)
    if kind is list or kind is tuple:
        size = _head_size(len(value)) if room else _ODD
        for item in value:
            size += _size(item, room - 1)
        return size
    if value is None or kind is bool:
        return 1
    if kind is str:
        length = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        return _head_size(length) + length
    return _ODD


# As cbor_pure.loads.
def loads(buffer: bytes | bytearray | memoryview, max_input: int = MAX_INPUT) -> Any:
    buffer = capped(buffer, max_input)
    try:
        value = cbor2.loads(
            buffer,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            semantic_decoders=_REFUSED_TAGS,
            tag_hook=_refuse,
        )
    except cbor2.CBORDecodeError:
        return cbor_pure.loads(buffer, max_input)
    if _size(value, MAX_DEPTH) == len(buffer):
        return value
    return cbor_pure.loads(buffer, max_input)


# As cbor_pure.loads_sequence. Read as one array of indefinite length; so an inner one of more than 23 items,
# whose indefinite form is no longer than the definite one, is left to cbor_pure.
def loads_sequence(buffer: bytes | bytearray | memoryview, max_input: int = MAX_INPUT) -> list[Any]:
    buffer = capped(buffer, max_input)
    try:
        values: list[Any] = cbor2.loads(
            b"\x9f" + buffer + b"\xff",
            max_depth=MAX_DEPTH + 1,
            semantic_decoders=_REFUSED_TAGS,
            tag_hook=_refuse,
        )
    except cbor2.CBORDecodeError:
        return cbor_pure.loads_sequence(buffer, max_input)
    size = sum([_size(value, MAX_DEPTH) for value in values])
    if size == len(buffer) and not _long_arrays(values):
        return values
    return cbor_pure.loads_sequence(buffer, max_input)


def _long_arrays(values: list[Any]) -> bool:
    return any(type(value) is list and (len(value) > 23 or _long_arrays(value)) for value in values)
