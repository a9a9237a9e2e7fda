# The uptime and its anchors. Plain functions: they also run on the real VM.
from firmware.tests.nor import seeded
from node.clock import Clock

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
        assert error_ms <= (back_ms - sent_ms) // 2 + 1 + edge_error_ms


def test_no_anchor_before_the_first_contact():
    assert Clock(Ticks(0)).anchor is None
