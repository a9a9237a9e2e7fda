# The other end of an uplink for tests: an edge that keeps what it was sent, and a link that loses, doubles
# and reorders frames. Time is virtual, in ms; every fate comes from one seed.
from firmware.tests.nor import Marks, Nor, seeded
from gatelink import cose, events, messages, reasons
from gatelink.errors import GatelinkError
from node.clock import Clock
from node.journal import Journal
from node.uplink import Uplink

DEVICE = 0x01020304
LINK_KEY = bytes(range(32))
EVENT_KEY = bytes(range(32, 64))
EPOCH_MS = 1_700_000_000_000


# What Uplink needs of a keystore.
class Keys:
    def __init__(self, link_key=LINK_KEY, device=DEVICE):
        self.keys = cose.derive(link_key, device, 1)
        self.piv = 1 << 16
        # no key is pending
        self.other = None
        self.trying = False
        self.epoch = 1

    def next_piv(self):
        self.piv += 1
        return self.piv


class Edge:
    def __init__(self, link_key=LINK_KEY):
        self.keys = cose.derive(link_key, DEVICE, 1)
        self.window = cose.ReplayWindow()
        self.nonce = b""
        self.piv = 1000
        self.held = {}
        self.macs = {}
        self.arrived = []
        self.arrived_ms = {}
        self.anchored_ms = 0
        self.skipped = set()
        self.acked = 0
        self.duplicates = 0
        self.results = []
        self.statuses = []
        self.hellos = []
        self.frames = 0
        self.largest = 0
        self.flight_window = 4
        self.knows_time = True
        self.errors = {}

    def send(self, message):
        self.piv += 1
        return cose.seal(self.keys, cose.DOWN, self.piv, messages.encode(message), self.nonce)

    # One frame in, the answers out.
    def receive(self, frame, now_ms):
        self.largest = max(self.largest, len(frame))
        try:
            piv, plaintext = cose.open_(self.keys, cose.UP, frame)
            if not self.window.fresh(piv):
                return [self.send(self.ack())] if self.nonce else []
            message = messages.decode(cose.UP, plaintext)
            self.window.accept(piv)
        except GatelinkError as error:
            self.errors[error.reason] = self.errors.get(error.reason, 0) + 1
            return []
        self.frames += 1
        if isinstance(message, messages.Hello):
            self.nonce = message.boot_nonce
            self.hellos.append(message)
            edge_ms = EPOCH_MS + now_ms if self.knows_time else None
            return [
                self.send(messages.Welcome(message.uptime_ms, edge_ms, 5, self.acked, self.flight_window))
            ]
        if not self.nonce:
            return []
        clock = None
        if isinstance(message, messages.Events):
            self.take(message, now_ms)
        elif isinstance(message, messages.Status):
            if message.anchor and not self.anchored_ms:
                self.anchored_ms = now_ms
            self.statuses.append(message)
            if self.knows_time:
                clock = (message.uptime_ms, EPOCH_MS + now_ms, 5)
        else:
            self.results.append(message)
            return []
        return [self.send(self.ack(clock))]

    def take(self, message, now_ms):
        found = events.split(message.items)
        mac = message.mac_before
        for lost in range(message.first_seq - message.skipped, message.first_seq):
            if lost not in self.held:
                self.skipped.add(lost)
        for index, (since_cs, payload) in enumerate(found):
            seq = message.first_seq + index
            event = (message.boot, message.uptime_cs + since_cs, payload)
            if mac is None and seq - 1 in self.macs:
                mac = self.macs[seq - 1]
            if mac is None and seq == 1:
                mac = bytes(8)
            if mac is not None:
                mac = cose.mac8(EVENT_KEY, mac, events.record(seq, *event))
                self.macs[seq] = mac
            if seq in self.held:
                self.duplicates += 1
                assert self.held[seq] == event, "seq %d came with another content" % seq
            else:
                self.held[seq] = event
                self.arrived.append(seq)
                self.arrived_ms[seq] = now_ms
        if message.mac8 is not None and mac is not None:
            assert mac == message.mac8, "chain broken at %d" % seq
        while self.acked + 1 in self.held or self.acked + 1 in self.skipped:
            self.acked += 1

    def ack(self, clock=None):
        gaps = []
        before = self.acked
        for seq in sorted(seq for seq in self.held if seq > self.acked):
            if seq > before + 1:
                gaps.append((before + 1, seq - 1))
            before = seq
        return messages.Ack(self.acked, gaps[: messages.MAX_GAPS], clock)


