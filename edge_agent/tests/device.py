"""A simulated device on gatelink: mints events, sends them in a window, takes acks. Sans-IO; drivers below it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatelink import cose, events, framing, messages
from gatelink.errors import GatelinkError
from gatelink.messages import Events, Hello, Status


class Device:
    """What a device remembers: its keys, its boot, its journal (kept for ever, so that tests can compare)."""

    def __init__(self, device: int, link_key: bytes, *, epoch: int = 0, seed: int = 1) -> None:
        self.device = device
        self.rng = random.Random(seed * 1_000 + device)
        self.keys = cose.derive(link_key, device, epoch)
        self.event_key = bytes([device & 0xFF]) * 32
        self.journal: dict[int, tuple[int, int, bytes, bytes]] = {}  # seq -> boot, uptime_cs, payload, mac8
        self.chain = bytes(8)
        self.boot = 0
        self.ctr = 0
        self.uptime_ms = 1_000
        self.acked = 0
        self.gaps: list[Any] = []
        self.window = 0
        self.welcomed = False
        self.down_high = -1
        self.taken: list[Any] = []
        self.refused_down = 0
        self.restart()

    def restart(self) -> None:
        """A new boot: new nonce, uptime from zero."""
        self.boot += 1
        self.ctr = 0
        self.nonce = self.rng.randbytes(8)
        self.uptime_ms = 500
        self.welcomed = False

    @property
    def last_seq(self) -> int:
        return len(self.journal)

    def mint(self, kind: int = events.VISIT, *fields: Any) -> int:
        """One more event in the journal."""
        if not fields and kind == events.VISIT:
            fields = (self.rng.randbytes(7),)
        self.uptime_ms += self.rng.randrange(10, 5_000)
        payload = events.encode(kind, *fields)
        seq = len(self.journal) + 1
        record = events.record(seq, self.boot, self.uptime_ms // 10, payload)
        self.chain = cose.mac8(self.event_key, self.chain, record)
        self.journal[seq] = (self.boot, self.uptime_ms // 10, payload, self.chain)
        return seq

    def seal(self, plaintext: bytes) -> bytes:
        piv = self.boot << 16 | self.ctr
        self.ctr += 1
        return cose.seal(self.keys, cose.UP, piv, plaintext)

    def send(self, message: Any) -> bytes:
        return self.seal(messages.encode(message))

    def hello(self, first_seq: int | None = None) -> bytes:
        first = min(self.acked + 1, self.last_seq + 1) if first_seq is None else first_seq
        return self.send(
            Hello(1, self.boot, self.nonce, self.uptime_ms, 1, "sim 1", first, self.last_seq + 1)
        )

    def batch(self, first: int, count: int) -> bytes:
        """Events first.. of one boot, at most count."""
        boot = self.journal[first][0]
        chosen = []
        for seq in range(first, min(first + count, self.last_seq + 1)):
            if self.journal[seq][0] != boot:
                break
            chosen.append(self.journal[seq])
        items = events.join([c[1] for c in chosen], [c[2] for c in chosen])
        mac8 = chosen[-1][3] if len(chosen) > 1 else None
        return self.send(Events(first, boot, chosen[0][1], items, mac8, 0, None))

    def run_length(self, first: int, count: int) -> int:
        boot = self.journal[first][0]
        length = 0
        while length < count and self.journal.get(first + length, (None,))[0] == boot:
            length += 1
        return length

    def status(self, anchor: Any = None, battery_mv: int | None = 3_700) -> bytes:
        return self.send(
            Status(
                self.uptime_ms,
                anchor,
                battery_mv,
                self.last_seq - self.acked,
                (0, 0, 0),
                self.last_seq,
                self.chain,
            )
        )

    def take(self, frame: bytes) -> Any:
        """A frame from the edge -> the message, or None when a device would drop it."""
        try:
            piv, plaintext = cose.open_(self.keys, cose.DOWN, frame, self.nonce)
        except GatelinkError:
            self.refused_down += 1
            return None
        assert piv > self.down_high, "the edge used a counter twice"
        self.down_high = piv
        message = messages.decode(cose.DOWN, plaintext)
        if isinstance(message, messages.Welcome):
            self.welcomed = True
            self.window = message.window
            self.acked = max(self.acked, message.acked_seq)
        elif isinstance(message, messages.Ack):
            self.acked = max(self.acked, message.acked_seq)
            self.gaps = message.gaps
        self.taken.append(message)
        return message


class Wire:
    """Bytes between a device and the edge. Subclasses: a PTY, a UDP socket."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.drop_down: Callable[[bytes], bool] = lambda _: False

    def deliver(self, frame: bytes) -> None:
        if not self.drop_down(frame):
            self.inbox.put_nowait(frame)

    def send(self, frame: bytes) -> None:
        raise NotImplementedError


