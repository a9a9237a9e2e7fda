# Layer: what a field of a message or an event may hold; each function makes a check: value -> bool.
try:
    from typing import Any, Callable
except ImportError:
    pass


# 0..top
def uint(top: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is int and 0 <= value <= top


# low..high
def between(low: int, high: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is int and low <= value <= high


# exactly one of these lengths in bytes
def octets(*sizes: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is bytes and len(value) in sizes


def octets_upto(top: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is bytes and len(value) <= top


# at most top bytes of UTF-8
def text(top: int) -> "Callable[[Any], bool]":
    return lambda value: type(value) is str and len(value.encode()) <= top


# null, or what the other check lets pass
def maybe(check: "Callable[[Any], bool]") -> "Callable[[Any], bool]":
    return lambda value: value is None or check(value)


def array(*checks: "Callable[[Any], bool]") -> "Callable[[Any], bool]":
    return lambda value: type(value) in (list, tuple) and len(value) == len(checks) and fits(value, checks)


# Checks as many values as there are, or as there are checks for.
def fits(values: "Any", checks: "Any") -> bool:
    for value, check in zip(values, checks):  # noqa: B905, SIM110  # MicroPython has no strict; a loop allocates less
        if not check(value):
            return False
    return True


u8 = uint(0xFF)
u16 = uint(0xFFFF)
u24 = uint(0xFFFFFF)
u32 = uint(0xFFFFFFFF)
u40 = uint(0xFFFFFFFFFF)
u48 = uint(0xFFFFFFFFFFFF)
uid = octets(4, 7, 10)
