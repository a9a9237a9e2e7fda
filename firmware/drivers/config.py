# Layer: /config.json -> checked values. A bad value never stops the device: the default holds, the problem is
# named.
import json
from binascii import unhexlify

from .uid import parse

try:
    from typing import Any, Callable
except ImportError:
    pass


# -> a check for whole numbers; a check returns the value to use or raises ValueError with what would be right
def whole(least: int, most: int) -> "Callable[[Any], int]":
    def check(value: "Any") -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError("whole number %d to %d" % (least, most))
        return value

    return check


# shorter than this, a slow erase or a full tag's start-up would trip it
_WATCHDOG_S = 10


def watchdog(value: "Any") -> int:
    if type(value) is not int or not (value == 0 or _WATCHDOG_S <= value <= 300):
        raise ValueError("0 (none) or whole number %d to 300" % _WATCHDOG_S)
    return value


def yes_no(value: "Any") -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


# list of hex -> list of UIDs
def uids(value: "Any") -> "list[bytes]":
    if type(value) is not list:
        raise ValueError("list of UIDs in hex")
    found = []
    for item in value:
        if type(item) is not str:
            raise ValueError("list of UIDs in hex")
        try:
            found.append(parse(item))
        except ValueError:
            raise ValueError("%s: a UID is 4, 7 or 10 bytes in hex" % item[:24]) from None
    return found


# list of hex -> list of public keys X || Y
def public_keys(value: "Any") -> "list[bytes]":
    if type(value) is list and len(value) <= 4:
        try:
            found = [unhexlify(item) for item in value]
        except (ValueError, TypeError):
            found = [b""]
        if all(len(key) == 64 for key in found):
            return found
    raise ValueError("up to 4 public keys, 128 hex digits each")


def name(value: "Any") -> str:
    if type(value) is not str or not 0 < len(value) <= 32:
        raise ValueError("text of 1 to 32 characters")
    return value


# Left to another part to check, item by item.
def as_list(value: "Any") -> "list[Any]":
    if type(value) is not list:
        raise ValueError("list")
    return value


# schema: key -> (default, check) -> (values, problems); problems: "key: what would be right", worst first.
# A key that begins with "_" is a comment.
def check(raw: "Any", schema: "dict[str, tuple[Any, Any]]") -> "tuple[dict[str, Any], list[str]]":
    values = {}
    problems = []
    for key, (default, _) in schema.items():
        values[key] = default
    if type(raw) is not dict:
        return values, ["config: not an object"]
    for key, value in raw.items():
        if key.startswith("_"):
            continue
        if key not in schema:
            problems.append("%s: unknown key" % key[:24])
            continue
        try:
            values[key] = schema[key][1](value)
        except ValueError as error:
            problems.append("%s: %s" % (key, error))
    problems.sort()
    return values, problems


# path: a JSON file -> as check(). No file is a problem too: somebody forgot to provision.
def load(path: str, schema: "dict[str, tuple[Any, Any]]") -> "tuple[dict[str, Any], list[str]]":
    try:
        with open(path) as source:
            raw = json.load(source)
    except OSError:
        return check({}, schema)[0], ["config: no file"]
    except ValueError:
        return check({}, schema)[0], ["config: not JSON"]
    return check(raw, schema)
