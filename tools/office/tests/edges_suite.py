"""What every store must do with edges, codes and alarms; a backend's test class inherits from it beside StoreSuite."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tools.office.batch import decode
from tools.office.errors import RequestError
from tools.office.store.base import Code, Edge, Redeemed, Store
from tools.office.store.edges import MAX_ALARMS, OTHERS
from tools.office.tests.makers import T0, Device, body

SITE = "lakeside"
RIGHT, WRONG = sha256(b"right").digest(), sha256(b"wrong").digest()
OURS, THEIRS = b"o" * 32, b"t" * 32
HOUR = 3_600_000


def code(store: Store, edge: str = "pi-1", code_sha256: bytes = RIGHT, now_ms: int = T0) -> None:
    store.edges.make_code(store.site_key(SITE), edge, Code(code_sha256, b"pin", now_ms + HOUR), now_ms)


def redeem(store: Store, key: bytes = OURS, shown: bytes = RIGHT, now_ms: int = T0 + 1, edge: str = "pi-1") -> Redeemed:
    return store.edges.redeem(store.site_key(SITE), edge, shown, key, now_ms, "10.0.0.9")


def whats(store: Store) -> list[str]:
    return [step.what for step in store.edges.steps(100)][::-1]


def send(store: Store, key: bytes | None, now_ms: int = T0) -> int:
    device = Device(101)
    device.work(5)
    raw = body([device.row(1, 5)])
    return store.take(decode(raw, SITE, store.site_key(SITE)), now_ms, key).events


class EdgesSuite:
    """The conformance suite."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_a_code_is_redeemed_once(self, store: Store) -> None:
        code(store)
        assert redeem(store, shown=WRONG) == Redeemed("wrong")
        assert redeem(store, edge="pi-2") == Redeemed("wrong")
        assert redeem(store) == Redeemed("done", T0 + 1)
        assert redeem(store, now_ms=T0 + 5) == Redeemed("done", T0 + 1)  # the answer was lost
        assert redeem(store, THEIRS) == Redeemed("used")
        assert store.edges.edge(SITE, "pi-1") == Edge(SITE, "pi-1", OURS, T0 + 1, None, None)
        assert store.edges.edge("nowhere", "pi-1") is None
        assert whats(store) == ["code", "enrolled"]

    def test_a_code_expires_and_is_replaced(self, store: Store) -> None:
        code(store)
        assert redeem(store, now_ms=T0 + HOUR) == Redeemed("expired")
        assert redeem(store, now_ms=T0 + HOUR - 1).outcome == "done"
        code(store, code_sha256=WRONG)
        assert redeem(store) == Redeemed("wrong")
        assert redeem(store, THEIRS, WRONG).outcome == "done"
        assert whats(store) == ["code", "enrolled", "code", "replaced"]

    def test_who_may_send(self, store: Store) -> None:
        assert send(store, None) == 5
        with pytest.raises(RequestError, match="not accepted"):
            send(store, OURS)
        code(store)
        redeem(store)
        assert send(store, OURS, T0 + 7) == 5
        found = store.edges.edge(SITE, "pi-1")
        assert found is not None
        assert found.seen_ms == T0 + 7
        for key, status in ((None, 403), (THEIRS, 401)):
            with pytest.raises(RequestError) as refused:
                send(store, key, T0 + 9)
            assert refused.value.status == status
        assert store.edges.edge(SITE, "pi-1") == found  # a refused batch leaves nothing

    def test_revoked_until_enrolled_again(self, store: Store) -> None:
        key = store.site_key(SITE)
        assert not store.edges.revoke(key, "pi-1", T0)
        code(store)
        redeem(store)
        code(store, code_sha256=WRONG)
        assert store.edges.revoke(key, "pi-1", T0 + 3)
        assert store.edges.revoke(key, "pi-1", T0 + 4)  # said twice, done once
        with pytest.raises(RequestError, match="revoked") as refused:
            send(store, OURS)
        assert refused.value.status == 403
        assert redeem(store, shown=WRONG) == Redeemed("used")  # codes made before count no longer
        code(store)
        assert redeem(store).outcome == "done"
        assert send(store, OURS) == 5
        assert whats(store) == ["code", "enrolled", "code", "revoked", "code", "enrolled"]

    def test_alarms_are_added_up_and_bounded(self, store: Store) -> None:
        for number in range(MAX_ALARMS + 20):
            store.edges.alarm("login", f"source {number}", 5, T0 + number)
        store.edges.alarm("login", "source 7", 1, T0 + 9_000)
        store.edges.alarm("code", "source 7", 5, T0 + 9_001)
        found = {(one.kind, one.source): one for one in store.edges.alarms(0, 5_000)}
        assert len(found) == MAX_ALARMS + 2
        assert found["login", OTHERS].tries == 20 * 5
        seven = found["login", "source 7"]
        assert (seven.tries, seven.first_ms, seven.last_ms) == (6, T0 + 7, T0 + 9_000)
        assert sum(one.tries for one in found.values()) == (MAX_ALARMS + 20) * 5 + 1 + 5
        assert [one.kind for one in store.edges.alarms(T0 + 9_000, 10)] == ["code", "login"]
