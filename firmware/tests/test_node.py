# A whole node on modelled hardware, its edge at the other end of the UART. Plain functions: they also run on
# the real VM.
import asyncio

from firmware.tests import host_asyncio
from firmware.tests.nor import Nor, Nvs, seeded
from firmware.tests.peer import DEVICE, EVENT_KEY, LINK_KEY, Edge
from gatelink import events, framing, messages
from node.errors import JournalFull, NotProvisioned
from node.node import Node, short_traceback


# A UART whose other end is an edge. Bytes arrive as an interrupt would bring them.
class Uart:
    IRQ_RX = 1
    IRQ_RXIDLE = 4

    def __init__(self, edge):
        self.edge = edge
        self.decoder = framing.Decoder()
        self.incoming = b""
        self.handler = None
        self.plugged = True
        self.stuck = False
        self.piece = 64

    def irq(self, handler, trigger):
        assert trigger == self.IRQ_RXIDLE
        self.handler = handler

    def any(self):
        return len(self.incoming)

    def read(self, count):
        data = self.incoming[:count]
        self.incoming = self.incoming[count:]
        return data or None

    def write(self, data):
        if self.stuck:
            return None
        part = bytes(data)[: self.piece]
        for frame in self.decoder.feed(part):
            if self.plugged:
                for answer in self.edge.receive(frame, host_asyncio.ticks_ms()):
                    self.deliver(framing.encode(answer))
        return len(part)

    def deliver(self, data):
        self.incoming += data
        self.handler(self)


class Dog:
    def __init__(self):
        self.fed = 0

    def feed(self):
        self.fed += 1


# What survives a reboot, and how often one was asked for.
class Bench:
    def __init__(self, blocks=4):
        self.nor = Nor(blocks)
        self.nvs = Nvs(dev=DEVICE, link=LINK_KEY, event=EVENT_KEY, epoch=1, boot=0)
        self.rand = seeded(1)
        self.edge = Edge()
        self.uart = Uart(self.edge)
        self.resets = 0
        self.commands = []
        self.dog = Dog()

    # after machine.deepsleep()
    def woken(self, memory, slow_ms):
        return self.node(cause=4, memory=memory, slow_ms=slow_ms)

    def node(self, cause=1, **more):
        return Node(
            self.uart,
            self.nor,
            self.nvs,
            messages.TAG_ROLE,
            "test-1",
            ticks_ms=host_asyncio.ticks_ms,
            reset=self.reset,
            cause=cause,
            on_command=self.command,
            battery_mv=lambda: 3900,
            watchdog=self.dog,
            random_bytes=lambda count: bytes(self.rand.getrandbits(8) for _ in range(count)),
            **more,
        )

    def reset(self):
        self.resets += 1

    def command(self, action, argument):
        self.commands.append(action)
        return messages.DONE, ""

    # Lets a fresh node run for so long with a story going on beside it.
    def play(self, for_ms, story=None, prepare=None, **more):
        async def scene():
            node = self.node(**more)
            if prepare:
                prepare(node)
            running = asyncio.create_task(node.run())
            if story:
                await story(node)
            await asyncio.sleep_ms(for_ms)
            running.cancel()
            return node

        return host_asyncio.run(scene())

    def kinds(self):
        return [events.decode(self.edge.held[seq][2]) for seq in sorted(self.edge.held)]


def test_an_event_reaches_the_edge():
    bench = Bench()

    async def story(node):
        await asyncio.sleep_ms(500)
        assert node.record(events.VISIT, b"\x01\x02\x03\x04") == 2

    node = bench.play(100, story)
    assert bench.kinds() == [[events.BOOT, 1, "test-1"], [events.VISIT, b"\x01\x02\x03\x04"]]
    assert node.journal.pending == 0
    assert bench.edge.hellos[0].role == messages.TAG_ROLE
    assert bench.dog.fed > 0
    # next time round it is another boot with the same journal
    node = bench.play(1000)
    assert node.boot == 2
    assert bench.kinds()[-1] == [events.BOOT, 1, "test-1"]
    assert len(bench.kinds()) == 3


def test_heartbeat_only_when_nothing_else():
    bench = Bench()

    async def story(node):
        for _ in range(10):
            await asyncio.sleep_ms(50_000)
            node.record(events.VISIT, b"\x01\x02\x03\x04")

    bench.play(200_000, story)
    kinds = [event[0] for event in bench.kinds()]
    assert kinds == [events.BOOT] + [events.VISIT] * 10 + [events.HEARTBEAT] * 3
    assert bench.kinds()[-1] == [events.HEARTBEAT, 3900]


