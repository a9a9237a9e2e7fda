# What must work when there is no memory left: interrupt handlers, the loop that cuts the motor, and the last step
# of an append, from the first look at the flash to the event being durable and counted. Held with the heap locked
# where the interpreter can do that; elsewhere the same code runs unlocked.
import asyncio

from drivers.buttons import Contacts
from drivers.wiegand import MAX_BITS, Wiegand

from barrier.barrier import DOWN, OFF, UP
from barrier.loops import OCCUPIED, SafetyLoop
from barrier.relay import Relays
from firmware.tests.test_node import Bench
from node.flash import PartitionFlash
from node.journal import Journal

try:
    from micropython import heap_lock, heap_unlock

    LOCKS = True
except ImportError:
    LOCKS = False

    def heap_lock():
        pass

    def heap_unlock():
        pass


KEY = bytes(range(32))
VISIT = b"\x82\x10\x47\x04\x00\x00\x00\x00\x00\x01"
SLOTS = 64


class Pin:
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, level=0):
        self.level = level
        self.handler = None

    # machine.Pin's takes an optional level and is written in C
    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level
        return None

    def irq(self, handler, trigger):
        self.handler = handler


# A partition whose operations allocate nothing, as those written in C don't.
class Partition:
    def __init__(self, blocks):
        self.data = bytearray(b"\xff" * (4096 * blocks))
        self.erased = 0

    def info(self):
        return (1, 0x40, 0, len(self.data), "journal", False)

    def readblocks(self, block, buf, offset):
        start = block * 4096 + offset
        for index in range(len(buf)):
            buf[index] = self.data[start + index]

    def writeblocks(self, block, buf, offset):
        start = block * 4096 + offset
        for index in range(len(buf)):
            self.data[start + index] &= buf[index]

    def ioctl(self, _operation, block):
        self.erased += 1
        for index in range(block * 4096, block * 4096 + 4096):
            self.data[index] = 0xFF


class Marks:
    def __init__(self):
        self.acked = 0
        self.seqmin = 0

    def get_acked(self):
        return self.acked

    def get_seqmin(self):
        return self.seqmin

    def store(self, acked, seqmin):
        self.acked = acked
        self.seqmin = seqmin


class LockedStore(Journal):
    def _store(self, slot, seq, mac):
        heap_lock()
        try:
            super()._store(slot, seq, mac)
        finally:
            heap_unlock()


def locked(action):
    heap_lock()
    try:
        action()
    finally:
        heap_unlock()


def test_the_lock_holds():
    if LOCKS:
        heap_lock()
        try:
            refused = False
            try:
                bytearray(100)
            except MemoryError:
                refused = True
        finally:
            heap_unlock()
        assert refused


def test_wiegand_bits():
    reader = Wiegand(asyncio.ThreadSafeFlag())
    zero = reader.zero
    one = reader.one

    def frame():
        zero()
        for _ in range(MAX_BITS + 5):
            one()

    locked(frame)
    assert reader.count == MAX_BITS


def test_an_edge_at_a_contact():
    pin = Pin(1)
    contacts = Contacts(asyncio.ThreadSafeFlag(), lambda: 0, lambda name, active, now_ms: None)
    contacts.add("button", pin, 0, 30, 30)
    edge = pin.handler
    locked(lambda: edge(pin))


def test_bytes_on_the_uplink():
    bench = Bench()
    node = bench.node()
    handler = node._on_uart
    locked(lambda: handler(bench.uart))


# A lowering boom, and a loop that becomes occupied. A class: a function with this many variables from outside would
# itself allocate when called.
class Lowering:
    def __init__(self):
        self.pin = Pin(0)
        self.up = Pin(0)
        self.down = Pin(0)
        self.loop = SafetyLoop(self.pin, self.cut)
        contacts = Contacts(asyncio.ThreadSafeFlag(), lambda: 0, lambda name, active, now_ms: None)
        contacts.add("loop_safety", self.loop, OCCUPIED, 0, 300)
        self.relays = Relays(self.up, self.down, self.loop.blocked)
        self.edge = self.pin.handler
        self.wrong = 0

    def cut(self):
        self.down.value(0)

    def play(self):
        self.relays.drive(OFF)
        self.relays.drive(UP)
        self.relays.drive(OFF)
        self.relays.drive(DOWN)
        if not self.down.level:
            self.wrong = 1
        self.pin.level = OCCUPIED
        self.edge(self.pin)
        if self.down.level or not self.loop.blocked():
            self.wrong = 2
        self.relays.drive(DOWN)
        if self.down.level:
            self.wrong = 3
        self.relays.cut_down()


def test_the_loop_cuts_the_motor():
    lowering = Lowering()
    locked(lowering.play)
    assert lowering.wrong == 0


def test_the_last_step_of_an_append():
    partition = Partition(3)
    marks = Marks()
    journal = LockedStore(PartitionFlash(partition), KEY, marks)
    journal.mount()
    for seq in range(1, 2 * SLOTS + 10):
        assert journal.append(1, 100 * seq, VISIT) == seq
        journal.trim(seq - 1)
    # through new blocks, marks and erases
    assert partition.erased == 3
    assert marks.seqmin == 2 * SLOTS + 1
    again = Journal(PartitionFlash(partition), KEY, marks)
    again.mount()
    assert again.chain() == journal.chain()
    # and over a slot that is spoilt
    spoilt = (again.next_seq - 1) * 64 % len(partition.data)
    partition.data[spoilt + 5] = 0
    journal.append(1, 10**6, VISIT)
    assert journal.bad_slots == 1


def test_an_append_without_memory_changes_nothing():
    if not LOCKS:
        return
    partition = Partition(2)
    journal = Journal(PartitionFlash(partition), KEY, Marks())
    journal.mount()
    journal.append(1, 100, VISIT)
    before = bytes(partition.data)
    chain = journal.chain()
    heap_lock()
    try:
        refused = False
        try:
            journal.append(1, 200, VISIT)
        except MemoryError:
            refused = True
    finally:
        heap_unlock()
    assert refused
    assert partition.data == before
    assert journal.chain() == chain
    assert journal.append(1, 200, VISIT) == 2
