# Layer: PN532 frames (user manual UM0701-02, 6.2.1): bytes <-> (command, data). Sans-IO, bounded.
try:
    from typing import Any
except ImportError:
    pass

ACK = b"\x00\x00\xff\x00\xff\x00"
NACK = b"\x00\x00\xff\xff\x00\x00"
# wakes the chip's UART out of power-down: long enough for its oscillator
WAKE = b"\x55\x55" + b"\x00" * 14

# what feed() returns besides (command, data)
GOT_ACK = (-1, b"")
GOT_NACK = (-2, b"")
GOT_ERROR = (-3, b"")  # the chip's syntax error frame
GOT_DAMAGED = (-4, b"")  # a frame whose checksum is wrong: ask again

_TO_CHIP = 0xD4
_FROM_CHIP = 0xD5
_MAX_BUFFER = 300


# command: code; data: at most 253 bytes -> a whole normal frame
def build(command: int, data: bytes = b"") -> bytes:
    size = len(data) + 2
    checksum = -(_TO_CHIP + command + sum(data)) & 0xFF
    return bytes((0, 0, 0xFF, size, -size & 0xFF, _TO_CHIP, command)) + data + bytes((checksum, 0))


class Parser:
    def __init__(self) -> None:
        self._buffer = b""
        self.garbage = 0  # bytes that belonged to no frame

    # True while a frame is under way. Noise may look like the head of a long one: after a while call skip().
    @property
    def partial(self) -> bool:
        return len(self._buffer) > 2

    # data: what came in, any cut -> [(command, data) | GOT_*]
    def feed(self, data: bytes) -> "list[tuple[int, bytes]]":
        self._buffer += data
        found: "list[Any]" = []
        while True:
            item = self._next()
            if item is None:
                break
            found.append(item)
        if len(self._buffer) > _MAX_BUFFER:
            self._drop(len(self._buffer) - _MAX_BUFFER)
        return found

    # Gives up the frame under way and looks for one behind its head.
    def skip(self) -> "list[tuple[int, bytes]]":
        self._drop(min(2, len(self._buffer)))
        return self.feed(b"")

    def reset(self) -> None:
        self._buffer = b""

    def _drop(self, count: int) -> None:
        self.garbage += count
        self._buffer = self._buffer[count:]

    def _next(self) -> "Any":
        while True:
            start = self._buffer.find(b"\x00\xff")
            if start < 0:
                # a start code may be cut in two
                keep = 1 if self._buffer[-1:] == b"\x00" else 0
                self._drop(len(self._buffer) - keep)
                return None
            if start:
                self.garbage += start if start > 1 or self._buffer[0] else 0  # one 00 is the preamble
                self._buffer = self._buffer[start:]
            if len(self._buffer) < 4:
                return None
            size = self._buffer[2]
            check = self._buffer[3]
            if size == 0 and check == 0xFF:
                self._take(4)
                return GOT_ACK
            if size == 0xFF and check == 0:
                self._take(4)
                return GOT_NACK
            # extended frames carry more than a UID ever needs: not spoken here
            if size == 0 or (size + check) & 0xFF or size == 0xFF:
                self._drop(2)
                continue
            if len(self._buffer) < 5 + size:
                return None
            body = self._buffer[4 : 5 + size]
            if sum(body) & 0xFF:
                self._drop(2)
                return GOT_DAMAGED
            self._take(5 + size)
            if size == 1:
                return GOT_ERROR
            if body[0] == _FROM_CHIP:
                return (body[1], body[2:-1])
            self.garbage += 5 + size

    # The frame and its postamble, when that is already there; a late one counts as the next preamble.
    def _take(self, count: int) -> None:
        if self._buffer[count : count + 1] == b"\x00" and self._buffer[count + 1 : count + 2] != b"\xff":
            count += 1
        self._buffer = self._buffer[count:]
