"""A bus in virtual time: the real poller and agent on one line with the real device code; collisions, noise, faults."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent import live, runs
from edge_agent.store.events import Row
from edge_agent.tests.pump import Line, Pump
from edge_agent.transports import polling
from edge_agent.transports.polling import Poller
from firmware.barrier.turns import Turns
from firmware.tests.nor import Marks, Nor
from firmware.tests.peer import EVENT_KEY, Keys
from gatelink import events, messages
from node.clock import Clock
from node.journal import Journal
from node.uplink import Uplink

CHUNK = 48  # bytes that a receiver gets at once
FIRST = 7  # the first device's number


def key(device: int) -> bytes:
    return device.to_bytes(4, "big") * 8


class Talk:
    """One transmission on the line."""

    def __init__(self, begun_us: int, data: bytes, who: object) -> None:
        self.begun_us = begun_us
        self.data = bytearray(data)
        self.who = who
        self.spoilt: list[tuple[int, int]] = []  # from, to: times in which somebody else spoke, too


class Device:
    """A device of the real code on modelled flash. Faults are set by the tests."""

    def __init__(self, bus: Bus, device: int) -> None:
        self.bus = bus
        self.device = device
        self.rng = random.Random(bus.seed * 1_000 + device)
        self.nor = Nor(16, 4096, device)
        self.marks = Marks()
        self.keys = Keys(key(device), device)
        self.truth: dict[int, tuple[int, int, bytes]] = {}
        self.recorded_us: dict[int, int] = {}
        self.commands: list[tuple[int, int]] = []  # action, when (us)
        self.reaction_us = (5_000, 20_000)
        self.plugged = True
        self.late = 0.0  # how often it answers too late
        self.boot = 0
        self.start()

    def start(self) -> None:
        self.boot += 1
        self.booted_us = self.bus.now_us
        self.keys.piv = self.boot << 16
        self.clock = Clock(lambda: (self.bus.now_us - self.booted_us) // 1000 & 0x3FFFFFFF)
        self.journal = Journal(self.nor, EVENT_KEY, self.marks)
        self.journal.mount()
        self.uplink = Uplink(
            self.journal, self.clock, self.keys, self.boot, self.rng.randbytes(8), messages.BARRIER_ROLE, "bus",
            self.command, lambda: self.rng.getrandbits(8), lambda: None,
        )  # fmt: skip
        self.turns = Turns(self.device, self.uplink)

    def command(self, action: int, _: Any) -> tuple[int, str]:
        self.commands.append((action, self.bus.now_us))
        return messages.DONE, ""

    def record(self, kind: int = events.ACCESS, *fields: Any) -> int:
        if kind == events.ACCESS:
            fields = (self.rng.randbytes(4), 1, 16, 0)
        payload = events.encode(kind, *fields)
        uptime_cs = self.clock.uptime_ms() // 10
        seq = self.journal.append(self.boot, uptime_cs, payload)
        self.truth[seq] = (self.boot, uptime_cs, payload)
        self.recorded_us[seq] = self.bus.now_us
        if events.class_of(kind) == events.ALARM:
            self.uplink.urgent(seq)
        return seq

    def heard(self, data: bytes) -> None:
        self.turns.feed(data, self.clock.uptime_ms())
        if self.turns._poll is not None:
            self.bus.after(self.rng.randint(*self.reaction_us), self.answer)

    def answer(self) -> None:
        reply = self.turns.reply(self.clock.uptime_ms())
        if not reply or not self.plugged:
            return
        if self.rng.random() < self.late:
            self.bus.after(self.rng.randint(230_000, 400_000), lambda: self.bus.talk(reply, self))
        else:
            self.bus.talk(reply, self)

    @property
    def settled(self) -> bool:
        return self.journal.pending == 0


class BusLine(Line):
    """The agent's port on this bus."""

    kind = "rs485"
    name = "bus"

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self._bus = bus

    def send(self, address: object, frame: bytes, /, *, urgent: bool = False) -> None:
        self._bus.poller.send(frame, urgent=urgent)

    @property
    def jammed(self) -> bool:  # type: ignore[override]
        return self._bus.poller.jammed(self._bus.now_us)

    def silent(self, device: int) -> bool:
        return self._bus.poller.silent(device, self._bus.now_us)


