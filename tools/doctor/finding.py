"""Layer: what a check found; pure."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    """How bad; also the exit code of the whole when it is the worst."""

    OK = 0
    WARNING = 1
    FAULT = 2


class Finding(NamedTuple):
    """One sentence: `key` names it in texts.py, `values` fill it in."""

    check: str
    level: Level
    key: str
    values: tuple[object, ...] = ()


def ok(check: str, key: str, *values: object) -> Finding:
    """Nothing to do."""
    return Finding(check, Level.OK, key, values)


def warning(check: str, key: str, *values: object) -> Finding:
    """It works, but not for ever or not as well as it could."""
    return Finding(check, Level.WARNING, key, values)


def fault(check: str, key: str, *values: object) -> Finding:
    """Events are not collected, not kept or not delivered until this is mended."""
    return Finding(check, Level.FAULT, key, values)
