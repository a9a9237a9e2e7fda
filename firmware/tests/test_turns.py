# A device on a polled bus: sans-IO against an edge that polls, then as a node on a modelled UART whose driver pin is
# watched. Plain functions: they also run on the real VM.
import asyncio

from barrier.bus import BusNode
from barrier.turns import Turns
from firmware.tests import host_asyncio
from firmware.tests.nor import Nor, Nvs, seeded
from firmware.tests.peer import DEVICE, EVENT_KEY, LINK_KEY, Edge, Lab
from gatelink import bus, events, framing, messages

OTHER = 99


# An edge with one turn after the other; what it has to say goes ahead of the next poll.
class Polls:
    def __init__(self, lab, limit=600):
        self.lab = lab
        self.turns = Turns(DEVICE, lab.uplink)
        self.limit = limit
        self.number = 0
        self.down = []
        self.states = []
        self.sizes = []

    def poll(self, limit=-1, tell=0, device=DEVICE):
        lab = self.lab
        self.number = (self.number + 1) & 0xFF
        data = b"\0"
        for frame in self.down:
            data += framing.encode(frame)
        self.down = []
        data += framing.encode(bus.poll(device, self.number, self.limit if limit < 0 else limit, tell))
        self.turns.feed(data, lab.uptime_ms())
        reply = self.turns.reply(lab.uptime_ms())
        if not reply:
            return None
        assert reply[0] == 0
        frames = []
        decoder = framing.Decoder()
        blocks = decoder.feed(reply)
        assert not decoder.errors
        assert bus.decode(blocks[-1])[:3] == [bus.END, DEVICE, self.number]
        self.states.append(bus.decode(blocks[-1])[3])
        for block in blocks[:-1]:
            assert block[0] == bus.FRAME
            frames.append(block)
            self.down += lab.edge.receive(block, lab.now_ms)
        self.sizes.append(len(reply) - len(framing.encode(blocks[-1])))
        return frames

    # Polls until there is nothing to say.
    def settle(self, most=400):
        for _ in range(most):
            self.lab.now_ms += 50
            self.poll()
            if self.lab.settled():
                return
        assert False, "not settled"  # noqa: B011, PT015  # asserts are on in the VM, too


def test_events_arrive_in_turns_and_within_the_limit():
    lab = Lab(1)
    polls = Polls(lab)
    for _ in range(300):
        lab.record()
    polls.settle()
    lab.check()
    assert max(polls.sizes) <= 600
    assert bus.MORE in polls.states
    lab.now_ms += 50
    polls.poll()
    assert polls.states[-1] == 0


def test_nothing_is_said_unasked():
    lab = Lab(2)
    polls = Polls(lab)
    lab.record()
    assert polls.turns.reply(0) == b""
    assert polls.poll(device=OTHER) is None
    # a poll that something else followed is over
    mine, other = framing.encode(bus.poll(DEVICE, 1, 600, 0)), framing.encode(bus.poll(OTHER, 2, 600, 0))
    for behind in (other, framing.encode(bus.end(OTHER, 1, 0)), b"\x83begun but not"):
        polls.turns.feed(mine + behind, 0)
        assert polls.turns.reply(0) == b""
        polls.turns.feed(b"\0", 0)
    # but what a line spits that turns round does no harm, before and after
    polls.turns.feed(b"\xff\0" + mine + b"\xff", 0)
    assert polls.turns.reply(0) != b""
    # and one poll is one turn
    assert polls.turns.reply(0) == b""


def test_limit_0_is_a_word_only():
    lab = Lab(3)
    polls = Polls(lab)
    lab.record()
    assert polls.poll(limit=0) == []
    assert polls.states == [bus.MORE]
    polls.settle()
    lab.record(events.SOS, None)
    assert polls.poll(limit=0) == []
    assert polls.states[-1] == bus.MORE | bus.ALARM
    assert len(polls.poll()) >= 1
    assert not polls.states[-1] & bus.ALARM


def test_an_alarm_overtakes_a_frame_that_waits_for_room():
    lab = Lab(4)
    polls = Polls(lab)
    for _ in range(20):
        lab.now_ms += 50
        polls.poll()
    for _ in range(100):
        lab.record()
    # the frame of events is made, but this turn has no room for it
    assert polls.poll(limit=100) == []
    assert polls.states[-1] == bus.MORE
    seq = lab.record(events.SOS, None)
    assert polls.poll(limit=0) == []
    assert polls.states[-1] == bus.MORE | bus.ALARM
    polls.poll(limit=200)
    assert seq in lab.edge.held
    assert len(lab.edge.held) < 100
    polls.settle()
    lab.check()


def test_a_lost_alarm_is_told_again():
    lab = Lab(5)
    polls = Polls(lab)
    for _ in range(20):
        lab.now_ms += 50
        polls.poll()
    lab.record(events.SOS, None)
    edge, lab.edge = lab.edge, Edge()  # this turn is lost on the line
    polls.poll()
    lab.edge = edge
    lab.now_ms += 1500
    assert polls.poll(limit=0) == []
    assert polls.states[-1] == bus.MORE | bus.ALARM


def test_flash_that_fails_in_a_short_turn_does_not_end_the_backlog():
    lab = Lab(9)
    polls = Polls(lab)
    for _ in range(20):
        lab.now_ms += 50
        polls.poll()
    for _ in range(100):
        lab.record()
    polls.poll()
    assert [each for each in lab.uplink._flights if each.first != each.last]  # some of it is under way
    lab.record(events.SOS, None)
    read_into = lab.nor.read_into

    def fails(addr, buf):
        raise OSError(5)

    lab.nor.read_into = fails
    try:
        polls.poll(limit=200)
        failed = False
    except OSError:
        failed = True
    assert failed
    lab.nor.read_into = read_into
    polls.settle()
    lab.check()