def test_a_dead_task_is_reported_and_started_again():
    bench = Bench()
    lives = []

    async def weak():
        lives.append(host_asyncio.ticks_ms())
        await asyncio.sleep_ms(1000)
        if len(lives) < 4:
            raise ValueError("no")
        await asyncio.sleep_ms(1_000_000)

    bench.play(30_000, prepare=lambda node: node.supervise(weak))
    assert len(lives) == 4
    faults = [event for event in bench.kinds() if event[0] == events.FAULT]
    assert len(faults) == 3
    assert faults[0][1] == 1
    assert faults[0][2].startswith("ValueError test_node:"), faults
    assert bench.resets == 0


def test_a_task_that_keeps_dying_restarts_the_device():
    bench = Bench()

    async def hopeless():
        raise KeyError("always")

    bench.play(6_000, prepare=lambda node: node.supervise(hopeless))
    assert bench.resets > 0


def test_a_task_may_end():
    bench = Bench()
    runs = []

    async def once():
        runs.append(1)

    bench.play(5_000, prepare=lambda node: node.supervise(once))
    assert runs == [1]
    assert [event[0] for event in bench.kinds()] == [events.BOOT]


def test_a_command_comes_through():
    bench = Bench()

    async def story(node):
        await asyncio.sleep_ms(500)
        order = messages.Command(7, messages.OPEN, node.clock.uptime_ms() + 1000, None)
        bench.uart.deliver(framing.encode(bench.edge.send(order)))
        await asyncio.sleep_ms(100)

    bench.play(100, story)
    assert bench.commands == [messages.OPEN]
    assert bench.edge.results == [messages.Result(7, messages.DONE, "")]


def test_noise_on_the_line_is_counted():
    bench = Bench()

    async def story(node):
        await asyncio.sleep_ms(500)
        bench.uart.deliver(bytes(range(256)) * 20)
        bench.uart.deliver(b"\x00\x03\x11\x22\x00" + framing.encode(b"\x83nonsense") + b"\x00")
        await asyncio.sleep_ms(100)
        node.record(events.VISIT, b"\x01\x02\x03\x04")

    node = bench.play(2000, story)
    assert node.decoder.errors
    assert sum(node.uplink.rejects.values()) == 1
    assert [event[0] for event in bench.kinds()] == [events.BOOT, events.VISIT]


def test_a_line_that_takes_nothing_stops_nobody():
    bench = Bench()
    bench.uart.stuck = True
    ticks = []

    async def app():
        while True:
            ticks.append(1)
            await asyncio.sleep_ms(100)

    async def story(node):
        await asyncio.sleep_ms(10_000)
        bench.uart.stuck = False

    bench.play(60_000, story, prepare=lambda node: node.supervise(app))
    assert len(ticks) > 600
    assert events.BOOT in [event[0] for event in bench.kinds()]


def test_an_unplugged_line_and_back():
    bench = Bench()

    async def story(node):
        await asyncio.sleep_ms(1000)
        bench.uart.plugged = False
        for _ in range(30):
            node.record(events.VISIT, b"\x01\x02\x03\x04")
            await asyncio.sleep_ms(60_000)
        bench.uart.plugged = True

    node = bench.play(80_000, story)
    assert node.journal.pending == 0
    assert [event[0] for event in bench.kinds()].count(events.VISIT) == 30


def test_a_full_journal_refuses_counts_and_tells():
    bench = Bench(2)
    bench.uart.plugged = False
    told = []

    async def story(node):
        for _ in range(200):
            try:
                node.record(events.VISIT, b"\x01\x02\x03\x04")
            except JournalFull:
                told.append("visit")
        seq = node.record(events.SOS, None)
        assert seq == 127
        for _ in range(5):
            try:
                node.record(events.SOS, None)
            except JournalFull:
                told.append("alarm")
        bench.uart.plugged = True
        await asyncio.sleep_ms(70_000)

    node = bench.play(1000, story)
    kinds = bench.kinds()
    assert [event for event in kinds if event[0] == events.JOURNAL_FILL] == [[events.JOURNAL_FILL, 90]]
    refused = [event for event in kinds if event[0] == events.REFUSED]
    assert sum(event[2] for event in refused) == told.count("visit")
    assert sum(event[3] for event in refused) == told.count("alarm") == 4
    assert len([event for event in kinds if event[0] == events.VISIT]) == 200 - told.count("visit")
    assert len([event for event in kinds if event[0] == events.SOS]) == 2
    assert node.journal.pending == 0


def test_lost_events_are_told():
    bench = Bench()

    async def story(node):
        for _ in range(100):
            node.record(events.VISIT, b"\x01\x02\x03\x04")
        await asyncio.sleep_ms(5000)

    bench.play(0, story)
    bench.nor.data[:] = b"\xff" * bench.nor.size
    bench.play(5000)
    assert [event for event in bench.kinds() if event[0] == events.JOURNAL_LOSS] == [
        [events.JOURNAL_LOSS, 1, 128]
    ]


