"""Layer: reads and writes the NVS area of a board's flash file; nvs.mjs describes the format."""

import json
import struct
import zlib
from pathlib import Path

FLASH_SIZE = 0x400000
NVS_OFFSET = 0x9000
NVS_SIZE = 0x6000
JOURNAL_OFFSET = 0x200000
JOURNAL_SIZE = 0x200000
_HALF = NVS_SIZE // 2
_HEAD = struct.Struct("<4sIII")

Entries = dict[str, dict[str, int | bytes]]


def ensure_flash(path: Path) -> None:
    """Makes an erased flash file where there is none."""
    if not path.exists():
        path.write_bytes(b"\xff" * FLASH_SIZE)


def _load(half: bytes) -> tuple[int, Entries] | None:
    """(generation, {namespace: {key: int or bytes}}) of one copy, None when it is not whole."""
    magic, generation, length, crc = _HEAD.unpack_from(half)
    body = half[_HEAD.size : _HEAD.size + length]
    if magic != b"GNVS" or zlib.crc32(half[4:12] + body) != crc:
        return None
    return generation, {
        space: {key: value if kind == "i32" else bytes.fromhex(value) for key, (kind, value) in keys.items()}
        for space, keys in json.loads(body).items()
    }


def read(path: Path) -> Entries:
    """{namespace: {key: int or bytes}} of the newest whole copy; empty when there is none."""
    newest: tuple[int, Entries] = (0, {})
    with path.open("rb") as flash:
        flash.seek(NVS_OFFSET)
        for _ in range(2):
            copy = _load(flash.read(_HALF))
            if copy is not None and copy[0] > newest[0]:
                newest = copy
    return newest[1]


def write(path: Path, entries: Entries) -> None:
    """Replaces the whole NVS area. Numbers are signed 32 bit. Raises ValueError when it does not fit."""
    data = {
        space: {
            key: ["i32", value] if isinstance(value, int) else ["blob", value.hex()]
            for key, value in keys.items()
        }
        for space, keys in entries.items()
    }
    body = json.dumps(data, separators=(",", ":")).encode()
    if len(body) > _HALF - _HEAD.size:
        raise ValueError("NVS is full")
    counted = struct.pack("<II", 1, len(body))
    copy = b"GNVS" + counted + struct.pack("<I", zlib.crc32(counted + body)) + body
    ensure_flash(path)
    with path.open("r+b") as flash:
        flash.seek(NVS_OFFSET)
        flash.write(copy.ljust(NVS_SIZE, b"\xff"))


def signed(value: int) -> int:
    """A u32 as the i32 that NVS holds."""
    return value - (1 << 32) if value & 0x80000000 else value
