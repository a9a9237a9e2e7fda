# How deep and how long the tag sleeps: every combination, and what must hold in all of them.
from patrol_tag.power import AWAKE, BUSY_MS, DEEP, DOCKED_MS, LEAST_MS, LIGHT, LONGEST_MS, Power

POCKET_MS = 900_000


def judge(power, now_ms, docked=False, busy=False, needed=False, due_ms=10_000):
    return power.judge(now_ms, docked, busy, needed, due_ms)


def test_it_sleeps_until_the_next_thing_is_due():
    power = Power(POCKET_MS, 0)
    assert judge(power, 1000, due_ms=280) == (LIGHT, 280)
    assert judge(power, 1000, due_ms=LEAST_MS) == (LIGHT, LEAST_MS)
    assert judge(power, 1000, due_ms=LEAST_MS - 1) == (AWAKE, LEAST_MS - 1)
    assert judge(power, 1000, due_ms=0) == (AWAKE, 0)
    assert judge(power, 1000, due_ms=10**9) == (LIGHT, LONGEST_MS)


def test_in_the_charger_it_never_sleeps():
    power = Power(POCKET_MS, 0)
    for now_ms in range(0, 10 * POCKET_MS, POCKET_MS // 7):
        assert judge(power, now_ms, docked=True) == (AWAKE, DOCKED_MS)
    # and the pocket's time counts from when it was taken out
    assert judge(power, 10 * POCKET_MS) == (LIGHT, 10_000)


def test_while_something_is_under_way_it_never_sleeps():
    power = Power(POCKET_MS, 0)
    assert judge(power, 1000, busy=True) == (AWAKE, BUSY_MS)
    assert judge(power, 10 * POCKET_MS, busy=True) == (AWAKE, BUSY_MS)


def test_in_the_pocket_it_sleeps_deeply():
    power = Power(POCKET_MS, 5_000)
    assert judge(power, POCKET_MS) == (LIGHT, 5_000)  # not past that moment
    assert judge(power, POCKET_MS + 4_999) == (AWAKE, 1)
    assert judge(power, POCKET_MS + 5_000) == (DEEP, 0)
    power.active(POCKET_MS + 6_000)
    assert judge(power, POCKET_MS + 7_000)[0] == LIGHT
    assert judge(power, 2 * POCKET_MS + 6_000) == (DEEP, 0)


def test_a_shift_or_a_call_keeps_it_out_of_deep_sleep():
    power = Power(POCKET_MS, 0)
    assert judge(power, 100 * POCKET_MS, needed=True) == (LIGHT, 10_000)
    assert judge(power, 100 * POCKET_MS) == (DEEP, 0)


def test_never_means_never():
    power = Power(0, 0)
    assert judge(power, 10**12) == (LIGHT, 10_000)


def test_every_history_keeps_the_rules():
    state = 7
    for _ in range(50):
        power = Power(POCKET_MS, 0)
        now_ms = active_ms = 0
        for _ in range(200):
            state = (state * 1103515245 + 12345) & 0x3FFFFFFF
            now_ms += (state >> 8) % 200_000
            docked, busy, needed, touched = [state >> bit & 3 == 0 for bit in (3, 10, 17, 24)]
            due_ms = (state >> 5) % 70_000
            if touched:
                power.active(now_ms)
                active_ms = now_ms
            depth, ms = power.judge(now_ms, docked, busy, needed, due_ms)
            assert ms >= 0
            if docked:
                active_ms = now_ms
            if docked or busy:
                assert depth == AWAKE
            elif not needed and now_ms - active_ms >= POCKET_MS:
                assert depth == DEEP
            else:
                assert depth != DEEP
                assert ms <= min(due_ms, LONGEST_MS)
                assert needed or now_ms + ms <= active_ms + POCKET_MS
                assert depth == AWAKE or ms >= LEAST_MS
