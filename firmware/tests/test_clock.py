# The uptime and its anchors. Plain functions: they also run on the real VM.
from firmware.tests.nor import seeded
from node.clock import Clock, kept

WRAP = 1 << 30


class Ticks:
    def __init__(self, start):
        self.true_ms = start

    def __call__(self):
        return self.true_ms & (WRAP - 1)


def test_starts_at_zero_wherever_the_ticks_are():
    for start in (0, 1, WRAP - 1):
        assert Clock(Ticks(start)).uptime_ms() == 0


def test_counts_through_every_wrap():
    rand = seeded(1)
    ticks = Ticks(WRAP - 5)
    clock = Clock(ticks)
    began = ticks.true_ms
    for _ in range(3000):
        ticks.true_ms += rand.getrandbits(rand.choice((1, 10, 20, 29)))
        assert clock.uptime_ms() == ticks.true_ms - began
    assert clock.uptime_ms() > 50 * WRAP


def test_a_wrap_of_a_multiple_works_too():
    # a 64-bit interpreter wraps at 2^62
    true_ms = [(1 << 62) - 10]
    clock = Clock(lambda: true_ms[0] & ((1 << 62) - 1))
    true_ms[0] += 25
    assert clock.uptime_ms() == 25


def test_the_longest_silence():
    ticks = Ticks(77)
    clock = Clock(ticks)
    ticks.true_ms += WRAP - 1
    assert clock.uptime_ms() == WRAP - 1


def test_the_true_time_lies_in_every_anchor():
    rand = seeded(2)
    for _ in range(2000):
        clock = Clock(Ticks(0))
        offset_ms = 1_700_000_000_000 + rand.getrandbits(20)
        edge_error_ms = rand.getrandbits(6)
        sent_ms = rand.getrandbits(30)
        there_ms = sent_ms + rand.getrandbits(rand.choice((1, 8, 12)))
        back_ms = there_ms + rand.getrandbits(rand.choice((1, 8, 12)))
        # the edge's own clock may be off by its stated error, either way
        edge_ms = offset_ms + there_ms + rand.randint(-edge_error_ms, edge_error_ms)
        clock.contact(sent_ms, back_ms, edge_ms, edge_error_ms)
        uptime_ms, said_ms, error_ms = clock.anchor
        assert abs(offset_ms + uptime_ms - said_ms) <= error_ms
        assert error_ms <= (back_ms - sent_ms) // 2 * 17 // 16 + 5 + edge_error_ms


def test_no_anchor_before_the_first_contact():
    assert Clock(Ticks(0)).anchor is None


def test_slept_time_is_told_with_the_anchor():
    ticks = Ticks(5)
    awake = Clock(ticks)
    awake.contact(0, 0, 1_790_000_000_000, 10)
    assert len(awake.told()) == 3
    clock = Clock(ticks, sleeper=True)
    assert clock.told() is None
    ticks.true_ms += 90_000
    clock.slept(60_000)
    clock.contact(80_000, 80_100, 1_790_000_000_000, 10)
    ticks.true_ms += 5_000
    clock.slept(4_000)
    assert clock.told() == clock.anchor + (60_000, 64_000)
    assert clock.uptime_ms() == 95_000


def test_deep_sleep_goes_on_where_it_was():
    ticks = Ticks(WRAP - 3)
    clock = Clock(ticks, sleeper=True)
    ticks.true_ms += 1000
    clock.slept(300)
    data = clock.keep(17, 50_000)
    assert len(data) == 36
    assert kept(data, 50_000) == (17, 1000, 300)
    boot, uptime_ms, slept_ms = kept(data, 90_000)
    assert (boot, uptime_ms, slept_ms) == (17, 41_000, 40_300)
    woken = Clock(Ticks(12), True, uptime_ms, slept_ms)
    assert woken.uptime_ms() == 41_000
    # a slow clock that started anew, or that can't be right
    assert kept(data, 49_999) is None
    assert kept(data, 50_000 + 1001 * 86_400_000) is None


def test_what_is_left_of_a_lost_memory_is_refused():
    data = Clock(Ticks(0)).keep(17, 50_000)
    assert kept(b"", 60_000) is None
    for size in range(len(data)):
        assert kept(data[:size], 60_000) is None
    for index in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[index] ^= 1 << bit
            assert kept(bytes(bad), 60_000) is None
