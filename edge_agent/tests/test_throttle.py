"""Five wrong tries, then growing pauses; bounded; addresses as sources."""

from __future__ import annotations

import pytest

from edge_agent.throttle import FREE_TRIES, LAST_S, MAX_SOURCES, Throttle, source_of


def test_five_are_free_then_it_waits_longer_and_longer() -> None:
    throttle = Throttle()
    for tries in range(1, FREE_TRIES + 1):
        assert throttle.wait_s("a", 10.0) == 0
        assert throttle.wrong("a", 10.0) == tries
    assert throttle.wait_s("a", 10.0) == 60
    assert throttle.wait_s("a", 69.0) == 1
    assert throttle.wait_s("b", 10.0) == 0
    assert throttle.wait_s("a", 70.0) == 0
    now_s, pauses = 70.0, []
    for _ in range(9):
        throttle.wrong("a", now_s)
        pauses.append(throttle.wait_s("a", now_s))
        now_s += pauses[-1]
    assert pauses == [120, 240, 480, 960, 1920, *[LAST_S] * 4]


def test_the_right_one_or_a_long_quiet_time_begins_anew() -> None:
    throttle = Throttle()
    for _ in range(FREE_TRIES):
        throttle.wrong("a", 0.0)
    throttle.right("a")
    assert throttle.wait_s("a", 0.0) == 0
    assert throttle.wrong("a", 0.0) == 1
    assert throttle.wrong("a", 2 * LAST_S + 1) == 1


def test_it_remembers_no_more_than_it_says() -> None:
    throttle = Throttle()
    for number in range(10 * MAX_SOURCES):
        throttle.wrong(str(number), 0.0)
    assert len(throttle._sources) == MAX_SOURCES


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("<b>", "unknown"),
    ],
)
def test_sources(address: str | None, source: str) -> None:
    assert source_of(address) == source