class PtyWire(Wire):
    """A PTY whose slave end stands at `link`, as a USB serial port would."""

    def __init__(self, link: Path) -> None:
        super().__init__()
        self.link = link
        self.master = -1
        self.plug()

    def plug(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(slave))
        # The slave stays open here: a port whose device is off is still a port.
        self.slave = slave
        fcntl.fcntl(self.master, fcntl.F_SETFL, os.O_NONBLOCK)
        self._decoder = framing.Decoder()
        asyncio.get_running_loop().add_reader(self.master, self._readable)

    def unplug(self) -> None:
        self.link.unlink(missing_ok=True)
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.slave)
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.master >= 0:
            self.unplug()

    def _readable(self) -> None:
        for frame in self._decoder.feed(os.read(self.master, 65_536)):
            self.deliver(frame)

    def send(self, frame: bytes) -> None:
        self.raw(framing.encode(frame))

    def raw(self, data: bytes) -> None:
        """What the line does not take at once is lost, as in a UART's buffer that runs over."""
        if self.master >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self.master, data)


class UdpWire(Wire, asyncio.DatagramProtocol):
    """A UDP socket; `fault` turns one frame to send into those that really go out."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[bytes], list[bytes]] = lambda frame: [frame]
        self.transport: asyncio.DatagramTransport

    @classmethod
    async def to(cls, port: int) -> UdpWire:
        _, wire = await asyncio.get_running_loop().create_datagram_endpoint(
            cls, remote_addr=("127.0.0.1", port)
        )
        return wire

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.deliver(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens just now."""

    def send(self, frame: bytes) -> None:
        for each in self.fault(frame):
            self.transport.sendto(each)

    def close(self) -> None:
        self.transport.close()


async def ask(device: Device, wire: Wire, make: Callable[[], bytes], deadline_s: float = 15.0) -> Any:
    """Sends what make() makes, again and again as a device would, until the edge says something valid; returns that."""
    async with asyncio.timeout(deadline_s):
        while True:
            wire.send(make())
            try:
                async with asyncio.timeout(0.25):
                    while True:
                        answer = device.take(await wire.inbox.get())
                        if answer is not None:
                            return answer
            except TimeoutError:
                continue


async def sync(
    device: Device, wire: Wire, *, batch: int = 20, rto_s: float = 0.15, deadline_s: float = 30.0
) -> None:
    """Runs the device's uplink until everything it minted is acknowledged."""
    async with asyncio.timeout(deadline_s):
        silent = 0
        while not device.welcomed or device.acked < device.last_seq:
            if not device.welcomed or silent >= 3:
                wire.send(device.hello())
                silent = 0
            elif device.acked < device.last_seq:
                at = device.acked + 1
                for _ in range(device.window):
                    if at <= device.last_seq:
                        wire.send(device.batch(at, batch))
                        at += device.run_length(at, batch)
            before = device.acked
            try:
                async with asyncio.timeout(rto_s):
                    while True:
                        device.take(await wire.inbox.get())
                        if device.acked >= device.last_seq or (device.acked > before and wire.inbox.empty()):
                            break
            except TimeoutError:
                silent += 1
            else:
                silent = 0
