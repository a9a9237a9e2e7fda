# What the journal promises, apart from power cuts. Plain functions: they also run on the real VM.
from firmware.tests.nor import Marks, Nor
from node.errors import FlashError, JournalFull
from node.image import open_image
from node.journal import Journal

KEY = bytes(range(32))
HEARTBEAT = b"\x82\x00\xf6"
VISIT = b"\x82\x10\x44\x01\x02\x03\x04"
SOS = b"\x82\x14\xf6"
BIGGEST = b"\x82\x10\x58\x22" + bytes(34)


def mounted(nor, marks=None):
    journal = Journal(nor, KEY, marks or Marks())
    journal.mount()
    return journal


def refused(call, error=JournalFull):
    try:
        call()
    except error:
        return True
    return False


def test_empty():
    journal = mounted(Nor(4))
    assert (journal.first_seq, journal.next_seq, journal.pending) == (1, 1, 0)
    assert journal.chain() == (0, bytes(8))
    assert list(journal.scan()) == []
    assert journal.read(1) is None
    assert journal.next_held(1) == 1
    assert journal.capacity == 256


def test_comes_back_as_written():
    nor = Nor(4)
    journal = mounted(nor)
    wrote = []
    for index in range(150):
        event = (0xABCDEF, 0xFEDCBA9800 + index, BIGGEST if index % 2 else VISIT)
        assert journal.append(*event) == index + 1
        wrote.append(event)
    for look in (journal, mounted(nor), open_image(bytes(nor.data))):
        held = list(look.scan())
        assert [slot.seq for slot in held] == list(range(1, 151))
        assert [(slot.boot, slot.uptime_cs, slot.payload) for slot in held] == wrote
        assert look.chain() == journal.chain()
        assert look.next_seq == 151
        for seq in (1, 64, 65, 150, 3, 128, 129):
            assert look.read(seq) == held[seq - 1]
        assert look.read(151) is None
        assert look.mac_before(1) == bytes(8)
        assert look.mac_before(66) == held[64].mac8


def test_the_chain_covers_every_field():
    seen = set()
    for event in ((1, 2, VISIT), (2, 2, VISIT), (1, 3, VISIT), (1, 2, SOS)):
        journal = mounted(Nor(2))
        journal.append(*event)
        seen.add(journal.chain()[1])
        journal.append(*event)
        seen.add(journal.chain()[1])
    assert len(seen) == 8


def test_full_by_class():
    journal = mounted(Nor(4))
    while not refused(lambda: journal.append(1, 1, HEARTBEAT)):
        pass
    assert journal.fill_percent == 75
    while not refused(lambda: journal.append(1, 1, VISIT)):
        pass
    assert journal.free == 256 // 50
    while not refused(lambda: journal.append(1, 1, SOS)):
        pass
    assert journal.free == 0
    assert journal.fill_percent == 100
    assert journal.pending == 256
    assert journal.refused == [1, 1, 1]
    assert len(list(journal.scan())) == 256
    # nothing unsent makes way, however often it is asked for
    for _ in range(5):
        assert refused(lambda: journal.append(1, 1, SOS))
    assert len(list(journal.scan())) == 256
    journal.trim(63)
    assert journal.free == 0
    journal.trim(64)
    assert journal.free == 64
    assert journal.append(1, 1, VISIT) == 257
    assert journal.first_seq == 65


def test_acked_survives_at_block_grain():
    nor = Nor(3)
    marks = Marks()
    journal = mounted(nor, marks)
    for _ in range(100):
        journal.append(1, 1, VISIT)
    journal.trim(90)
    for _ in range(40):
        journal.append(1, 1, VISIT)
    again = mounted(nor, marks)
    assert again.acked_seq == 90
    assert again.next_seq == 141
    again.trim(1000)
    assert again.acked_seq == 140
    again.trim(7)
    assert again.acked_seq == 140


def test_ring_goes_round_many_times():
    nor = Nor(3, 256)
    marks = Marks()
    journal = mounted(nor, marks)
    for seq in range(1, 1000):
        assert journal.append(1, seq, VISIT) == seq
        journal.trim(seq)
        if seq % 97 == 0:
            journal = mounted(nor, marks)
            journal.trim(seq)
    assert max(nor.wear) - min(nor.wear) <= 1
    assert journal.wear == max(nor.wear)
    assert sum(nor.wear) == 250
    assert nor.conflicts == 0


def test_a_wiped_flash_never_gives_a_number_twice():
    nor = Nor(4)
    marks = Marks()
    journal = mounted(nor, marks)
    for _ in range(200):
        journal.append(1, 1, VISIT)
    for _ in range(2):
        wiped = Nor(4)
        again = mounted(wiped, marks)
        assert again.loss == (1, again.next_seq - 1)
        assert again.next_seq > 200
    seq = again.append(2, 1, VISIT)
    again = mounted(wiped, marks)
    assert again.loss is None
    assert again.next_seq == seq + 1
    assert again.mac_before(seq) == bytes(8)
    assert again.next_held(1) == seq