def test_told_once_a_second_at_most():
    lab = Lab(6)
    polls = Polls(lab)
    polls.settle()
    polls.settle()
    before = len(lab.edge.statuses)
    for _ in range(100):
        lab.now_ms += 100
        polls.poll(tell=1)
    assert 9 <= len(lab.edge.statuses) - before <= 12


def test_rubbish_and_foreign_blocks_change_nothing():
    lab = Lab(7)
    polls = Polls(lab)
    rand = seeded(7)
    for _ in range(2000):
        size = rand.getrandbits(5)
        block = bytes(rand.getrandbits(8) for _ in range(size))
        polls.turns.feed(framing.encode(block) if block and rand.getrandbits(1) else block, lab.uptime_ms())
    polls.turns.feed(b"\0", 0)
    polls.turns.reply(0)
    assert lab.uplink.rejects == {}
    lab.record()
    polls.settle()
    lab.check()


def test_somebody_who_polls_without_giving_room_fills_no_memory():
    lab = Lab(8)
    polls = Polls(lab)
    polls.settle()
    for _ in range(3000):
        if lab.rand.getrandbits(3) == 0 and lab.journal.has_room(events.ALARM):
            lab.record(events.SOS, None)
        lab.now_ms += 700
        assert polls.poll(limit=1 + lab.rand.getrandbits(5), tell=1) == []
    assert len(polls.turns._waiting) < 60
    lab.now_ms += 80_000
    polls.settle(2000)
    lab.check()


def test_lossy_turns_lose_nothing():
    for seed in range(6):
        lab = Lab(20 + seed)
        polls = Polls(lab)
        for _ in range(400):
            lab.now_ms += 60
            if lab.rand.getrandbits(2) == 0:
                lab.record(*((events.SOS, None) if lab.rand.getrandbits(3) == 0 else (events.VISIT,)))
            fate = lab.rand.getrandbits(3)
            if fate == 0:  # the poll is lost
                continue
            edge = lab.edge
            if fate == 1:  # the reply is lost
                lab.edge = Edge()
            polls.poll(limit=0 if fate == 2 else 600)
            lab.edge = edge
        polls.settle(2000)
        lab.check()


# The UART of a node on a bus: what is written goes to the edge only while the pin drives the line; the edge polls.
class BusUart:
    IRQ_RXIDLE = 4

    def __init__(self, edge, echo):
        self.edge = edge
        self.echo = echo
        self.driven = False
        self.incoming = b""
        self.spoken = b""
        self.spoilt = 0
        self.decoder = framing.Decoder()
        self.number = 0
        self.answers = 0
        self.down = []
        self.shifting = 0

    # as a pin
    def value(self, level):
        if not level:
            # let go only when the last bit is out
            assert not self.shifting
        self.driven = bool(level)

    def irq(self, handler, trigger):
        self.handler = handler

    def any(self):
        return len(self.incoming)

    def read(self, count=-1):
        data = self.incoming if count < 0 else self.incoming[:count]
        self.incoming = self.incoming[len(data) :]
        return data or None

    def write(self, data):
        part = bytes(data)
        self.spoilt += not self.driven
        self.shifting = 3
        if self.echo:
            self.incoming += part
        for block in self.decoder.feed(part):
            if block[0] == bus.FRAME:
                self.down += self.edge.receive(block, host_asyncio.ticks_ms())
            else:
                assert bus.decode(block)[:3] == [bus.END, DEVICE, self.number]
                self.answers += 1
        return len(part)

    def txdone(self):
        self.shifting = max(0, self.shifting - 1)
        return not self.shifting

    async def poll_for(self, times):
        for _ in range(times):
            self.number = (self.number + 1) & 0xFF
            data = b"\0"
            for frame in self.down:
                data += framing.encode(frame)
            self.down = []
            self.incoming += data + framing.encode(bus.poll(DEVICE, self.number, 600, 0))
            self.handler(self)
            for _ in range(1000):
                await asyncio.sleep_ms(2)
                if self.answers == self.number:
                    break
            # the line turns round
            await asyncio.sleep_ms(20)


def on_a_node(echo):
    edge = Edge()
    uart = BusUart(edge, echo)
    rand = seeded(1)

    async def scene():
        node = BusNode(
            uart,
            Nor(4),
            Nvs(dev=DEVICE, link=LINK_KEY, event=EVENT_KEY, epoch=1, boot=0),
            messages.BARRIER_ROLE,
            "test-1",
            ticks_ms=host_asyncio.ticks_ms,
            reset=lambda: None,
            cause=1,
            on_command=lambda action, argument: (messages.DONE, ""),
            random_bytes=lambda count: bytes(rand.getrandbits(8) for _ in range(count)),
        )
        node.drive = uart
        running = asyncio.create_task(node.run())
        await asyncio.sleep_ms(3000)
        # nobody polled: nothing was said
        assert uart.answers == 0
        for _ in range(40):
            node.record(events.ACCESS, b"\1\2\3\4", 1, 16, 0)
        await uart.poll_for(60)
        running.cancel()
        return node

    node = host_asyncio.run(scene())
    assert uart.answers == 60
    assert uart.spoilt == 0
    assert not uart.driven
    assert node.journal.pending == 0
    assert len(edge.held) == 41
    assert node.uplink.rejects == {}


def test_a_node_drives_the_line_in_its_turn_only():
    on_a_node(echo=False)


def test_a_line_that_echoes():
    on_a_node(echo=True)
