# Mount, append and read a journal of 2 MiB, on either interpreter. Arguments: a file with the partition, the marks
# acked and seqmin. Prints [[name, value, unit], ...] as its last line.
import gc
import json
import sys
import time

from gatelink import events
from node.journal import Journal

KEY = bytes(range(32))
VISIT = events.encode(events.VISIT, b"\x04\xa1\xb2\xc3\xd4\xe5\xf6")
BLOCK = 4096
APPENDS = 640

try:
    now_us = time.ticks_us
    since = time.ticks_diff
except AttributeError:

    def now_us():
        return time.perf_counter_ns() // 1000

    def since(later, earlier):
        return later - earlier


class Flash:
    block_size = BLOCK

    def __init__(self, data):
        self.data = data
        self.size = len(data)
        self.view = memoryview(data)

    def read_into(self, addr, buf):
        buf[:] = self.view[addr : addr + len(buf)]

    def program(self, addr, data):
        for index in range(len(data)):
            self.data[addr + index] &= data[index]

    def erase(self, block):
        self.view[block * BLOCK : (block + 1) * BLOCK] = b"\xff" * BLOCK


class Marks:
    def __init__(self, acked, seqmin):
        self.acked = acked
        self.seqmin = seqmin

    def get_acked(self):
        return self.acked

    def get_seqmin(self):
        return self.seqmin

    def store(self, acked, seqmin):
        self.acked = acked
        self.seqmin = seqmin


# Bytes in use; 0 where the interpreter does not say.
def in_use():
    gc.collect()
    return gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0


def main():
    with open(sys.argv[1], "rb") as file:
        flash = Flash(bytearray(file.read()))
    marks = Marks(int(sys.argv[2]), int(sys.argv[3]))
    before = in_use()
    journal = Journal(flash, KEY, marks)
    mounting = []
    for _ in range(5):
        start = now_us()
        journal.mount()
        mounting.append(since(now_us(), start))
    reads = journal.reads // 5
    ram = in_use() - before
    appending = []
    for number in range(APPENDS):
        start = now_us()
        seq = journal.append(1, 6000 * (40000 + number), VISIT)
        appending.append(since(now_us(), start))
        journal.trim(seq)
    reading = []
    for back in range(100):
        start = now_us()
        journal.read(seq - back)
        reading.append(since(now_us(), start))
    appending.sort()
    rows = [
        ["mount", min(mounting) / 1000, "ms"],
        ["slots read by a mount", reads, ""],
        ["index", len(journal._first) * 4, "bytes"],
        ["RAM, index included", ram, "bytes"],
        ["append, median", appending[len(appending) // 2] / 1000, "ms"],
        ["append, longest with a new block", appending[-1] / 1000, "ms"],
        ["read", sum(reading) / len(reading) / 1000, "ms"],
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
