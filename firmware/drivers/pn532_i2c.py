# Layer: the PN532 on I2C (UM0701-02, 6.2.4), so that it looks like a UART which delivers whole frames. Every read
# begins with a byte whose lowest bit says "ready"; while a frame waits, the IRQ line is low. A chip that is not
# there, or not yet awake, does not acknowledge its address.
from .pn532_frames import ACK

try:
    from typing import Any, Callable
except ImportError:
    pass

ADDRESS = 0x24
# the longest answer asked for: a card with a UID of 10 bytes and an ATS of 32
LONGEST = 64
_TRIES = 3
_WAKE_MS = 2  # its oscillator starts


# data: what one read brought behind its ready byte -> the frame in it; what follows a frame means nothing
def frame(data: bytes) -> bytes:
    start = data.find(b"\x00\xff")
    if start < 0 or len(data) < start + 4:
        return data
    size = data[start + 2]
    if (size, data[start + 3]) in ((0, 0xFF), (0xFF, 0)):
        return data[: start + 5]
    return data[: start + 6 + size]


class I2cPort:
    # i2c: readfrom(), writeto(), OSError without an acknowledge; irq: input pin; sleep_ms: waits that long
    def __init__(self, i2c: "Any", irq: "Any", sleep_ms: "Callable[[int], Any]") -> None:
        self._i2c = i2c
        self._irq = irq
        self._sleep_ms = sleep_ms
        self.errors = 0  # transfers that nobody acknowledged

    def any(self) -> int:
        return 0 if self._irq.value() else 1

    # -> a frame, None: not ready, or nobody there
    def read(self) -> "bytes | None":
        try:
            data = self._i2c.readfrom(ADDRESS, LONGEST + 1)
        except OSError:
            self.errors += 1
            return None
        return frame(data[1:]) if data[0] & 1 else None

    # Lost when nobody acknowledges: the state machine asks again.
    def write(self, data: bytes) -> None:
        if len(data) > len(ACK) and data.startswith(ACK):
            self._put(ACK)  # ends the command that runs: a transfer of its own
            data = data[len(ACK) :]
        self._put(data)

    def _put(self, data: bytes) -> None:
        for _ in range(_TRIES):
            try:
                self._i2c.writeto(ADDRESS, data)
                return
            except OSError:
                self.errors += 1
                self._sleep_ms(_WAKE_MS)
