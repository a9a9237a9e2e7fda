# A NOR flash that can lose power: programming clears bits, erasing sets them, and both may stop half way.
import random


# A generator of its own where there is such a thing, else the interpreter's only one, seeded anew.
def seeded(seed):
    if hasattr(random, "Random"):
        return random.Random(seed)
    random.seed(seed)
    return random


class PowerCut(Exception):
    pass


# How a cut program leaves its bytes: in order up to a point, or (as pages are programmed in parallel)
# anywhere.
IN_ORDER = 0
SCATTERED = 1
# How a cut erase leaves its block: in order, anywhere by the byte, or every byte with some bits still to go.
STYLES = 3


class Nor:
    def __init__(self, blocks, block_size=4096, seed=0):
        self.block_size = block_size
        self.size = blocks * block_size
        self.data = bytearray(b"\xff" * self.size)
        self.random = seeded(seed)
        self.cut = None
        # programs that wanted to set a bit: a journal that programs a slot twice would show here
        self.conflicts = 0
        self.wear = [0] * blocks

    # A second flash with the same content, its own fate.
    def copy(self):
        other = Nor(0, self.block_size)
        other.random = self.random
        other.size = self.size
        other.data = bytearray(self.data)
        other.wear = list(self.wear)
        return other

    # The next operation op ("program" | "erase") stops at point (of its bytes) in the given style: PowerCut.
    def arm(self, op, point, style=IN_ORDER):
        self.cut = (op, point, style)

    def read_into(self, addr, buf):
        buf[:] = self.data[addr : addr + len(buf)]

    def program(self, addr, data):
        old = self.data[addr : addr + len(data)]
        whole = bytes(old[index] & data[index] for index in range(len(data)))
        self.conflicts += whole != data
        if self.cut and self.cut[0] == "program":
            self.data[addr : addr + len(data)] = self._torn(old, whole, self.cut[1], self.cut[2])
            self.cut = None
            raise PowerCut("program")
        self.data[addr : addr + len(data)] = whole

    def erase(self, block):
        size = self.block_size
        start = block * size
        self.wear[block] += 1
        whole = b"\xff" * size
        if self.cut and self.cut[0] == "erase":
            old = self.data[start : start + size]
            self.data[start : start + size] = self._torn(old, whole, self.cut[1], self.cut[2])
            self.cut = None
            raise PowerCut("erase")
        self.data[start : start + size] = whole

    # The bytes between old and whole after `point` of them were done; the bits of a byte change one by one.
    def _torn(self, old, whole, point, style):
        rand = self.random.getrandbits
        size = len(whole)
        if style == IN_ORDER:
            torn = bytearray(whole[:point]) + old[point:]
            if point < size:
                torn[point] = old[point] ^ ((old[point] ^ whole[point]) & rand(8))
            return torn
        share = point * 256 // size
        if style == SCATTERED:
            torn = bytearray(whole)
            for index in range(size):
                if rand(8) >= share:
                    torn[index] = old[index] ^ ((old[index] ^ whole[index]) & rand(8) & rand(8))
            return torn
        # each bit of the block changes with the given share
        torn = bytearray(old)
        for index in range(size):
            bits = (rand(8), rand(8) | rand(8), rand(8) & rand(8), 255)[share // 86 if share < 256 else 3]
            torn[index] = old[index] ^ ((old[index] ^ whole[index]) & bits)
        return torn


# The two marks that a device keeps in NVS; a cut write of NVS leaves the old value or the new one.
class Marks:
    def __init__(self, acked=0, seqmin=0):
        self.acked = acked
        self.seqmin = seqmin
        self.cut = None

    def get_acked(self):
        return self.acked

    def get_seqmin(self):
        return self.seqmin

    # "before" | "after": the next store stops there
    def arm(self, cut):
        self.cut = cut

    def store(self, acked, seqmin):
        cut = self.cut
        self.cut = None
        if cut == "before":
            raise PowerCut("nvs")
        self.acked = acked
        self.seqmin = seqmin
        if cut == "after":
            raise PowerCut("nvs")


# An NVS namespace: what was not committed is gone after reopen().
class Nvs:
    def __init__(self, **values):
        self.values = dict(values)
        self.pending = {}
        self.commits = 0
        self.cut = None

    def get_i32(self, key):
        return self._get(key, int)

    def get_blob(self, key, buf):
        value = self._get(key, bytes)
        if len(value) > len(buf):
            raise OSError(-0x110C)
        buf[: len(value)] = value
        return len(value)

    def _get(self, key, kind):
        value = self.pending.get(key, self.values.get(key))
        if not isinstance(value, kind):
            raise OSError(-0x1102)
        return value

    def set_i32(self, key, value):
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError(key)
        self.pending[key] = value

    def set_blob(self, key, value):
        self.pending[key] = bytes(value)

    def erase_key(self, key):
        if self.pending.get(key, self.values.get(key)) is None:
            raise OSError(-0x1102)
        self.pending[key] = None

    # "before" | "after": the next commit is cut there
    def commit(self):
        cut = self.cut
        self.cut = None
        if cut == "before":
            raise PowerCut("nvs")
        self.values.update(self.pending)
        self.pending = {}
        self.commits += 1
        if cut == "after":
            raise PowerCut("nvs")

    def reopen(self):
        return Nvs(**{key: value for key, value in self.values.items() if value is not None})
