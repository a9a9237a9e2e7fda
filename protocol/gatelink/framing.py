# Layer: frames <-> bytes on a serial line: COBS(frame || CRC-16) 00. Resynchronises at every zero byte.
from gatelink import reasons
from gatelink.errors import FrameError

MAX_FRAME = 1024

try:
    from binascii import crc_hqx as _crc
except ImportError:  # MicroPython
    from array import array

    def _table() -> "array[int]":
        rows = []
        for high in range(256):
            crc = high << 8
            for _ in range(8):
                crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            rows.append(crc & 0xFFFF)
        return array("H", rows)

    _TABLE = _table()

    def _crc(data: bytes, crc: int) -> int:  # type: ignore[misc]  # CPython's takes any buffer
        table = _TABLE
        for byte in data:
            crc = ((crc & 0xFF) << 8) ^ table[(crc >> 8) ^ byte]
        return crc


# CRC-16/IBM-3740, also called CCITT-FALSE.
def crc16(data: bytes) -> int:
    return _crc(data, 0xFFFF)


# frame: 1..max_frame bytes -> what goes on the line, with the closing zero. Raises FrameError: TOO_LONG,
# TRUNCATED.
def encode(frame: bytes, max_frame: int = MAX_FRAME) -> bytes:
    if len(frame) > max_frame:
        raise FrameError(reasons.TOO_LONG)
    if not frame:
        raise FrameError(reasons.TRUNCATED, "empty frame")
    data = bytes(frame) + crc16(frame).to_bytes(2, "big")
    out = bytearray()
    runs = data.split(b"\0")
    last = len(runs) - 1
    for index, run in enumerate(runs):
        at = 0
        left = len(run)
        while left >= 254:
            out.append(255)
            out.extend(run[at : at + 254])
            at += 254
            left -= 254
        if left or index < last or not at:
            out.append(left + 1)
            out.extend(run[at:] if at else run)
    out.append(0)
    return bytes(out)


# How long the COBS form of a frame and its CRC can get.
def _max_block(max_frame: int) -> int:
    return max_frame + 3 + (max_frame + 2) // 254


# block: what stood between two zeros. Raises FrameError: BAD_COBS, TRUNCATED, BAD_CRC, TOO_LONG.
def decode_block(block: bytes, max_frame: int = MAX_FRAME) -> bytes:
    size = len(block)
    if size > _max_block(max_frame):
        raise FrameError(reasons.TOO_LONG)
    work = bytearray(block)
    full = []  # where a run of 254 ended: no zero stands there
    pos = 0
    while pos < size:
        code = work[pos]
        if not code:
            raise FrameError(reasons.BAD_COBS)
        work[pos] = 0
        pos += code
        if code == 255:
            full.append(pos)
    if pos > size:
        raise FrameError(reasons.BAD_COBS)
    data = bytes(work)
    start = 1
    if full:
        parts = []
        for end in full:
            parts.append(data[start:end])
            start = end + 1
        parts.append(data[start:])
        data = b"".join(parts)
    else:
        data = data[start:]
    if len(data) < 3:
        raise FrameError(reasons.TRUNCATED)
    if len(data) > max_frame + 2:
        raise FrameError(reasons.TOO_LONG)
    frame = data[:-2]
    if crc16(frame) != (data[-2] << 8 | data[-1]):
        raise FrameError(reasons.BAD_CRC)
    return frame


# Turns what a serial port delivers into frames; holds at most one encoded frame; never raises on bad input.
class Decoder:
    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self.max_frame = max_frame
        self.errors: "dict[str, int]" = {}
        self._max_tail = _max_block(max_frame)
        self._tail = b""
        self._skipping = False

    # data: as it came, cut anywhere -> the frames that it completed; what was dropped is counted in .errors.
    def feed(self, data: "bytes | bytearray | memoryview") -> "list[bytes]":
        blocks = bytes(data).split(b"\0")
        if len(blocks) > 1:
            if self._skipping:
                self._skipping = False
                blocks[0] = b""
            elif self._tail:
                blocks[0] = self._tail + blocks[0]
            self._tail = blocks.pop()
        elif self._skipping:
            return []
        else:
            self._tail += blocks.pop()
        frames = []
        for block in blocks:
            if block:
                try:
                    frames.append(decode_block(block, self.max_frame))
                except FrameError as error:
                    self._count(error.reason)
        if len(self._tail) > self._max_tail:
            self._count(reasons.TOO_LONG)
            self._tail = b""
            self._skipping = True
        return frames

    def _count(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1
