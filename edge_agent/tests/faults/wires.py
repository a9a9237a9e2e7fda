"""Layer: wires with a fault, one class for each, seeded: they stand where bytes leave a device and come to it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from edge_agent.tests.device import PtyWire, UdpWire
from gatelink import framing


class LossyUdp(UdpWire):
    """Datagrams are lost, doubled and overtake each other, in both directions."""

    LOSS, DOUBLED, LATEST_S = 0.3, 0.2, 0.02

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random()
        self.sent = self.lost = self.doubled = 0

    def seed(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def _fates(self) -> list[float]:
        """When each copy arrives, in seconds from now."""
        self.sent += 1
        copies = 1 + (self.rng.random() < self.DOUBLED)
        self.doubled += copies - 1
        found = [self.rng.random() * self.LATEST_S for _ in range(copies) if self.rng.random() >= self.LOSS]
        self.lost += copies - len(found)
        return found

    def send(self, frame: bytes) -> None:
        for in_s in self._fates():
            asyncio.get_running_loop().call_later(in_s, self._out, frame)

    def _out(self, frame: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(frame)

    def deliver(self, frame: bytes) -> None:
        for in_s in self._fates():
            asyncio.get_running_loop().call_later(in_s, self.inbox.put_nowait, frame)


class SeededPty(PtyWire):
    """A serial line with a fault."""

    def __init__(self, link: Path, seed: int) -> None:
        super().__init__(link)
        self.rng = random.Random(seed)
        self.faults = 0


class NoisyPty(SeededPty):
    """Bytes come in between, are lost, or change."""

    def send(self, frame: bytes) -> None:
        data = bytearray(framing.encode(frame))
        fate = self.rng.random()
        if fate < 0.3:
            self.faults += 1
            at = self.rng.randrange(len(data))
            if fate < 0.1:
                data[at] ^= 1 << self.rng.randrange(8)
            elif fate < 0.2:
                del data[at]
            else:
                data[at:at] = self.rng.randbytes(self.rng.randrange(1, 40))
        self.raw(bytes(data))


class SlowPty(SeededPty):
    """One byte at a time."""

    def send(self, frame: bytes) -> None:
        self.faults += 1
        for byte in framing.encode(frame):
            self.raw(bytes([byte]))


class MergedPty(SeededPty):
    """Frames wait for others, then come in one piece, cut anywhere but between them."""

    def __init__(self, link: Path, seed: int) -> None:
        super().__init__(link, seed)
        self._waiting = b""

    def send(self, frame: bytes) -> None:
        self._waiting += framing.encode(frame)
        if self.rng.random() < 0.4:
            self.faults += 1
            keep = self.rng.randrange(min(len(self._waiting), 20))
            self.raw(self._waiting[: len(self._waiting) - keep])
            self._waiting = self._waiting[len(self._waiting) - keep :]


class VanishingPty(SeededPty):
    """The port goes away in the middle of a frame, and comes back."""

    OFTEN, LONGEST_S = 0.3, 0.1

    def __init__(self, link: Path, seed: int) -> None:
        self._answered = False  # since it was plugged in: only then the agent surely has it open
        super().__init__(link, seed)

    def unplug(self) -> None:
        self._answered = False
        super().unplug()

    def deliver(self, frame: bytes) -> None:
        self._answered = True
        super().deliver(frame)

    def send(self, frame: bytes) -> None:
        if not self._answered or self.rng.random() >= self.OFTEN:
            super().send(frame)
            return
        data = framing.encode(frame)
        self.raw(data[: self.rng.randrange(len(data))])
        self.unplug()
        self.faults += 1
        self._back = asyncio.get_running_loop().call_later(self.rng.random() * self.LONGEST_S, self.plug)

    def close(self) -> None:
        if self.faults:
            self._back.cancel()
        super().close()
