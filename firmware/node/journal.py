# The journal: a raw ring of 64-byte slots on NOR flash. An event is durable when append() returns and stays
# until the edge has acknowledged it from its own disk.
#
#   seq u32 | boot u24 | uptime_cs u40 | class u8 | len u8 | payload 38, FF-filled | mac8 | crc32 of all that
#
# Slots are programmed in order and once; one that is not blank is passed over; a block is erased on entry,
# always, because an erase that was cut may look complete. What a power cut can leave is therefore: at most
# one half-written slot after the newest event, or a damaged block of acknowledged events in front of the
# head.
import struct
from array import array
from binascii import crc32
from collections import namedtuple

from gatelink import cose, events

from .errors import FlashError, JournalFull

try:
    from typing import Any, Iterator
except ImportError:
    pass

_SLOT = 64
_PAYLOAD_AT = 14
_PAYLOAD_MAX = 38
_HEAD = ">IBHBIBB"
_BLANK = b"\xff" * _SLOT
_NO_MAC = b"\0" * 8
# slots that may fail in a row before the flash is given up
_TRIES = 8

Slot = namedtuple("Slot", ("seq", "boot", "uptime_cs", "payload", "mac8"))


class Journal:
    # marks: get_acked(), get_seqmin(), store(acked, seqmin) kept apart from this flash (NVS); None when only
    # reading.
    def __init__(self, flash: "Any", event_key: bytes, marks: "Any") -> None:
        self._flash = flash
        self._key = event_key
        self._marks = marks
        self._slots: int = flash.block_size // _SLOT
        self._blocks: int = flash.size // flash.block_size
        self.capacity: int = self._slots * self._blocks
        # first seq held by each block, 0 where there is none: all the index there is
        self._first: "array[int]" = array("I", bytes(4 * self._blocks))
        self._buf = bytearray(_SLOT)
        # made once: reading is what a device does most
        self._view = memoryview(self._buf)
        self._body = self._view[:60]
        self._kept_sum = self._view[60:]
        self._sum = bytearray(4)
        self._probe = bytearray(_SLOT)
        self._head: int = self._blocks - 1
        self._used: int = self._slots
        self._tail = 0
        self._near = 0
        self._at = 0
        self._mac: bytes = _NO_MAC
        self._last = 0
        self.next_seq: int = 1
        self.acked_seq = 0
        self.refused = [0, 0, 0]
        self.loss: "tuple[int, int] | None" = None
        self.erases = 0
        self.programs = 0
        self.bad_slots = 0
        self.reads = 0

    # Finds head, tail and chain. Reads one slot a block (more only where a cut left damage) and the head
    # block: the time does not grow with what is stored. Writes nothing.
    def mount(self) -> None:
        newest = 0
        for block in range(self._blocks):
            seq = 0
            for index in range(self._slots):
                found = self._load(block, index)
                if found:
                    seq = found
                if found is None or found:
                    break
            self._first[block] = seq
            if seq > newest:
                newest = seq
                self._head = block
        if newest:
            self._used = 0
            for index in range(self._slots):
                found = self._load(self._head, index)
                if found is not None:
                    self._used = index + 1
                if found:
                    newest = found
                    self._mac = bytes(self._view[52:60])
        self._last = newest
        self.next_seq = newest + 1
        if self._marks:
            seqmin = self._marks.get_seqmin()
            if newest + 1 < seqmin:
                # the marks know of events that this flash no longer holds: a number is never given out twice
                self.loss = (newest + 1, seqmin + self._slots - 1)
                self._restart(seqmin + self._slots)
            self.acked_seq = min(self._marks.get_acked(), self.next_seq - 1)
        self._tail = (self._head + 1) % self._blocks
        self._advance_tail()

    # Stores one event; durable on return, its seq is the result. payload: CBOR of one event, at most 38
    # bytes. Raises JournalFull when this class of event has to wait (counted in .refused), FlashError when
    # flash fails.
    def append(self, boot: int, uptime_cs: int, payload: bytes) -> int:
        seq = self.next_seq
        record = events.record(seq, boot, uptime_cs, payload)
        if not self.has_room(record[12]):
            self.refused[record[12]] += 1
            raise JournalFull("class %d, %d slots left" % (record[12], self.free))
        mac = cose.mac8(self._key, self._mac, record)
        slot = bytearray(_BLANK)
        slot[: len(record)] = record
        slot[52:60] = mac
        struct.pack_into(">I", slot, 60, crc32(memoryview(slot)[:60]))
        self._store(slot, seq, mac)
        return seq

    # Nothing is allocated from here on: a heap that is full can't part the counters from the flash.
    def _store(self, slot: bytearray, seq: int, mac: bytes) -> None:
        for _ in range(_TRIES):
            if self._used == self._slots:
                self._enter_block()
            if self._program(slot):
                break
        else:
            raise FlashError("%d slots failed in a row" % _TRIES)
        if not self._first[self._head]:
            self._first[self._head] = seq
        self._mac = mac
        self._last = seq
        self.next_seq = seq + 1

    # Room is kept for what matters more: routine events wait from 75 % on, normal ones when 2 % is left.
    # event_class: 0 routine, 1 normal, 2 alarm.
    def has_room(self, event_class: int) -> bool:
        kept = 0
        if event_class == 0:
            kept = self.capacity // 4
        elif event_class == 1:
            kept = max(1, self.capacity // 50)
        return self.free > kept

    # Everything up to acked is on the edge's disk; its blocks may be reused from now on.
    def trim(self, acked: int) -> None:
        if acked > self.acked_seq:
            self.acked_seq = min(acked, self.next_seq - 1)
            self._advance_tail()

    # The edge holds events up to acked that this journal never saw: it was replaced. Goes on after them.
    def resume_after(self, acked: int) -> None:
        if acked >= self.next_seq:
            self.loss = (self.next_seq, acked)
            self._restart(acked + 1)

    # The event, or None when it is not (or no longer) held or its slot is damaged.
    def read(self, seq: int) -> "Slot | None":
        first = self._first
        block = self._locate(seq)
        if block < 0:
            return None
        # damage only pushes an event back, never forward; the whole block is searched when its front was lost
        for index in range(min(seq - first[block], self._slots - 1), self._slots):
            found = self._load(block, index)
            if found == seq:
                return self._decode()
            if found and found > seq:
                break
        return None

    # The lowest seq >= seq that is held; next_seq when there is none.
    def next_held(self, seq: int) -> int:
        while seq < self.next_seq:
            block = self._locate(seq)
            if block >= 0:
                for index in range(self._slots):
                    found = self._load(block, index)
                    if found and found >= seq:
                        return found
            later = [first for first in self._first if first > seq]
            seq = min(later) if later else self.next_seq
        return seq

    # What the chain value of seq was computed over: the mac8 before it, zeros where the chain starts anew.
    # When the slot before is damaged its mac8 may still be whole: then the event itself proves it.
    def mac_before(self, seq: int) -> bytes:
        before = self.read(seq - 1)
        if before:
            return bytes(before.mac8)
        slot = self.read(seq)
        if slot:
            self._flash.read_into((self._at - 1) % self.capacity * _SLOT, self._probe)
            mac = bytes(self._probe[52:60])
            record = events.record(seq, slot.boot, slot.uptime_cs, slot.payload)
            if cose.mac8(self._key, mac, record) == slot.mac8:
                return mac
        return _NO_MAC

    # All valid slots, oldest first.
    def scan(self) -> "Iterator[Slot]":
        for step in range(1, self._blocks + 1):
            block = (self._head + step) % self._blocks
            if self._first[block]:
                for index in range(self._slots):
                    if self._load(block, index):
                        yield self._decode()

    # (seq, mac8) of the newest event; (0, zeros) when there is none.
    def chain(self) -> "tuple[int, bytes]":
        return self._last, self._mac

    # Oldest seq still held, acknowledged ones included; next_seq when empty.
    @property
    def first_seq(self) -> int:
        for step in range(1, self._blocks + 1):
            first = self._first[(self._head + step) % self._blocks]
            if first:
                return first
        return self.next_seq

    # events not yet acknowledged
    @property
    def pending(self) -> int:
        return self.next_seq - 1 - self.acked_seq

    # slots that can be written without erasing anything unacknowledged
    @property
    def free(self) -> int:
        between = (self._tail - self._head - 1) % self._blocks
        return self._slots - self._used + between * self._slots

    @property
    def fill_percent(self) -> int:
        return (self.capacity - self.free) * 100 // self.capacity

    # How often each block was erased so far, from the number of events ever written; cut erases come on top.
    @property
    def wear(self) -> int:
        return (self.next_seq + self.capacity - 2) // self.capacity

    # After a loss the chain starts anew, and in a new block: within a block seq never runs ahead of the slot
    # number.
    def _restart(self, next_seq: int) -> None:
        self.next_seq = next_seq
        self._mac = _NO_MAC
        self._used = self._slots

    # Slot into self._buf: None when blank, 0 when damaged, else its seq.
    def _load(self, block: int, index: int) -> "int | None":
        buf = self._buf
        self._at = block * self._slots + index
        self._flash.read_into(self._at * _SLOT, buf)
        self.reads += 1
        if buf == _BLANK:
            return None
        struct.pack_into(">I", self._sum, 0, crc32(self._body))
        if self._sum != self._kept_sum or buf[13] > _PAYLOAD_MAX:
            return 0
        return int(struct.unpack_from(">I", buf)[0])

    # Slot namedtuple of the valid slot in self._buf.
    def _decode(self) -> Slot:
        view = self._view
        seq, boot_high, boot_low, time_high, time_low, _, size = struct.unpack_from(_HEAD, view)
        payload = bytes(view[_PAYLOAD_AT : _PAYLOAD_AT + size])
        return Slot(seq, boot_high << 16 | boot_low, time_high << 32 | time_low, payload, bytes(view[52:60]))

    # Block whose range holds seq, -1 when there is none. Batches read in order, so the last hit is tried
    # first.
    def _locate(self, seq: int) -> int:
        first = self._first
        block = self._near
        for _ in range(2):
            after = first[(block + 1) % self._blocks]
            if 0 < first[block] <= seq and (seq < after or (block == self._head and seq <= self._last)):
                self._near = block
                return block
            block = (block + 1) % self._blocks
        best = 0
        found = -1
        for block in range(self._blocks):
            if best < first[block] <= seq:
                best = first[block]
                found = block
        if found >= 0:
            self._near = found
        return found

    # Writes into the next slot of the head block. False when the slot is spoilt and the next one has to do.
    def _program(self, slot: bytearray) -> bool:
        addr = (self._head * self._slots + self._used) * _SLOT
        probe = self._probe
        self._flash.read_into(addr, probe)
        if probe == _BLANK:
            self._flash.program(addr, slot)
            self.programs += 1
            self._flash.read_into(addr, probe)
            if probe == slot:
                self._used += 1
                return True
            if probe == _BLANK:
                raise FlashError("flash does not take writes")
        self._used += 1
        self.bad_slots += 1
        return False

    # The marks go first: once the erase has begun, only they know that what it destroys was acknowledged.
    def _enter_block(self) -> None:
        block = (self._head + 1) % self._blocks
        if block == self._tail and self._tail != self._head:
            raise JournalFull("no block left")
        if self._marks:
            self._marks.store(self.acked_seq, self.next_seq)
        self._flash.erase(block)
        self.erases += 1
        self._first[block] = 0
        self._head = block
        self._used = 0
        self._advance_tail()

    # The tail is the oldest block with an unacknowledged event, or the head.
    def _advance_tail(self) -> None:
        first = self._first
        while self._tail != self._head:
            if first[self._tail]:
                after = (self._tail + 1) % self._blocks
                while not first[after] and after != self._head:
                    after = (after + 1) % self._blocks
                if (first[after] or self.next_seq) - 1 > self.acked_seq:
                    break
            self._tail = (self._tail + 1) % self._blocks