# A device (journal and uplink), the link and the edge, driven in virtual time.
class Lab:
    def __init__(self, seed, loss=0, doubled=0, delay_ms=(5, 40), blocks=8):
        self.rand = seeded(seed)
        self.loss = loss
        self.doubled = doubled
        self.delay_ms = delay_ms
        self.up = True
        self.now_ms = 0
        self.booted_ms = 0
        self.queue = []
        self.count = 0
        self.nor = Nor(blocks, 4096, seed)
        self.marks = Marks()
        self.keys = Keys()
        self.boot = 0
        self.truth = {}
        self.commands = []
        self.edge = Edge()
        self.polls = 0
        self.sent = 0
        self.reboot()

    def reboot(self):
        self.boot += 1
        self.booted_ms = self.now_ms
        self.keys.piv = self.boot << 16
        self.clock = Clock(lambda: self.now_ms & 0x3FFFFFFF)
        self.journal = Journal(self.nor, EVENT_KEY, self.marks)
        self.journal.mount()
        nonce = bytes(self.rand.getrandbits(8) for _ in range(8))
        self.uplink = Uplink(
            self.journal,
            self.clock,
            self.keys,
            self.boot,
            nonce,
            messages.TAG_ROLE,
            "test",
            self.command,
            lambda: self.rand.getrandbits(8),
            lambda: 3900,
        )

    def command(self, action, argument):
        self.commands.append((self.uptime_ms(), action, argument))
        return (messages.DONE, "") if action in (1, 2, 3) else (messages.UNKNOWN_ACTION, "")

    def uptime_ms(self):
        return self.clock.uptime_ms()

    def record(self, kind=events.VISIT, *fields):
        if not fields:
            fields = (bytes(self.rand.getrandbits(8) for _ in range(7)),)
        payload = events.encode(kind, *fields)
        uptime_cs = self.uptime_ms() // 10
        seq = self.journal.append(self.boot, uptime_cs, payload)
        self.truth[seq] = (self.boot, uptime_cs, payload)
        if events.class_of(kind) == events.ALARM:
            self.uplink.urgent(seq)
        return seq

    # One frame on the line, with its fate.
    def post(self, to_edge, frame, certain=False):
        for _ in range(1 + (self.rand.random() < self.doubled)):
            if certain or (self.up and self.rand.random() >= self.loss):
                self.count += 1
                at_ms = self.now_ms + self.rand.randint(*self.delay_ms)
                self.queue.append((at_ms, self.count, to_edge, frame))

    # Lets the device do what is due; returns when it wants to be called again.
    def poll(self):
        now_ms = self.uptime_ms()
        self.polls += 1
        for frame in self.uplink.poll(now_ms):
            self.sent += 1
            self.post(True, frame)
        return self.now_ms + self.uplink.next_wake_ms(now_ms)

    # Runs to the given time, or until done() holds.
    def run(self, until_ms, done=lambda: False):
        wake_ms = self.poll()
        while not done():
            first = min(self.queue) if self.queue else None
            self.now_ms = min(until_ms, max(self.now_ms, wake_ms), first[0] if first else until_ms)
            if first and first[0] <= self.now_ms:
                self.queue.remove(first)
                if first[2]:
                    for answer in self.edge.receive(first[3], self.now_ms):
                        self.post(False, answer)
                else:
                    self.uplink.receive(first[3], self.uptime_ms())
            elif self.now_ms >= until_ms:
                break
            wake_ms = self.poll()

    # Everything is at the edge once, as recorded, and the device knows it.
    def settled(self):
        return self.edge.acked == self.journal.next_seq - 1 and self.journal.pending == 0

    def check(self):
        assert self.edge.held == self.truth
        assert len(self.edge.arrived) == len(set(self.edge.arrived))
        order = sorted(self.truth)
        assert order == list(range(1, len(order) + 1))
        assert [self.truth[seq][:2] for seq in order] == sorted(self.truth[seq][:2] for seq in order)
        # live singles carry no chain value: every event is covered by the status that follows at the latest
        for seq, mac in self.edge.macs.items():
            slot = self.journal.read(seq)
            assert slot is None or slot.mac8 == mac


__all__ = ("Edge", "Lab", "reasons")
