# Raw NOR flash as the journal sees it: read anywhere, program (bits go 1 -> 0 only), erase a block to 0xFF.
from .errors import FlashError


# partition: an esp32.Partition (or the virtual board's). Offsets and sizes in bytes; a refused operation
# raises OSError.
class PartitionFlash:
    block_size = 4096

    def __init__(self, partition) -> None:
        self._partition = partition
        self.size = partition.info()[3]

    # addr and len(buf) must lie inside one block
    def read_into(self, addr: int, buf: bytearray) -> None:
        self._partition.readblocks(addr // 4096, buf, addr % 4096)

    # the three-argument form never erases
    def program(self, addr: int, data: bytes) -> None:
        self._partition.writeblocks(addr // 4096, data, addr % 4096)

    def erase(self, block: int) -> None:
        if self._partition.ioctl(6, block):
            raise FlashError("erase refused, block %d" % block)


# label: name in the partition table; FlashError when the board was flashed without it.
def find(label: str = "journal") -> PartitionFlash:
    from esp32 import Partition

    found = Partition.find(Partition.TYPE_DATA, label=label)
    if not found:
        raise FlashError("no partition " + label)
    return PartitionFlash(found[0])
