# Raw NOR flash as the journal sees it: read anywhere, program (bits go 1 -> 0 only), erase a block to 0xFF.
from .errors import FlashError

try:
    from typing import Any
except ImportError:
    pass


# partition: an esp32.Partition (or the virtual board's). Offsets and sizes in bytes. Raises FlashError.
class PartitionFlash:
    block_size = 4096

    def __init__(self, partition: "Any") -> None:
        self._read = partition.readblocks
        self._write = partition.writeblocks
        self._control = partition.ioctl
        self.size: int = partition.info()[3]

    # Reading and programming allocate nothing. addr and len(buf) must lie inside one block.
    def read_into(self, addr: int, buf: bytearray) -> None:
        self._do(self._read, addr // 4096, buf, addr % 4096)

    # the three-argument form never erases
    def program(self, addr: int, data: bytes) -> None:
        self._do(self._write, addr // 4096, data, addr % 4096)

    def erase(self, block: int) -> None:
        self._do(self._control, 6, block, None)

    def _do(self, operation: "Any", first: int, second: "Any", offset: "int | None") -> None:
        try:
            failed = operation(first, second) if offset is None else operation(first, second, offset)
        except OSError as problem:
            raise FlashError(str(problem)) from None
        if failed:
            raise FlashError("refused: %d" % failed)


# label: name in the partition table; FlashError when the board was flashed without it.
def find(label: str = "journal") -> PartitionFlash:
    from esp32 import Partition

    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise FlashError("no partition " + label)
    return PartitionFlash(found[0])
