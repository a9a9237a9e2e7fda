# Layer: Wiegand 26 and 34 bits -> credential bytes (3 or 4, as sent, leading zeros kept), with both parities.
import asyncio

try:
    from typing import Any, Callable
except ImportError:
    pass

# A frame is over when no bit came for this long; bits are 1-2 ms apart.
GAP_MS = 50
MAX_BITS = 40

# why a frame was not taken
SHORT = "short"
LONG = "long"
PARITY = "parity"


# bits: one 0 or 1 a byte, in the order received -> (credential | None, reason | "")
def decode(bits: "bytes | bytearray | memoryview") -> "tuple[bytes | None, str]":
    count = len(bits)
    if count not in (26, 34):
        return None, SHORT if count < 34 else LONG
    half = count // 2
    # the first half is even with its leading parity bit, the second odd with its trailing one
    if sum(bits[:half]) & 1 or not sum(bits[half:]) & 1:
        return None, PARITY
    value = 0
    for bit in bits[1:-1]:
        value = value << 1 | bit
    return value.to_bytes(count // 8, "big"), ""


# One reader. zero() and one() are called from the pins' interrupts and allocate nothing.
class Wiegand:
    # flag: an asyncio.ThreadSafeFlag; backwards: this reader sends a card's bytes in the opposite order
    def __init__(self, flag: "Any", backwards: bool = False) -> None:
        self._backwards = backwards
        self._bits = bytearray(MAX_BITS)
        self._count = 0
        self._flag = flag
        self.refused = {SHORT: 0, LONG: 0, PARITY: 0}

    def zero(self, _pin: "Any" = None) -> None:
        self._bit(0)

    def one(self, _pin: "Any" = None) -> None:
        self._bit(1)

    def _bit(self, bit: int) -> None:
        if self._count < MAX_BITS:
            self._bits[self._count] = bit
            self._count += 1
        self._flag.set()

    @property
    def count(self) -> int:
        return self._count

    # What arrived since the last call -> credential, or None (counted by reason). Call after the gap.
    def take(self) -> "bytes | None":
        count, self._count = self._count, 0
        if not count:
            return None
        credential, reason = decode(self._bits[:count])
        if reason:
            self.refused[reason] += 1
        if credential is not None and self._backwards:
            return bytes(reversed(credential))
        return credential

    # Waits for frames for ever and hands the credentials over.
    async def run(self, on_credential: "Callable[[bytes], None]") -> None:
        while True:
            await self._flag.wait()
            seen = 0
            while seen != self._count:
                seen = self._count
                await asyncio.sleep_ms(GAP_MS)
            credential = self.take()
            if credential is not None:
                on_credential(credential)
