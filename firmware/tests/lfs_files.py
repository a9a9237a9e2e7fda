"""Real littlefs on a NOR flash that keeps a log of its operations, behind the file interface of boot and update."""

import random
from dataclasses import dataclass, field

from littlefs import LittleFSError, UserContext, lfs

BLOCK = 4096
FS_BLOCKS = 48
JOURNAL_BLOCKS = 8
# As the ESP32 port of MicroPython mounts it.
GEOMETRY = {
    "block_size": BLOCK,
    "read_size": 32,
    "prog_size": 32,
    "cache_size": 128,
    "lookahead_size": 32,
    "block_cycles": 100,
}
TORN = ("before", "half", "scattered")


@dataclass
class Op:
    """One flash operation: erase of a block (data is None) or program of data."""

    addr: int
    data: bytes | None


@dataclass
class Flash(UserContext):
    """The whole chip: file system first, then the journal's partition, which nothing here may touch."""

    image: bytearray
    ops: list[Op] = field(default_factory=list)
    reprogrammed: int = 0

    def read(self, cfg, block, off, size):
        at = block * BLOCK + off
        return bytes(self.image[at : at + size])

    def prog(self, cfg, block, off, data):
        op = Op(block * BLOCK + off, bytes(data))
        self.ops.append(op)
        old = self.image[op.addr : op.addr + len(data)]
        self.reprogrammed += old != b"\xff" * len(old)
        apply(self.image, op)
        return 0

    def erase(self, cfg, block):
        op = Op(block * BLOCK, None)
        self.ops.append(op)
        apply(self.image, op)
        return 0

    def sync(self, cfg):
        return 0


def apply(image: bytearray, op: Op) -> None:
    """Does the operation as NOR does: programs clear bits, erases set them."""
    if op.data is None:
        image[op.addr : op.addr + BLOCK] = b"\xff" * BLOCK
    else:
        end = op.addr + len(op.data)
        image[op.addr : end] = _and(image[op.addr : end], op.data)


def _and(one: bytes, two: bytes) -> bytes:
    return (int.from_bytes(one, "big") & int.from_bytes(two, "big")).to_bytes(len(one), "big")


def _or(one: bytes, two: bytes) -> bytes:
    return (int.from_bytes(one, "big") | int.from_bytes(two, "big")).to_bytes(len(one), "big")


def cut(image: bytes, op: Op, how: str, rng: random.Random) -> bytearray:
    """The image when power goes before, half through (in order), or half through (any bits) an operation."""
    left = bytearray(image)
    size = BLOCK if op.data is None else len(op.data)
    end = op.addr + size
    old = bytes(left[op.addr : end])
    new = b"\xff" * size if op.data is None else _and(old, op.data)
    if how == "half":
        left[op.addr : op.addr + size // 2] = new[: size // 2]
    elif how == "scattered":
        mask = rng.randbytes(size)
        left[op.addr : end] = _or(old, _and(new, mask)) if op.data is None else _and(old, _or(new, mask))
    return left


def fresh(blocks: int = FS_BLOCKS) -> bytearray:
    """A formatted chip with something in the journal's partition."""
    image = bytearray(b"\xff" * (blocks * BLOCK)) + random.Random(1).randbytes(JOURNAL_BLOCKS * BLOCK)
    lfs.format(lfs.LFSFilesystem(), lfs.LFSConfig(context=Flash(image), **GEOMETRY | {"block_count": blocks}))
    return image


class LfsFile:
    def __init__(self, fs, handle) -> None:
        self._fs = fs
        self._handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, size):
        return _call(lfs.file_read, self._fs, self._handle, size)

    def write(self, data):
        return _call(lfs.file_write, self._fs, self._handle, bytes(data))

    def seek(self, at):
        return _call(lfs.file_seek, self._fs, self._handle, at, 0)

    def flush(self):
        _call(lfs.file_sync, self._fs, self._handle)

    def close(self):
        if self._handle is not None:
            handle, self._handle = self._handle, None
            _call(lfs.file_close, self._fs, handle)


def _call(function, *args):
    try:
        return function(*args)
    except LittleFSError as error:
        raise OSError(-error.code, str(error)) from None


class LfsFiles:
    """boot.Files on littlefs: mounts the image as it is."""

    def __init__(self, flash: Flash) -> None:
        self._fs = lfs.LFSFilesystem()
        blocks = len(flash.image) // BLOCK - JOURNAL_BLOCKS
        self._config = lfs.LFSConfig(context=flash, **GEOMETRY | {"block_count": blocks})
        _call(lfs.mount, self._fs, self._config)

    def open(self, path, mode):
        flags = {
            "rb": lfs.LFSFileFlag.rdonly,
            "wb": lfs.LFSFileFlag.wronly | lfs.LFSFileFlag.creat | lfs.LFSFileFlag.trunc,
            # The binding's own "a" does not create the file; MicroPython's does.
            "ab": lfs.LFSFileFlag.wronly | lfs.LFSFileFlag.creat | lfs.LFSFileFlag.append,
        }[mode]
        return LfsFile(self._fs, _call(lfs.file_open, self._fs, path, flags))

    def rename(self, old, new):
        _call(lfs.rename, self._fs, old, new)

    def remove(self, path):
        _call(lfs.remove, self._fs, path)

    def stat(self, path):
        found = _call(lfs.stat, self._fs, path)
        return (0x4000 if found.type == 2 else 0x8000, 0, 0, 0, 0, 0, found.size)

    def listdir(self, path):
        names = []
        folder = _call(lfs.dir_open, self._fs, path)
        while (entry := _call(lfs.dir_read, self._fs, folder)) is not None:
            if entry.name not in (".", ".."):
                names.append(entry.name)
        _call(lfs.dir_close, self._fs, folder)
        return names

    def mkdir(self, path):
        _call(lfs.mkdir, self._fs, path)

    def sync(self):
        pass

    def blocks_used(self) -> int:
        return _call(lfs.fs_size, self._fs)
