"""Layer: a device that runs the firmware's own uplink and journal, under CPython, on any wire."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from edge_agent.tests.device import Wire
from gatelink import cose, events, framing, messages
from tools import device_code

device_code.use()

from firmware.tests.nor import Marks, Nor  # noqa: E402
from node.clock import Clock  # noqa: E402
from node.journal import Journal  # noqa: E402
from node.uplink import Uplink  # noqa: E402

SPEED = 20  # so many times as fast as real time; the agent's rehearsal clock runs the same way
BLOCKS = 16
_LONGEST_WAIT_S = 0.05

__all__ = ["SPEED", "Tag", "framing"]


class _Keys:
    """What an uplink needs of a keystore."""

    def __init__(self, device: int) -> None:
        self.keys = cose.derive(bytes([device]) * 32, device, 0)
        self.piv = 1 << 16
        self.other = None
        self.trying = False
        self.epoch = 0

    def next_piv(self) -> int:
        self.piv += 1
        return self.piv


class Tag:
    """One device: `journal` is what it minted, as the simulated one has it."""

    def __init__(self, device: int, wire: Wire, seed: int) -> None:
        self.device = device
        self.wire = wire
        self.event_key = bytes([device]) * 32
        self.rng = random.Random(seed * 1_000 + device)
        self.journal: dict[int, tuple[int, int, bytes]] = {}
        self._marks = Marks()
        self._flash = Nor(BLOCKS, 4096, seed)
        self._keys = _Keys(device)
        self.boot = 0
        self.reboot()

    def reboot(self) -> None:
        """The battery was out: only flash and keys are left."""
        self.boot += 1
        self._keys.piv = self.boot << 16
        self.clock = Clock(lambda: int(time.monotonic() * 1000 * SPEED) & 0x3FFFFFFF)
        self.flash = Journal(self._flash, self.event_key, self._marks)
        self.flash.mount()
        self.uplink: Any = Uplink(
            self.flash, self.clock, self._keys, self.boot, self.rng.randbytes(8), messages.TAG_ROLE, "faults",
            lambda action, argument: (messages.DONE, ""), lambda: self.rng.getrandbits(8), lambda: 3_900,
        )  # fmt: skip

    @property
    def last_seq(self) -> int:
        return len(self.journal)

    @property
    def acked(self) -> int:
        """Up to here the device gave its events up."""
        return int(self._marks.acked) if self.flash.pending else self.last_seq

    def mint(self, kind: int = events.VISIT, *fields: Any) -> int:
        """One more event in flash."""
        if not fields and kind == events.VISIT:
            fields = (self.rng.randbytes(7),)
        payload = events.encode(kind, *fields)
        uptime_cs = self.clock.uptime_ms() // 10
        seq = int(self.flash.append(self.boot, uptime_cs, payload))
        self.journal[seq] = (self.boot, uptime_cs, payload)
        if events.class_of(kind) == events.ALARM:
            self.uplink.urgent(seq)
        return seq

    async def run(self) -> None:
        """Its main loop; ends when cancelled."""
        while True:
            now_ms = self.clock.uptime_ms()
            for frame in self.uplink.poll(now_ms):
                self.wire.send(frame)
            wait_s = min(self.uplink.next_wake_ms(now_ms) / 1000 / SPEED, _LONGEST_WAIT_S)
            try:
                async with asyncio.timeout(wait_s):
                    self.uplink.receive(await self.wire.inbox.get(), self.clock.uptime_ms())
            except TimeoutError:
                continue
