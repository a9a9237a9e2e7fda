"""Layer: the partition table of a device: a CSV as ESP-IDF writes it -> the bytes at 0x8000, and back."""

from __future__ import annotations

import csv
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tools.errors import ToolError

TABLE_AT = 0x8000
TABLE_SIZE = 0xC00
SECTOR = 0x1000
APP_ALIGN = 0x10000
TYPES = {"app": 0, "data": 1}
SUBTYPES = {
    ("app", "factory"): 0x00, ("app", "ota_0"): 0x10, ("app", "ota_1"): 0x11,
    ("data", "ota"): 0x00, ("data", "phy"): 0x01, ("data", "nvs"): 0x02, ("data", "fat"): 0x81,
}  # fmt: skip
_ENTRY = struct.Struct("<HBBII16sI")
_MAGIC = 0x50AA
_MD5_HEAD = b"\xeb\xeb" + b"\xff" * 14


class Part(NamedTuple):
    """One partition; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int


def load(path: Path) -> list[Part]:
    """The rows of a CSV: name, type, subtype, offset, size. Raises ToolError, with the line."""
    parts: list[Part] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ToolError(f"{path}: can't be read: {error.strerror}") from error
    for number, row in enumerate(csv.reader(lines), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        try:
            label, kind, subtype, offset, size = cells[:5]
            named = SUBTYPES.get((kind, subtype))
            parts.append(
                Part(label, TYPES[kind], int(subtype, 0) if named is None else named, int(offset, 0), int(size, 0))
            )
        except (ValueError, KeyError) as error:
            raise ToolError(f"{path}:{number}: right is: name, app or data, subtype, offset, size") from error
    check(parts, path.name)
    return parts


def check(parts: Sequence[Part], name: str) -> None:
    """Raises ToolError when partitions overlap, lie crookedly, or what the firmware needs is missing."""
    end = TABLE_AT + SECTOR
    for part in sorted(parts, key=lambda part: part.offset):
        align = APP_ALIGN if part.type == TYPES["app"] else SECTOR
        if part.offset < end or part.offset % align or part.size % SECTOR or not part.size:
            raise ToolError(f"{name}: partition {part.label} overlaps the one before, or is not aligned")
        if len(part.label.encode()) > 16:
            raise ToolError(f"{name}: the name {part.label} is longer than 16 bytes")
        end = part.offset + part.size
    missing = {"nvs", "factory", "journal", "vfs"} - {part.label for part in parts}
    if missing:
        raise ToolError(f"{name}: no partition {', '.join(sorted(missing))}")


def to_bytes(parts: Sequence[Part]) -> bytes:
    """The table as the bootloader reads it, with its MD5, 3 KiB."""
    table = b"".join(
        _ENTRY.pack(_MAGIC, part.type, part.subtype, part.offset, part.size, part.label.encode(), 0) for part in parts
    )
    table += _MD5_HEAD + hashlib.md5(table, usedforsecurity=False).digest()
    return table.ljust(TABLE_SIZE, b"\xff")


def from_bytes(table: bytes) -> list[Part]:
    """The partitions of a table. Raises ToolError when it is none, or damaged."""
    parts = []
    for at in range(0, len(table) - 31, 32):
        entry = table[at : at + 32]
        if entry == b"\xff" * 32:
            break
        if entry.startswith(_MD5_HEAD):
            if entry[16:] != hashlib.md5(table[:at], usedforsecurity=False).digest():
                raise ToolError("the partition table's checksum is wrong")
            break
        magic, kind, subtype, offset, size, label, _flags = _ENTRY.unpack(entry)
        if magic != _MAGIC:
            raise ToolError("no partition table there")
        parts.append(Part(label.rstrip(b"\0").decode(errors="replace"), kind, subtype, offset, size))
    return parts
