"""Layer: a device: the firmware's own node (journal, keys, clock, uplink) on flash and NVS that can lose power."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from edge_agent.tests.simulation.clock import START_MS, VirtualLoop
from edge_agent.tests.simulation.line import Line
from edge_agent.tests.simulation.truth import Minted, Truth
from gatelink import events, framing, messages
from tools import device_code

device_code.use()

from firmware.tests import host_asyncio  # noqa: E402, F401 - asyncio as the device's code expects it
from firmware.tests.nor import Nor, Nvs, PowerCut  # noqa: E402
from node.errors import JournalFull  # noqa: E402
from node.node import Node  # noqa: E402
from node.uplink import Uplink  # noqa: E402, F401 - for mutants

FLASH = (
    (512, 4),
    (512, 8),
    (1_024, 12),
)  # bytes of a block, blocks: rings that are full soon, and one that is not
POWER_ON, RESET = 1, 3


class Device:
    """One device with its line. `gone`: it will never be at the office again (revoked)."""

    def __init__(
        self,
        number: int,
        role: int,
        loop: VirtualLoop,
        rng: random.Random,
        truth: Truth,
        line: Line,
        count: Counter[str],
        trace: Callable[..., None],
    ) -> None:
        self.number = number
        self.role = role
        self.line = line
        self.gone = False
        self._loop = loop
        self._rng = rng
        self._truth = truth
        self._count = count
        self._trace = trace
        self._ppm = rng.uniform(-9.5, 9.5)
        self.link_key = rng.randbytes(32)
        self.event_key = rng.randbytes(32)
        self.nvs = Nvs(dev=number, link=self.link_key, event=self.event_key, epoch=1, boot=0)
        block_size, blocks = rng.choice(FLASH)
        self.nor = Nor(blocks, block_size, 0)
        self.nor.random = rng
        self.node: Node | None = None
        self._decoder = framing.Decoder()
        self._timer: Any = None
        self._known = 0
        self._ticks = 0
        self._since_ms = 0.0
        self._cut_ms = 0.0  # when the write began that a cut may have left
        self.on_alarm: Callable[[int], None] = lambda _: None
        truth.device(number)
        line.to_device = self._receive

    @property
    def on(self) -> bool:
        return self.node is not None

    def _ticks_ms(self) -> int:
        return (self._ticks + int((self._loop.ms - self._since_ms) * (1 + self._ppm * 1e-6))) & 0x3FFFFFFF

    def power_on(self) -> None:
        """Boots; a power cut that waits for one of its writes may end that, too."""
        if self.node is not None:
            return
        self._ticks = self._rng.randrange(1 << 30)
        self._since_ms = self._loop.ms
        before = self._loop.ms
        self.nvs = self.nvs.reopen()
        self._decoder = framing.Decoder()
        try:
            self.node = Node(
                None, self.nor, self.nvs, self.role, "sim 1", self._ticks_ms, lambda: None, POWER_ON,
                self._command, lambda: 3_700, random_bytes=self._rng.randbytes,
            )  # fmt: skip
        except PowerCut:
            self._trace("device", self.number, "cut while it boots")
            self._loop.after_ms(300, self.power_on)
            return
        self._learn(before)
        self._trace("device", self.number, "boot", self.node.boot, "events", self._known)
        self._poll()

    def power_off(self) -> None:
        """The power is gone; flash and NVS keep what they have."""
        self.node = None
        self.nor.cut = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._count["power cut in a write"] += 1
        self._trace("device", self.number, "power cut in a write")
        self.power_off()
        self._loop.after_ms(self._rng.uniform(200, 20_000), self.power_on)

    def arm(self) -> None:
        """The power goes during one of the next writes."""
        kind = self._rng.randrange(4)
        if kind == 0:
            self.nor.arm("erase", self._rng.randrange(self.nor.block_size), self._rng.randrange(3))
        elif kind == 1:
            self.nvs.cut = self._rng.choice(("before", "after"))
        else:
            self.nor.arm("program", self._rng.randrange(64), self._rng.randrange(2))

    def _learn(self, at_ms: float) -> None:
        """The journal tells what was minted; what a cut left there counts, too."""
        assert self.node is not None
        journal = self.node.journal
        minted = self._truth.minted[self.number]
        while self._known + 1 < journal.next_seq:
            self._known += 1
            slot = journal.read(self._known)
            assert slot is not None, f"device {self.number} can't read event {self._known}"
            kind = events.kind_of(slot.payload)
            alarm = events.class_of(kind) == events.ALARM
            when = START_MS + (at_ms if slot.boot == self.node.boot else self._cut_ms)
            minted[self._known] = Minted(slot.boot, slot.uptime_cs, slot.payload, when, alarm)
            if alarm:
                self.on_alarm(self._known)
            self._trace("device", self.number, "mints", self._known, "kind", kind)
        self._cut_ms = self._loop.ms

    def mint(self, kind: int, *fields: Any) -> None:
        """Something happens at the device."""
        if self.node is None:
            self._count["nobody there to record"] += 1
            return
        self._cut_ms = self._loop.ms
        try:
            self.node.record(kind, *fields)
        except JournalFull:
            self._count["journal full"] += 1
        except PowerCut:
            self._cut()
            return
        self._learn(self._loop.ms)
        self._wake()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after_ms(0, self._poll)

    def _poll(self) -> None:
        node = self.node
        if node is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        clock, uplink = node.clock, node.uplink
        wait_ms = 0
        try:
            for _ in range(40):
                for frame in uplink.poll(clock.uptime_ms()):
                    self._trace("device", self.number, "sends", len(frame), frame[14:19].hex())
                    self.line.up(framing.encode(frame) if self.line.serial else frame)
                wait_ms = uplink.next_wake_ms(clock.uptime_ms())
                if wait_ms:
                    break
        except PowerCut:
            self._cut()
            return
        self._timer = self._loop.after_ms(wait_ms + 1, self._poll)

    def _receive(self, data: bytes, stored_upto: int) -> None:
        node = self.node
        if node is None:
            return
        uplink = node.uplink
        try:
            for frame in self._decoder.feed(data) if self.line.serial else (data,):
                before = node.journal.acked_seq
                uplink.receive(frame, node.clock.uptime_ms())
                if node.journal.acked_seq > before:
                    self._trace("device", self.number, "acked", node.journal.acked_seq)
                    self._truth.acknowledged(self.number, node.journal.acked_seq, stored_upto)
            node._notices()
        except PowerCut:
            self._cut()
            return
        self._learn(self._loop.ms)
        self._poll()

    def _command(self, action: int, argument: Any) -> tuple[int, str]:
        self._trace("device", self.number, "acts", action, argument)
        self._truth.acts(argument)
        return messages.DONE, ""
