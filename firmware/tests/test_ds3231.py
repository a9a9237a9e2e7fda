# The clock chip's driver against a model of the chip. Plain functions: they also run on the real VM.
from drivers.ds3231 import Ds3231, _fields, unix_seconds

from firmware.tests.ds3231_chip import Chip
from firmware.tests.nor import seeded

T0 = 1_790_000_000_123


class World:
    def __init__(self, ppm=0):
        self.ms = 0
        self.chip = Chip(lambda: self.ms, ppm)
        self.driver = Ds3231(self.chip, lambda: self.ms)

    def set(self, error_ms=20):
        return self.driver.set(self.ms, T0 + self.ms, error_ms)

    # What the driver says contains the truth; its error in ms.
    def holds(self):
        uptime_ms, wall_ms, error_ms = self.driver.read()
        assert abs(T0 + uptime_ms - wall_ms) <= error_ms, (self.ms, wall_ms - T0 - uptime_ms, error_ms)
        return error_ms


def test_calendar():
    # checked with datetime: leap days, ends of months and years, the last second
    for seconds, fields in (
        (946_684_800, b"\x00\x00\x00\x07\x01\x01\x00"),
        (951_782_400, b"\x00\x00\x00\x02\x29\x02\x00"),
        (1_709_164_799, b"\x59\x59\x23\x03\x28\x02\x24"),
        (1_709_164_800, b"\x00\x00\x00\x04\x29\x02\x24"),
        (1_790_000_000, b"\x20\x13\x14\x01\x21\x09\x26"),
        (4_102_444_799, b"\x59\x59\x23\x05\x31\x12\x99"),
    ):
        found = _fields(seconds)
        assert unix_seconds(fields) == seconds, (seconds, unix_seconds(fields))
        assert (found[:3], found[4:]) == (fields[:3], fields[4:]), (seconds, found)


def test_every_day_of_a_century_there_and_back():
    for day in range(36_525):
        seconds = 946_684_800 + day * 86_400 + (day * 7919) % 86_400
        assert unix_seconds(_fields(seconds)) == seconds


def test_a_fresh_chip_is_not_trusted():
    world = World()
    assert world.driver.read() is None
    assert world.driver.fault == "stopped"
    # its flag alone, cleared by somebody else, is not enough either
    world.chip.registers[15] = 0
    assert world.driver.read() is None
    assert world.driver.fault == "not set"


def test_the_true_time_lies_inside_for_years():
    rand = seeded(5)
    for ppm in (-3.4, -2, 0, 1.5, 3.4):
        world = World(ppm)
        world.ms = rand.getrandbits(20)
        assert world.set()
        assert world.chip.registers[15] & 0x80 == 0
        widest = 0
        for _ in range(150):
            world.ms += rand.getrandbits(rand.choice((8, 11, 20, 29)))
            widest = max(widest, world.holds())
        assert widest < 700 + world.ms * 4 // 1_000_000


def test_the_error_of_the_setting_stays():
    world = World()
    assert world.set(3000)
    assert world.holds() > 3000
    # beyond what the note can say it is no time at all
    assert not world.set(5000)
    assert world.driver.read() is None


def test_a_stopped_oscillator_is_told():
    world = World()
    world.set()
    world.chip.registers[15] |= 0x80
    assert world.driver.read() is None
    assert world.driver.fault == "stopped"
    assert world.set()
    world.holds()


def test_garbage_after_a_lost_battery_is_refused():
    rand = seeded(6)
    world = World()
    for _ in range(2000):
        world.set()
        world.chip.lose(bytearray([rand.getrandbits(8) for _ in range(19)]))
        assert world.driver.read() is None
        # even if the flag read as cleared: the note's CRC lets one in 256 pass, BCD and calendar most of those not
        world.chip.registers[15] &= 0x7F


def test_bcd_garbage_is_no_time():
    good = bytearray(b"\x59\x59\x23\x03\x28\x02\x23")
    assert unix_seconds(good) is not None
    for index, bad in (
        (0, 0x60), (0, 0x5A), (0, 0xFF), (1, 0x99), (1, 0x0F), (2, 0x24), (2, 0x41), (2, 0x67), (4, 0x00), (4, 0x29),
        (4, 0x32), (5, 0x00), (5, 0x13), (5, 0x82), (6, 0xA0), (6, 0x0A),
    ):  # fmt: skip
        fields = bytearray(good)
        fields[index] = bad
        assert unix_seconds(fields) is None, (index, bad)


def test_single_wrong_bits_on_the_bus():
    # a flipped bit in the note is found by its CRC; one in the time makes another time or none: this the bus
    # must not do, and the edge finds a chip that is off by its next contact
    world = World()
    world.set()
    world.ms += 5000
    for index in range(7, 14):
        for bit in range(8):
            world.chip.flip = (world.chip.transfers, index, bit)
            assert world.driver.read() is None, (index, bit)
    world.chip.flip = None
    world.holds()


def test_a_failing_bus_at_every_transfer():
    for error in (116, 5, 19):
        for fail_at in range(10):
            for torn in range(8):
                world = World()
                world.set()
                world.ms += 86_400_000
                world.chip.transfers = 0
                world.chip.fail_at = fail_at
                world.chip.torn = torn
                world.chip.error = error
                done = world.set()
                world.ms += 10_000
                world.chip.fail_at = -1
                assert done == (fail_at > 7)
                reading = world.driver.read()
                # the old time, the new time or none, but never a wrong one
                assert reading is None or abs(T0 + reading[0] - reading[1]) <= reading[2], (fail_at, torn)


def test_an_absent_chip():
    world = World()
    world.chip.there = False
    assert world.driver.read() is None
    assert world.driver.fault == "absent"
    assert not world.set()


def test_a_bus_that_times_out():
    world = World()
    world.set()
    world.chip.fail_at = world.chip.transfers
    assert world.driver.read() is None
    assert world.driver.fault == "no answer"
    world.holds()


def test_the_oscillator_runs_on_the_battery_and_the_alarms_are_off():
    world = World()
    world.chip.registers[14] = 0xFF
    world.set()
    assert world.chip.registers[14] == 0x04
    assert world.chip.registers[15] & 0x8B == 0
