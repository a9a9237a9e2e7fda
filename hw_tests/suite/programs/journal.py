# Runs on the device: its own journal code on its own flash, times in microseconds. COUNT events, then all read back.
import time

from gatelink import events
from node.flash import find
from node.journal import Journal


class Marks:
    def get_acked(self):
        return 0

    def get_seqmin(self):
        return 0

    def store(self, acked, seqmin):
        pass


KEY = bytes(range(1, 33))


def mounted():
    flash = find()
    journal = Journal(flash, KEY, Marks())
    begun = time.ticks_us()
    journal.mount()
    return flash, journal, time.ticks_diff(time.ticks_us(), begun)


def payload(n):
    return events.encode(events.VISIT, n.to_bytes(4, "big") + bytes(3))


# Every block that holds something becomes blank again: this board is a bench board.
def wipe():
    flash = find()
    head = bytearray(64)
    wiped = 0
    for block in range(flash.size // 4096):
        for slot in range(64):
            flash.read_into(block * 4096 + slot * 64, head)
            if head != b"\xff" * 64:
                flash.erase(block)
                wiped += 1
                break
    return wiped


def append(count):
    flash, journal, mount_us = mounted()
    worst_us = 0
    begun = time.ticks_us()
    for n in range(count):
        at = time.ticks_us()
        journal.append(1, 100 * n, payload(n))
        worst_us = max(worst_us, time.ticks_diff(time.ticks_us(), at))
    total_us = time.ticks_diff(time.ticks_us(), begun)
    return [mount_us, total_us // count, worst_us, journal.next_seq]


def read(count):
    flash, journal, mount_us = mounted()
    begun = time.ticks_us()
    good = 0
    for n in range(count):
        slot = journal.read(n + 1)
        good += slot.payload == payload(n) and slot.uptime_cs == 100 * n and slot.boot == 1
    return [mount_us, time.ticks_diff(time.ticks_us(), begun) // count, good, journal.next_seq, journal.chain()]