class Bus:
    """noise: chance of a bit error in a byte. Everything comes from the seed."""

    def __init__(self, folder: Path, count: int, seed: int, *, baudrate: int = 115_200, noise: float = 0) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.baudrate = baudrate
        self.noise = noise
        self.byte_us = 10_000_000 / baudrate
        self.now_us = 0
        self.collisions = 0
        self.flips = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._talks: list[Talk] = []
        numbers = [FIRST + n for n in range(count)]
        self.devices = [Device(self, number) for number in numbers]
        self.pump = Pump(folder, {number: (key(number), 1) for number in numbers})
        self._epoch_ms = self.pump.now_ms
        self.pump.line = BusLine(self)
        self.pump.agent.ports.append(self.pump.line)  # type: ignore[arg-type]
        self.jams: list[tuple[int, str]] = []
        self.poller = Poller(numbers, baudrate, 0)
        self.errors: dict[str, int] = {}
        self.arrived: dict[tuple[int, int], int] = {}  # device, seq -> when it was durable (us)
        self.doubled = 0
        self.live: list[tuple[int, int, int]] = []  # device, seq, true age in ms of what was called live
        self.presence: list[tuple[int, int]] = []  # device, 0 offline 1 online
        self._position = 0
        self._tick_us = -1

    def close(self) -> None:
        self.pump.close()

    def after(self, delay_us: int, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._order, what))

    # The line

    def talk(self, data: bytes, who: object) -> None:
        """Somebody speaks, whoever else does."""
        talk = Talk(self.now_us, data, who)
        end_us = self.now_us + int(len(data) * self.byte_us)
        for other in self._talks:
            until_us = min(end_us, other.begun_us + int(len(other.data) * self.byte_us))
            if until_us > self.now_us:
                self.collisions += 1
                talk.spoilt.append((self.now_us, until_us))
                other.spoilt.append((self.now_us, until_us))
        self._talks.append(talk)
        for at in range(0, len(data), CHUNK):
            upto = min(at + CHUNK, len(data))
            self.after(int(upto * self.byte_us) + 1, lambda at=at, upto=upto: self._arrive(talk, at, upto))

    def _arrive(self, talk: Talk, at: int, upto: int) -> None:
        data = talk.data[at:upto]
        for index in range(len(data)):
            when_us = talk.begun_us + int((at + index) * self.byte_us)
            if any(begun <= when_us < until for begun, until in talk.spoilt):
                data[index] = self.rng.getrandbits(8)
            elif self.noise and self.rng.random() < self.noise:
                self.flips += 1
                data[index] ^= 1 << self.rng.randrange(8)
        if upto == len(talk.data):
            self._talks.remove(talk)
        speaking = {other.who for other in self._talks} | {talk.who}
        for device in self.devices:
            if device.plugged and device not in speaking:
                device.heard(bytes(data))
        if talk.who is not self:
            self._edge_hears(bytes(data))

    # The edge

    def _edge_hears(self, data: bytes) -> None:
        self._set_clock()
        frames = self.poller.feed(data, self.now_us)
        if frames:
            self.pump.agent.switchboard.frames(self.pump.line, None, frames)
            self.flush()

    def _set_clock(self) -> None:
        self.pump.now_ms = self._epoch_ms + self.now_us // 1000

    def flush(self) -> None:
        """Commits, and looks at what is new in the log."""
        self.pump.flush()
        rows = [
            Row(*row)
            for row in self.pump.agent.database.writer.execute(
                "SELECT * FROM log WHERE pos > ? ORDER BY pos", (self._position,)
            )
        ]
        for row in rows:
            self._position = row.pos
            if not row.items:
                continue
            for index, (since_cs, payload) in enumerate(runs.split(row.items)):
                if row.device == 1:
                    kind, *fields = events.cbor.loads(payload)
                    if kind in (81, 94):
                        self.jams.append((kind, fields[0]))
                    if kind == 69:
                        self.presence.append((fields[0], fields[1]))
                    continue
                device = self.devices[row.device - FIRST]
                seq = row.first_seq + index
                assert device.truth[seq] == (row.boot, row.uptime_cs + since_cs, payload)
                self.doubled += (row.device, seq) in self.arrived
                self.arrived[row.device, seq] = self.now_us
                if live.is_live(row.t_lo_ms, since_cs, row.received_ms, 50):
                    self.live.append((row.device, seq, (self.now_us - device.recorded_us[seq]) // 1000))

    def run(self, until_us: int, done: Callable[[], bool] = lambda: False) -> None:
        """Virtual time goes on until then, or until done()."""
        while self.now_us < until_us and not done():
            self._set_clock()
            if self.now_us >= self._tick_us:
                self._tick_us = self.now_us + 1_000_000
                self.pump.agent.switchboard.check_silence(300_000)
                self.pump.agent.jams.look()
                self.flush()
            out = self.poller.step(self.now_us)
            for reason, count in self.poller.errors.items():
                self.errors[reason] = self.errors.get(reason, 0) + count
            self.poller.errors.clear()
            if out:
                self.talk(out, self)
            next_us = min(self.poller.due_us, self._tick_us, until_us)
            if self._queue and self._queue[0][0] <= next_us:
                when_us, _, what = heapq.heappop(self._queue)
                self.now_us = max(self.now_us, when_us)
                what()
            else:
                self.now_us = max(self.now_us + 1, next_us)

    @property
    def settled(self) -> bool:
        return all(device.settled for device in self.devices)

    def check(self) -> int:
        """Everything recorded is in the store exactly once -> how many events that are."""
        expected = {(d.device, seq) for d in self.devices for seq in d.truth}
        lost = expected - set(self.arrived)
        assert not lost, f"{len(lost)} events lost, among them {min(lost)}"
        assert set(self.arrived) == expected
        assert self.doubled == 0
        return len(expected)


def alarm_bound_us(count: int, baudrate: int, reaction_us: int) -> int:
    """The longest that an alarm waits on a healthy, saturated bus: one round and the turn in which it is told."""
    byte_us = 10_000_000 / baudrate
    exchange_us = (20 + 16) * byte_us + reaction_us + polling.TURNAROUND_US
    frames_us = polling.BULK_US + (polling.LIMIT + polling.GAP_BYTES) * byte_us + reaction_us
    return int((count + 2) * exchange_us + frames_us + 120 * byte_us)
