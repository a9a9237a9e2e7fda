# Layer: as framing.Decoder, faster, on CPython; not shipped to devices. The frames of one device begin alike
# (its number and its boot, with most of a header's zeros), so what the start of a block stands for is worked
# out once. The short way only ever says yes; all else goes to framing.decode_block, which names the reason.
from binascii import crc_hqx

from gatelink import framing
from gatelink.errors import FrameError

_ALIKE = 18  # bytes of a frame that may be remembered: the header up to the counter's upper half


class Decoder(framing.Decoder):
    def __init__(self, max_frame: int = framing.MAX_FRAME) -> None:
        super().__init__(max_frame)
        # How the last frame began on the line up to one of its zeros, and in itself; ends where a code stands.
        self._start = b""
        self._head = b""

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        if self._skipping:
            return super().feed(data)
        *blocks, tail = (self._tail + data).split(b"\0")
        self._tail = b""
        frames = self._decode(blocks) if blocks else []
        return frames + super().feed(tail)

    def _decode(self, blocks: list[bytes]) -> list[bytes]:
        start, head, most = self._start, self._head, self.max_frame
        at = len(start)
        head_crc = crc_hqx(head, 0xFFFF)
        frames = []
        for block in blocks:
            size = len(block)
            if at and at + 3 < size <= most and block.startswith(start):
                tail = block[at + 1 :] if block[at] == size - at else _unstuffed(block, at)
                # A CRC behind what it was made of leaves nothing.
                if not crc_hqx(tail, head_crc) and len(tail) > 2:
                    frames.append(head + tail[:-2])
                    continue
            if size:
                try:
                    frame = framing.decode_block(block, most)
                except FrameError as error:
                    self._count(error.reason)
                    continue
                frames.append(frame)
                at = _last_code(block)
                start, head = block[:at], frame[:at]
                head_crc = crc_hqx(head, 0xFFFF)
        self._start, self._head = start, head
        return frames


# Where the last code stands that begins no later than _ALIKE. block: a good one. All that is before it stands
# for as many bytes of the frame, not of its CRC: a code more at the front, a zero more at the end.
def _last_code(block: bytes) -> int:
    at = 0
    while (following := at + block[at]) <= _ALIKE and following < len(block) - 2:
        at = following
    return at


# What block stands for from the code at `pos` on; empty when a code leads beyond the end.
def _unstuffed(block: bytes, pos: int) -> bytes:
    work = bytearray(block)
    size = len(block)
    first = pos
    full = []
    while pos < size:
        code = work[pos]
        work[pos] = 0
        pos += code
        if code == 255:
            full.append(pos)
    if pos > size:
        return b""
    if not full:
        return bytes(work[first + 1 :])
    parts = []
    for end in full:
        parts.append(work[first + 1 : end])
        first = end
    parts.append(work[first + 1 :])
    return b"".join(parts)
