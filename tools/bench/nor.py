"""Layer: NOR flash that counts what is done to it: as the journal sees it, and as littlefs does."""

from __future__ import annotations

from typing import Any

from littlefs import LittleFSError, UserContext, lfs

BLOCK = 4096
# As the ESP32 port of MicroPython mounts it.
GEOMETRY = {
    "block_size": BLOCK,
    "read_size": 32,
    "prog_size": 32,
    "cache_size": 128,
    "lookahead_size": 32,
    "block_cycles": 100,
}


class Nor:
    """node.journal's flash: `wear` erases of each block, `programmed` bytes."""

    block_size = BLOCK

    def __init__(self, blocks: int) -> None:
        self.size = blocks * BLOCK
        self.data = bytearray(b"\xff" * self.size)
        self.wear = [0] * blocks
        self.programmed = 0
        self.reads = 0

    def read_into(self, addr: int, buf: bytearray) -> None:
        self.reads += 1
        buf[:] = self.data[addr : addr + len(buf)]

    def program(self, addr: int, data: bytes) -> None:
        self.programmed += len(data)
        old = int.from_bytes(self.data[addr : addr + len(data)], "big")
        self.data[addr : addr + len(data)] = (old & int.from_bytes(data, "big")).to_bytes(len(data), "big")

    def erase(self, block: int) -> None:
        self.wear[block] += 1
        self.data[block * BLOCK : (block + 1) * BLOCK] = b"\xff" * BLOCK


class LittlefsFlash(UserContext):
    """littlefs' block device on such a flash."""

    def __init__(self, nor: Nor) -> None:
        self._nor = nor

    def read(self, _cfg: Any, block: int, off: int, size: int) -> bytearray:
        at = block * BLOCK + off
        return self._nor.data[at : at + size]

    def prog(self, _cfg: Any, block: int, off: int, data: bytes) -> int:
        self._nor.program(block * BLOCK + off, bytes(data))
        return 0

    def erase(self, _cfg: Any, block: int) -> int:
        self._nor.erase(block)
        return 0

    def sync(self, _cfg: Any) -> int:
        return 0


class Marks:
    """node.journal's marks, as an NVS keeps them; `commits` of two entries each."""

    def __init__(self) -> None:
        self.acked = 0
        self.seqmin = 0
        self.commits = 0

    def get_acked(self) -> int:
        return self.acked

    def get_seqmin(self) -> int:
        return self.seqmin

    def store(self, acked: int, seqmin: int) -> None:
        self.acked, self.seqmin = acked, seqmin
        self.commits += 1


# The binding's stubs do not know the flags' names.
def _flag(name: str) -> Any:
    return getattr(lfs.LFSFileFlag, name)


def littlefs_appends(nor: Nor, events: int, size: int, most: int) -> None:
    """One file, appended to and synced for each event; begun anew when it holds `most` events."""
    system = lfs.LFSFilesystem()
    config = lfs.LFSConfig(context=LittlefsFlash(nor), **GEOMETRY | {"block_count": nor.size // BLOCK})
    lfs.format(system, config)
    lfs.mount(system, config)
    flags = _flag("wronly") | _flag("creat") | _flag("append")
    file = lfs.file_open(system, "journal", flags)
    try:
        for number in range(events):
            if number and number % most == 0:
                lfs.file_close(system, file)
                lfs.remove(system, "journal")
                file = lfs.file_open(system, "journal", flags)
            lfs.file_write(system, file, number.to_bytes(4, "big") * (size // 4))
            lfs.file_sync(system, file)
        lfs.file_close(system, file)
    except LittleFSError as error:
        raise RuntimeError(f"littlefs gave up after {number} events: {error}") from error