def test_goes_on_after_what_the_edge_knows():
    nor = Nor(4)
    marks = Marks()
    journal = mounted(nor, marks)
    journal.append(1, 1, VISIT)
    journal.resume_after(500)
    journal.trim(500)
    assert journal.loss == (2, 500)
    assert journal.pending == 0
    assert journal.append(1, 1, VISIT) == 501
    assert journal.append(1, 1, VISIT) == 502
    for look in (journal, mounted(nor, marks)):
        assert [slot.seq for slot in look.scan()] == [1, 501, 502]
        assert look.read(501).seq == 501
        assert look.read(502).seq == 502
        assert look.read(2) is None
        assert look.next_held(2) == 501


def test_damaged_slots_are_gaps_not_lies():
    nor = Nor(4)
    journal = mounted(nor)
    for index in range(200):
        journal.append(1, index, VISIT)
    whole = list(journal.scan())
    for seq in (1, 2, 70, 130, 131, 132):
        nor.data[(seq - 1) * 64 + 20] ^= 0x10
    again = mounted(nor)
    assert again.next_seq == 201
    held = list(again.scan())
    assert held == [slot for slot in whole if slot.seq not in (1, 2, 70, 130, 131, 132)]
    for slot in held:
        assert again.read(slot.seq) == slot
    assert again.read(70) is None
    # the damage is in its payload: its chain value still proves the event behind it
    assert again.mac_before(71) == whole[69].mac8
    assert again.next_held(130) == 133
    assert again.next_held(1) == 3


def test_flash_that_takes_nothing_says_so():
    nor = Nor(2)
    nor.program = lambda addr, data: None
    journal = mounted(nor)
    assert refused(lambda: journal.append(1, 1, VISIT), FlashError)
    assert journal.next_seq == 1


def test_flash_with_bad_bits_is_passed_over():
    nor = Nor(2)
    journal = mounted(nor)
    real = nor.program

    def bad(addr, data):
        spoilt = bytearray(data)
        if addr in (64, 128):
            spoilt[0] = 0
            spoilt[2] = 0x55
        real(addr, spoilt)

    nor.program = bad
    for index in range(10):
        assert journal.append(1, index, VISIT) == index + 1
    assert journal.bad_slots == 2
    again = mounted(nor)
    assert [slot.seq for slot in again.scan()] == list(range(1, 11))
    assert [again.read(seq).uptime_cs for seq in range(1, 11)] == list(range(10))


def test_a_slot_that_is_not_blank_is_never_programmed():
    nor = Nor(2)
    journal = mounted(nor)
    journal.append(1, 1, VISIT)
    nor.data[130] = 0xFE
    journal = mounted(nor)
    assert journal.append(1, 1, VISIT) == 2
    assert nor.conflicts == 0
    assert journal.read(2).seq == 2


def test_a_bit_that_does_not_erase_is_passed_over():
    nor = Nor(2, 512)
    journal = mounted(nor)
    real = nor.erase

    def weak(block):
        real(block)
        nor.data[block * 512 + 70] = 0x7F

    nor.erase = weak
    for seq in range(1, 30):
        assert journal.append(1, seq, VISIT) == seq
        journal.trim(seq)
    assert nor.conflicts == 0
    assert journal.bad_slots == 4
    assert [slot.seq for slot in mounted(nor).scan()][-7:] == list(range(23, 30))


def test_bad_flash_in_a_full_journal_costs_the_event_not_an_old_one():
    nor = Nor(2, 512)
    journal = mounted(nor)
    for _ in range(14):
        journal.append(1, 1, VISIT)
    journal.append(1, 1, SOS)
    nor.data[-1] = 0
    assert refused(lambda: journal.append(1, 1, SOS))
    assert [slot.seq for slot in mounted(nor).scan()] == list(range(1, 16))


# 2 MiB that were never written; a VM has no room for a model of them.
class Blank:
    size = 2 << 20
    block_size = 4096

    def read_into(self, addr, buf):
        buf[:] = b"\xff" * len(buf)


def test_two_mebibytes():
    journal = mounted(Blank())
    assert journal.capacity == 32768
    # an array of u32: 2 KiB
    assert len(bytes(journal._first)) <= 4096
    assert journal.reads == 512


def test_mount_is_bounded():
    nor = Nor(512, 256)
    marks = Marks()
    journal = mounted(nor, marks)
    reads = []
    for fill in (0, 1, 100, 2000, 3000):
        while journal.next_seq <= fill:
            journal.append(1, 1, VISIT)
            journal.trim(journal.next_seq - 1000)
        reads.append(mounted(nor, marks).reads)
    assert max(reads) <= 512 + 4, reads
