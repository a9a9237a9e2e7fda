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
        self._partition = partition
        self.size: int = partition.info()[3]

    # addr and len(buf) must lie inside one block
    def read_into(self, addr: int, buf: bytearray) -> None:
        self._do(self._partition.readblocks, addr // 4096, buf, addr % 4096)

    # the three-argument form never erases
    def program(self, addr: int, data: bytes) -> None:
        self._do(self._partition.writeblocks, addr // 4096, data, addr % 4096)

    def erase(self, block: int) -> None:
        self._do(self._partition.ioctl, 6, block)

    def _do(self, operation: "Any", *arguments: "Any") -> None:
        try:
            failed = operation(*arguments)
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
