# Host only: a journal out of a flash image, for tools and tests. Never shipped to a device.
from .errors import FlashError
from .journal import Journal


# Read-only flash over bytes.
class ImageFlash:
    def __init__(self, data: bytes, block_size: int = 4096) -> None:
        self._data = data
        self.size = len(data)
        self.block_size = block_size

    def read_into(self, addr: int, buf: bytearray) -> None:
        buf[:] = self._data[addr : addr + len(buf)]

    def program(self, addr: int, data: bytes) -> None:
        raise FlashError("an image is read-only")

    def erase(self, block: int) -> None:
        raise FlashError("an image is read-only")


# image: the whole partition. Returns the mounted journal: scan(), read(), first_seq, next_seq, chain().
def open_image(image: bytes, block_size: int = 4096) -> Journal:
    journal = Journal(ImageFlash(image, block_size), b"", None)
    journal.mount()
    return journal
