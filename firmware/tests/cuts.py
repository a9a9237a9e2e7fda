# Power-cut drills of the journal, shared by the long suite (CPython) and the short one (also on the real VM).
from firmware.tests.nor import IN_ORDER, SCATTERED, STYLES, Marks, Nor, PowerCut, seeded
from gatelink import cose, events
from node.journal import Journal

KEY = bytes(range(32))
VISIT = b"\x82\x10\x47"
SOS = b"\x82\x14\x47"


# What a world consists of: the flash, the marks, what append() acknowledged, what the edge has acknowledged.
class World:
    def __init__(self, blocks, block_size, seed):
        self.nor = Nor(blocks, block_size, seed)
        self.marks = Marks()
        self.truth = {}
        self.edge = 0
        self.cuts = 0
        # the journal's own figures are in its README; these are the drill's
        self.survivors = 0

    def journal(self, nor=None, marks=None):
        journal = Journal(nor or self.nor, KEY, marks or self.marks)
        journal.mount()
        journal.trim(self.edge)
        return journal

    # Holds everything the edge lacks, nothing that was never appended, in order. flying: the event whose
    # append was cut: it may be there, whole, or not. Returns True when it is.
    def check(self, journal, flying=None):
        before = 0
        last = 0
        for slot in journal.scan():
            assert slot.seq > before, "reordered: %d after %d" % (slot.seq, before)
            if before > self.edge:
                assert slot.seq == before + 1, "lost: %d" % (before + 1)
            before = slot.seq
            event = (slot.boot, slot.uptime_cs, slot.payload)
            if slot.seq in self.truth:
                assert event == self.truth[slot.seq], "invented: %d" % slot.seq
            else:
                assert slot.seq == len(self.truth) + 1, "invented: %d" % slot.seq
                assert event == flying, "invented: %d" % slot.seq
            if last == 0 and slot.seq > self.edge:
                assert slot.seq == self.edge + 1, "lost: %d" % (self.edge + 1)
                last = 1
        survived = before > len(self.truth)
        assert before == len(self.truth) + survived, "lost: %d" % (before + 1)
        assert journal.loss is None
        assert journal.next_seq == len(self.truth) + 1 + survived
        return survived


def random_event(rand, boot, uptime_cs, alarm):
    head = SOS if alarm or rand.getrandbits(4) == 0 else VISIT
    return boot, uptime_cs, head + bytes(rand.getrandbits(8) for _ in range(7))


# One append on a copy of the world that is cut as told, then power comes back. Returns (nor, marks).
def cut_append(world, event, op, point, style=IN_ORDER):
    nor = world.nor.copy()
    marks = Marks(world.marks.acked, world.marks.seqmin)
    journal = world.journal(nor, marks)
    if op == "nvs":
        marks.arm(point)
    else:
        nor.arm(op, point, style)
    try:
        journal.append(*event)
    except PowerCut:
        pass
    else:
        raise AssertionError("nothing was cut")
    world.cuts += 1
    again = world.journal(nor, marks)
    survived = world.check(again, event)
    world.survivors += survived
    # the device goes on: the next event is stored and nothing else has moved
    world.truth[len(world.truth) + 1] = event
    if not survived:
        assert again.append(*event) == len(world.truth)
    world.check(world.journal(nor, marks))
    assert nor.conflicts == 0, "a slot was programmed twice"
    del world.truth[len(world.truth)]
    return nor, marks


# A history of appends. At each one power is cut at every `step`-th byte of its program (and at `erase_points`
# of its erase, and around its NVS write) on a copy; now and then a damaged copy is what the history goes on
# with.
def drill(blocks, block_size, appends, seed, step=1, erase_points=64, budget=None):
    rand = seeded(seed)
    world = World(blocks, block_size, seed)
    boot = 1
    uptime_cs = 0
    for _ in range(appends):
        if budget and world.cuts >= budget:
            break
        uptime_cs += rand.getrandbits(rand.choice((4, 9, 30)))
        journal = world.journal()
        # a cut spoils one slot and the event needs another: nearly full is as full as a drill can be
        if journal.free < 3:
            world.edge = min(len(world.truth), world.edge + 1 + rand.getrandbits(3))
            continue
        event = random_event(rand, boot, uptime_cs & 0xFFFFFFFFFF, journal.free < 5)
        enters = journal._used == journal._slots
        worlds = []
        for style in (IN_ORDER, SCATTERED):
            for point in range(0, 65, step):
                worlds.append(cut_append(world, event, "program", point, style))
        if enters:
            for style in range(STYLES):
                for point in range(0, block_size, max(1, block_size // erase_points)):
                    worlds.append(cut_append(world, event, "erase", point, style))
            for point in ("before", "after"):
                worlds.append(cut_append(world, event, "nvs", point))
        if rand.getrandbits(2) == 0:
            world.nor, world.marks = rand.choice(worlds)
            boot += 1
        else:
            journal.append(*event)
        # after a cut it had survived, or was stored when power came back
        world.truth[len(world.truth) + 1] = event
        if rand.getrandbits(1):
            world.edge = min(len(world.truth), world.edge + rand.getrandbits(3))
    journal = world.journal()
    world.check(journal)
    # one unbroken chain through all of it
    held = list(journal.scan())
    for index in range(1, len(held)):
        before, slot = held[index - 1], held[index]
        record = events.record(slot.seq, slot.boot, slot.uptime_cs, slot.payload)
        if slot.seq == before.seq + 1:
            assert cose.mac8(KEY, before.mac8, record) == slot.mac8, "chain broken at %d" % slot.seq
    return world