def test_without_keys_nothing_starts():
    bench = Bench()
    bench.nvs = Nvs()
    try:
        bench.node()
    except NotProvisioned:
        return
    raise AssertionError("started")


def test_a_traceback_fits_an_event():
    try:
        int("x" * 5)
    except ValueError as problem:
        text = short_traceback(problem)
    assert len(text.encode()) <= 24
    assert text.startswith("ValueError ")
    events.encode(events.FAULT, 1, text)


# Keeps what is written to it, as machine.RTC does through deep sleep.
class Memory:
    def __init__(self):
        self.data = b""

    def memory(self, *data):
        if data:
            self.data = bytes(data[0])
            return None
        return self.data


def test_deep_sleep_goes_on_in_the_same_boot():
    bench = Bench()
    memory = Memory()
    slow = [1_000_000]
    node = bench.node(memory=memory, slow_ms=lambda: slow[0])
    before = node.record(events.VISIT, b"\x01\x02\x03\x04")
    node.hibernate()
    slow[0] += 3_600_000
    woken = bench.woken(memory, lambda: slow[0])
    assert woken.boot == node.boot
    assert woken.clock.slept_ms == 3_600_000
    seq = woken.record(events.VISIT, b"\x01\x02\x03\x05")
    # no BOOT in between, and time goes on
    assert seq == before + 1
    first, second = woken.journal.read(before), woken.journal.read(seq)
    assert second.boot == first.boot
    assert second.uptime_cs - first.uptime_cs >= 360_000
    # the memory serves once: a reset of another kind, or a second one, is a new boot
    again = bench.woken(memory, lambda: slow[0])
    assert again.boot > woken.boot
    assert again.clock.slept_ms == 0
    again.hibernate()
    reset = bench.node(memory=memory, slow_ms=lambda: slow[0])
    assert reset.boot > again.boot


class FakeChip:
    def __init__(self, wall_ms, error_ms):
        self.reading = (wall_ms, error_ms)
        self.fault = ""
        self.taken = None

    def __call__(self, uptime_ms):
        self.uptime_ms = uptime_ms
        return self

    def read(self):
        if self.fault:
            return None
        return (self.uptime_ms(),) + self.reading

    def set(self, anchor_ms, wall_ms, error_ms):
        self.taken = (anchor_ms, wall_ms, error_ms)
        return True


def told(node):
    return [events.decode(slot.payload) for slot in node.journal.scan()]


def test_the_clock_chip_gives_time_at_boot():
    bench = Bench()
    node = bench.node(chip=FakeChip(1_790_000_000_500, 512))
    assert [event[0] for event in told(node)] == [events.BOOT, events.TIME]
    assert told(node)[1] == [events.TIME, 1_790_000_000_500, 524, 0]


def test_a_stopped_clock_chip_is_told_once_and_set_at_contact():
    bench = Bench()
    chip = FakeChip(0, 0)
    chip.fault = "stopped"
    node = bench.node(chip=chip)
    assert told(node)[1:] == [[events.FAULT, 2, "clock stopped"]]
    node.clock.contact(10, 30, 1_790_000_000_000, 50)
    node._wall.contacted()
    assert chip.taken == (20, 1_790_000_000_000, 64)
    # once for each contact, and not again for one that it knows
    chip.taken = None
    node._wall.contacted()
    assert chip.taken is None
    # a chip that is off by more than both errors is told and set
    chip.fault = ""
    chip.reading = (1_790_000_009_000, 600)
    node.clock.contact(40, 60, 1_790_000_000_030, 50)
    node._wall.contacted()
    assert chip.taken is not None
    assert told(node)[-1][:2] == [events.FAULT, 2]


def test_no_clock_chip_is_no_trouble():
    bench = Bench()
    chip = FakeChip(0, 0)
    chip.fault = "absent"
    assert [event[0] for event in told(bench.node(chip=chip))] == [events.BOOT]


def test_a_long_sleep_asks_the_chip_again():
    bench = Bench()
    chip = FakeChip(1_790_000_000_500, 512)
    node = bench.node(chip=chip)
    node.record(events.VISIT, b"\x01\x02\x03\x04")
    node.clock.slept(600_000)
    node.record(events.VISIT, b"\x01\x02\x03\x04")
    kinds = [event[0] for event in told(node)]
    assert kinds == [events.BOOT, events.TIME, events.VISIT, events.TIME, events.VISIT]
    assert told(node)[3][3] == 600_000
