"""What every store must do. A backend's test class inherits from StoreSuite and gives `store`."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gatelink import cbor
from tools.office.batch import decode
from tools.office.chain import Chain
from tools.office.store.base import DOUBLE, MISFIT, UNPROVEN, DeviceState, Finding, Store, StoredEvent, Taken
from tools.office.tests.makers import T0, Device, Row, body

SITE = "lakeside"


def take(store: Store, rows: list[Row], site: str = SITE, devices: Any = None, now_ms: int = T0) -> Taken:
    return store.take(decode(body(rows, site, devices=devices), site, store.site_key(site)), now_ms)


def check(store: Store, device: Device, site: str = SITE, limit: int = 2_000) -> int:
    steps = 1
    while store.check(store.site_key(site), device.device, Chain(device.key), T0, limit):
        steps += 1
    return steps


def state(store: Store, device: Device, site: str = SITE) -> DeviceState:
    (found,) = store.devices(site, device.device)
    return found


def exact(store: Store, device: Device, site: str = SITE) -> None:
    """The store holds exactly what the device minted, once, in its order."""
    found = store.history(site, device.device, 0, 1_000_000)
    assert [(e.seq, e.boot, e.uptime_cs, e.payload) for e in found] == [
        (one.seq, one.boot, one.uptime_cs, one.payload) for one in device.journal
    ]


def made(count: int = 100, number: int = 101) -> Device:
    device = Device(number)
    device.work(count)
    return device


class StoreSuite:
    """The conformance suite."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_a_batch_and_its_receipt(self, store: Store) -> None:
        device = made()
        taken = take(store, device.rows(1, 60), devices={101: [1, "tag 1", "1.0", 3700, T0]})
        assert (taken.events, taken.added, taken.conflicts) == (60, 60, 0)
        assert taken.devices == {101: (60, [])}
        found = state(store, device)
        assert (found.role, found.name, found.firmware, found.battery_mv, found.last_contact_ms) == (
            1, "tag 1", "1.0", 3700, T0,
        )  # fmt: skip
        assert (found.edge, found.stored, found.complete_to, found.missing) == ("pi-1", 60, 60, [])

    def test_an_empty_batch(self, store: Store) -> None:
        assert take(store, [], devices={5: [None, "", None, None, None]}).devices == {}
        assert [found.device for found in store.devices()] == [5]

    def test_times_of_every_event(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 40))
        for found, one in zip(store.history(SITE, 101, 0, 100), device.journal, strict=False):
            assert found.t_lo_ms <= T0 + one.uptime_cs * 10 <= found.t_hi_ms <= found.t_lo_ms + 5_000

    def test_any_order_overlap_and_repetition(self, store: Store) -> None:
        seed = 7
        print("seed", seed)
        rng = random.Random(seed)
        device = made(300)
        for first in range(1, 301, 20):
            take(store, [device.row(first, first + rng.randrange(3))])
        for _ in range(60):
            rows = []
            for _ in range(rng.randrange(1, 5)):
                first = rng.randint(1, 300)
                rows.append(device.row(first, min(first + rng.randrange(40), 300)))
            take(store, rows)
        take(store, device.rows(1, 300, 64))
        exact(store, device)
        check(store, device)
        found = state(store, device)
        assert (found.complete_to, found.missing, found.conflicts, found.findings) == (300, [], 0, [])
        assert found.verified_to == 300

    def test_the_same_run_twice_in_one_batch(self, store: Store) -> None:
        device = made()
        taken = take(store, [device.row(1, 20), device.row(1, 20), device.row(11, 30)])
        assert (taken.events, taken.added, taken.conflicts) == (60, 30, 0)

    def test_gaps_are_named(self, store: Store) -> None:
        device = made()
        taken = take(store, [device.row(3, 10), device.row(21, 30), device.row(41, 41)])
        assert taken.devices[101] == (0, [(1, 2), (11, 20), (31, 40)])
        taken = take(store, [device.row(1, 5), device.row(11, 20)])
        assert taken.devices[101] == (30, [(31, 40)])

    def test_sites_are_apart(self, store: Store) -> None:
        one, other = made(), Device(101, key=b"k" * 32)
        other.work(30)
        take(store, one.rows(1, 100))
        take(store, other.rows(1, 30), site="east")
        exact(store, one)
        exact(store, other, "east")
        check(store, other, "east")
        assert state(store, other, "east").verified_to == 30
        assert state(store, one).verified_to == 0

    def test_boots_follow_each_other(self, store: Store) -> None:
        device = made(10)
        device.boot, device.uptime_cs = 2, 0
        device.work(10)
        take(store, [device.row(1, 10), device.row(11, 20)])
        check(store, device)
        exact(store, device)
        assert state(store, device).verified_to == 20

    def test_an_older_note_does_not_win(self, store: Store) -> None:
        take(store, [], devices={101: [1, "new", "2.0", 3600, T0 + 9]})
        take(store, [], devices={101: [1, "old", "1.0", 3900, T0]})
        take(store, [], devices={101: [None, "newest", None, None, T0 + 10]})
        (found,) = store.devices()
        assert (found.name, found.firmware, found.battery_mv, found.role) == ("newest", "2.0", 3600, 1)

    # the chain

    def test_the_chain_is_followed_as_it_closes(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 40))
        check(store, device)
        take(store, device.rows(61, 100))
        check(store, device)
        assert state(store, device).verified_to == 40
        take(store, device.rows(41, 60))
        check(store, device)
        assert (state(store, device).verified_to, state(store, device).findings) == (100, [])

    def test_small_steps(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 100, 10))
        assert (store.site_key(SITE), 101) in store.unchecked()
        assert check(store, device, limit=25) > 3
        assert state(store, device).verified_to == 100
        assert store.unchecked() == []

    def test_singles_without_their_own_value_wait_for_the_next(self, store: Store) -> None:
        device = made()
        take(store, [device.row(at, at, mac8=None) for at in range(1, 31)])
        check(store, device)
        assert (state(store, device).complete_to, state(store, device).verified_to) == (30, 0)
        take(store, [device.proof(30)])
        check(store, device, limit=10)
        assert state(store, device).verified_to == 30

    def test_an_alarm_ahead_of_its_lane(self, store: Store) -> None:
        device = made()
        take(store, [device.row(17, 17)])
        take(store, [device.row(1, 16, mac8=None), device.row(18, 20)])
        check(store, device)
        assert state(store, device).verified_to == 20

    def test_a_changed_event_is_named(self, store: Store) -> None:
        device = made()
        rows = device.rows(1, 100)
        stored = device.journal[44]
        device.journal[44] = type(stored)(stored.seq, stored.boot, stored.uptime_cs, cbor.dumps([16, b"0000"]), b"")
        rows[2] = device.row(41, 60)
        taken = take(store, rows)
        assert taken.added == 100
        check(store, device)
        found = state(store, device)
        assert found.findings == [Finding(41, 60, MISFIT)]
        assert (found.complete_to, found.verified_to, found.checked_to) == (100, 40, 100)
        assert len(store.history(SITE, 101, 0, 1000)) == 100  # kept as evidence

    @pytest.mark.parametrize("field", ["boot", "uptime_cs"])
    def test_a_changed_head_is_named(self, store: Store, field: str) -> None:
        device = made()
        rows = device.rows(1, 100)
        rows[0] = device.row(1, 20, **{field: 5_000_000})
        take(store, rows)
        check(store, device)
        assert state(store, device).findings == [Finding(1, 20, MISFIT)]

    def test_a_made_up_event_is_named(self, store: Store) -> None:
        device = made(20)
        forged = Device(101, key=b"?" * 32, journal=device.journal.copy(), uptime_cs=device.uptime_cs)
        forged.work(5)
        take(store, [device.row(1, 20), forged.row(21, 25)])
        check(store, device)
        assert state(store, device).findings == [Finding(21, 25, MISFIT)]

    def test_events_dropped_and_numbers_closed_up_are_named(self, store: Store) -> None:
        device = made()
        rows = device.rows(1, 40)
        moved = device.row(51, 60, first_seq=41, last_seq=50)
        take(store, [*rows, moved])
        check(store, device)
        assert state(store, device).findings == [Finding(41, 50, MISFIT)]

    def test_a_second_chain_value_is_named_even_when_it_comes_late(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 100))
        check(store, device)
        forged = device.proof(40)
        forged[12] = b"forged!!"
        take(store, [forged])
        check(store, device)
        found = state(store, device)
        assert (found.findings, found.verified_to, found.checked_to) == ([Finding(21, 40, MISFIT)], 20, 100)

    def test_a_late_true_value_changes_nothing(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 100))
        check(store, device)
        take(store, [device.proof(33), device.proof(1), device.proof(100)])
        check(store, device)
        assert (state(store, device).verified_to, state(store, device).findings) == (100, [])

    def test_a_declared_loss(self, store: Store) -> None:
        device = made()
        before = device.journal[49].mac8
        taken = take(store, [device.row(1, 40), device.row(51, 100 - 36, skipped=10, mac_before=before)])
        assert taken.devices[101] == (64, [])
        check(store, device)
        found = state(store, device)
        assert (found.lost, found.verified_to, found.findings) == ([(41, 50)], 64, [])
        take(store, [device.row(43, 44, mac8=None)])
        assert state(store, device).lost == [(41, 42), (45, 50)]

    def test_a_loss_at_the_very_start(self, store: Store) -> None:
        device = made()
        take(store, [device.row(11, 20, skipped=10, mac_before=device.journal[9].mac8)])
        check(store, device)
        found = state(store, device)
        assert (found.complete_to, found.lost, found.verified_to) == (20, [(1, 10)], 20)

    def test_events_before_a_loss_without_a_value_are_unproven(self, store: Store) -> None:
        device = made()
        rows = [
            device.row(1, 40),
            device.row(41, 42, mac8=None),
            device.row(51, 60, skipped=8, mac_before=device.journal[49].mac8),
        ]
        take(store, rows)
        check(store, device)
        found = state(store, device)
        assert found.findings == [Finding(41, 42, UNPROVEN)]
        assert (found.verified_to, found.checked_to) == (40, 60)

    def test_a_loss_with_a_false_value_is_named(self, store: Store) -> None:
        device = made()
        take(store, [device.row(1, 40), device.row(51, 60, skipped=10, mac_before=b"12345678")])
        check(store, device)
        assert state(store, device).findings == [Finding(51, 60, MISFIT)]

    def test_the_same_identity_with_another_content(self, store: Store) -> None:
        device = made()
        take(store, device.rows(1, 100))
        check(store, device)
        first = store.history(SITE, 101, 0, 100)
        other = Device(101)
        other.work(100, random.Random(99))
        assert take(store, other.rows(1, 20)).conflicts > 0
        check(store, device)
        found = state(store, device)
        assert found.conflicts > 0
        assert found.findings == [Finding(1, 20, MISFIT)]  # the second chain value for 20
        assert store.history(SITE, 101, 0, 100) == first

    def test_one_number_under_two_boots(self, store: Store) -> None:
        device = made(20)
        take(store, device.rows(1, 20))
        check(store, device)
        again = Device(101, boot=2)
        again.work(3)
        assert take(store, again.rows(1, 3)).added == 3
        check(store, device)
        found = state(store, device)
        assert [one.first for one in found.findings if one.reason == DOUBLE] == [1, 2, 3]
        assert found.verified_to == 0
        assert len(store.history(SITE, 101, 0, 100)) == 23

    # reading

    def test_pages_of_events(self, store: Store) -> None:
        one, other = made(90), made(70, 102)
        take(store, [*one.rows(1, 90), *other.rows(1, 70)])
        take(store, made(50, 103).rows(1, 50), site="east")
        everything = self._all(store, None, None, ())
        assert len(everything) == 210
        assert [event.t_hi_ms for event in everything] == sorted((e.t_hi_ms for e in everything), reverse=True)
        assert {(e.site, e.device) for e in self._all(store, SITE, None, ())} == {(SITE, 101), (SITE, 102)}
        mine = self._all(store, SITE, 101, ())
        assert [event.seq for event in mine] == list(range(90, 0, -1))
        kinds = {event.kind for event in self._all(store, None, None, (16, 20))}
        assert kinds == {16, 20}
        assert self._all(store, "nowhere", None, ()) == []
        assert {e.kind for e in self._all(store, SITE, 102, (16,))} == {16}

    def _all(
        self, store: Store, site: str | None, device: int | None, kinds: tuple[int, ...]
    ) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        before = None
        while True:
            page = store.events(site, device, kinds, before, 16)
            assert len(page.events) <= 16
            found += page.events
            before = page.older
            if before is None:
                assert len({event[:4] for event in found}) == len(found)
                return found

    def test_history_goes_on(self, store: Store) -> None:
        device = made(50)
        take(store, device.rows(1, 50))
        assert [event.seq for event in store.history(SITE, 101, 20, 10)] == list(range(21, 31))
        assert store.history(SITE, 101, 50, 10) == []

    def test_times_stated_again_are_shown_and_the_first_word_stays(self, store: Store) -> None:
        device = made(60)
        take(store, device.rows(1, 40))
        first = store.history(SITE, 101, 0, 100)
        head = device.journal[10]
        low, high = T0 + head.uptime_cs * 10 + 15, T0 + head.uptime_cs * 10 + 20
        # of events 11..50; 41 to 50 come later, by another lane
        again = [1, 101, head.boot, 11, 10, head.uptime_cs, low, high, T0 + 9, 40, None, b"", None]
        taken = take(store, [again])
        assert (taken.events, taken.added) == (0, 0)
        take(store, [again])
        take(store, device.rows(41, 60))
        found = store.history(SITE, 101, 0, 100)
        assert len(found) == 60
        assert [event[:10] for event in found[:40]] == [event[:10] for event in first]
        for event, one in zip(found, device.journal, strict=True):
            if 11 <= event.seq <= 50:
                drift_ms = (one.uptime_cs - head.uptime_cs) // 10_000 + 1
                assert event.best_lo_ms >= T0 + one.uptime_cs * 10 + 15 - drift_ms
                assert event.best_hi_ms <= T0 + one.uptime_cs * 10 + 20 + drift_ms
                assert event.best_lo_ms <= T0 + one.uptime_cs * 10 + 20
                assert event.best_hi_ms >= T0 + one.uptime_cs * 10 + 15
            else:
                assert (event.best_lo_ms, event.best_hi_ms) == (event.t_lo_ms, event.t_hi_ms)
        assert state(store, device).complete_to == 60

    def test_a_wider_or_contradicting_time_changes_nothing(self, store: Store) -> None:
        device = made(5)
        take(store, device.rows(1, 5))
        head = device.journal[0]
        at = T0 + head.uptime_cs * 10
        for low, high in ((at - 500, at + 5_000), (0, (1 << 48) - 1), (at + 9_000, at + 9_100)):
            take(store, [[1, 101, head.boot, 1, 0, head.uptime_cs, low, high, T0, 5, None, b"", None]])
        for event in store.history(SITE, 101, 0, 9):
            assert (event.best_lo_ms, event.best_hi_ms) == (event.t_lo_ms, event.t_hi_ms)

    def test_events_of_an_unknown_time_sort_by_what_is_known_later(self, store: Store) -> None:
        device = made(3)
        unknown = (1 << 48) - 1
        take(store, [device.row(1, 3, t_lo_ms=0, t_hi_ms=unknown)])
        other = made(3, 102)
        take(store, [other.row(1, 3, t_lo_ms=T0 + 10**9, t_hi_ms=T0 + 10**9 + 50)])
        page = store.events(None, None, (), None, 10)
        assert {event.device for event in page.events[:3]} == {101}
        assert page.events[0].t_hi_ms == unknown
        take(store, [[1, 101, 1, 1, 0, device.journal[0].uptime_cs, T0, T0 + 50, T0, 3, None, b"", None]])
        page = store.events(None, None, (), None, 4)
        assert [event.device for event in page.events] == [102, 102, 102, 101]
        rest = store.events(None, None, (), page.older, 4)
        assert [event.seq for event in rest.events] == [2, 1]
