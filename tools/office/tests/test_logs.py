"""Signed heads of the edges' logs: what is taken, what is named, and that the check goes on after it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.identity import Identity, fingerprint
from edge_agent.integrity.leaves import Leaves
from edge_agent.integrity.statement import KNOWN, NAMED, PROVE, TAKEN, Answer
from tools.office import head as heads
from tools.office.errors import RequestError
from tools.office.store import logs, sqlite
from tools.office.store.base import (
    ABSENT,
    AGAIN,
    FORGED,
    FORKED,
    GAP,
    LOG_REASONS,
    OTHER_KEY,
    RESTARTED,
    SHRUNKEN,
    UNLIKE,
    LogState,
)
from tools.office.store.sqlite import SqliteStore
from tools.office.tests.makers import T0, Device, Log, Row, body
from tools.office.tests.process import TOKENS, configure, running, upload_headers
from tools.office.tests.store_suite import SITE, decode

OLD = Path(__file__).parent / "databases"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "office")
    yield made
    made.close()


@pytest.fixture(scope="module")
def device() -> Device:
    made = Device(101)
    made.work(2_000)
    return made


def send(store: SqliteStore, rows: list[Row]) -> None:
    """Rows with the positions that they have already."""
    value = {"v": 1, "site": SITE, "edge": "pi-1", "lane": "normal", "rows": rows, "devices": {}}
    store.take(decode(cbor2.dumps(value), SITE, store.site_key(SITE)), T0)


def state_head(store: SqliteStore, raw: bytes) -> Answer:
    return store.take_head(store.site_key(SITE), heads.decode(raw, SITE), T0)


def compared(store: SqliteStore, limit: int = 2_000) -> LogState:
    while store.check_heads(T0, limit):
        pass
    (found,) = store.logs(SITE)
    assert found.checked
    return found


def findings(store: SqliteStore) -> list[tuple[int, int, int]]:
    return [tuple(found) for found in compared(store).findings]


def test_heads_that_go_on(store: SqliteStore, device: Device) -> None:
    log = Log()
    for turn in range(70):
        send(store, log.add(device.rows(turn * 20 + 1, turn * 20 + 20, 1 + turn % 20)))
        raw = log.head()
        assert state_head(store, raw) == Answer(TAKEN, log.number, len(log.leaves), [])
        assert state_head(store, raw) == Answer(KNOWN, log.number, len(log.leaves), [])
    found = compared(store, limit=3)
    assert (found.findings, found.head, found.signed_pos, found.last_pos) == ([], 70, log.pos, log.pos)
    assert found.public == log.identity.public
    kept = store._read.execute("SELECT number FROM log_head WHERE frontier IS NOT NULL ORDER BY id").fetchall()
    assert kept == [(32,), (64,)]


def test_rows_again_and_in_any_order_change_nothing(store: SqliteStore, device: Device) -> None:
    log = Log()
    rows = log.add(device.rows(1, 200, 7))
    for part in (rows[10:], rows[5:15], rows[:12], rows):
        send(store, part)
    assert state_head(store, log.head()).state == TAKEN
    assert findings(store) == []


def test_an_office_without_the_last_head_asks_for_the_proof(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 100)))
    state_head(store, log.head())
    send(store, log.add(device.rows(101, 200)))
    log.head()  # never arrives
    send(store, log.add(device.rows(201, 300)))
    assert state_head(store, log.head()) == Answer(PROVE, 1, 5, [])
    assert state_head(store, log.head(before=5)).state == TAKEN
    assert findings(store) == []


def test_a_row_that_never_came(store: SqliteStore, device: Device) -> None:
    log = Log()
    rows = log.add(device.rows(1, 400, 10))
    send(store, rows[:11] + rows[13:])
    assert state_head(store, log.head()).state == TAKEN
    assert findings(store) == [(UNLIKE, 1, 40), (ABSENT, 12, 13)]
    send(store, log.add(device.rows(401, 600, 10)))
    state_head(store, log.head())
    assert findings(store) == [(UNLIKE, 1, 40), (ABSENT, 12, 13)]  # what follows is proven by itself


def test_a_row_other_than_was_signed(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 100)))
    state_head(store, log.head())
    rows = log.add(device.rows(101, 200))
    rows[2][6] += 1
    send(store, rows)
    state_head(store, log.head())
    send(store, log.add(device.rows(201, 300)))
    state_head(store, log.head())
    assert findings(store) == [(UNLIKE, 6, 10)]


def test_an_edge_restored_from_an_old_backup(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    backup = (log.leaves.copy(), log.pos, log.number, log.delivered)
    send(store, log.add(device.rows(201, 400)))
    state_head(store, log.head())
    assert findings(store) == []
    log.leaves, log.pos, log.number, log.delivered = backup
    send(store, log.add(device.rows(401, 500)))  # at the positions of what it has forgotten
    answer = state_head(store, log.head())
    assert (answer.state, answer.findings) == (NAMED, ["shrunken"])
    assert findings(store) == [(AGAIN, 11, 15), (SHRUNKEN, 16, 20)]
    for first in (501, 601, 701):  # past the place where it was before; all of it proven
        send(store, log.add(device.rows(first, first + 99)))
        assert state_head(store, log.head()).state == TAKEN
    assert findings(store) == [(AGAIN, 11, 15), (SHRUNKEN, 16, 20)]
    found = store.devices(SITE, 101)[0]
    assert (found.complete_to, found.missing, found.conflicts) == (800, [], 0)


def test_a_history_that_was_rewritten(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    log.leaves[3] = bytes(32)
    send(store, log.add(device.rows(201, 300)))
    answer = state_head(store, log.head())
    assert (answer.state, answer.findings) == (NAMED, ["forked"])
    assert findings(store) == [(FORKED, 1, 15), (UNLIKE, 1, 15)]
    send(store, log.add(device.rows(301, 400)))
    assert state_head(store, log.head()).state == TAKEN
    assert findings(store) == [(FORKED, 1, 15), (UNLIKE, 1, 15)]


def test_the_same_size_with_another_root(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    log.leaves[9] = bytes(32)
    assert state_head(store, log.head()).findings == ["forked"]
    assert findings(store)[0] == (FORKED, 1, 10)


def test_a_log_that_begins_anew(store: SqliteStore, device: Device) -> None:
    """A new store with the key of before."""
    log = Log()
    send(store, log.add(device.rows(1, 400)))
    state_head(store, log.head())
    new = Log()
    new.identity = log.identity
    send(store, new.add(device.rows(401, 500)))
    assert state_head(store, new.head()).findings == ["shrunken"]
    assert findings(store) == [(AGAIN, 1, 5), (SHRUNKEN, 6, 20)]
    send(store, new.add(device.rows(501, 1_500)))
    assert state_head(store, new.head()).state == TAKEN
    assert findings(store) == [(AGAIN, 1, 5), (SHRUNKEN, 6, 20)]


def test_a_store_that_was_restored_goes_on_elsewhere(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    new = Log()
    new.identity, new.pos, new.number = log.identity, 1_000_000_000, 1
    send(store, new.add(device.rows(201, 400)))
    assert state_head(store, new.head(first_pos=1_000_000_001)).findings == ["restarted"]
    send(store, new.add(device.rows(401, 500)))
    assert state_head(store, new.head(first_pos=1_000_000_001)).state == TAKEN
    assert findings(store) == [(RESTARTED, 11, 1_000_000_000)]


def test_a_position_of_which_the_edge_says_that_it_has_no_row(store: SqliteStore, device: Device) -> None:
    log = Log()
    rows = log.add(device.rows(1, 200))
    log.leaves[4] = Leaves("lakeside", "pi-1").gap(5)
    send(store, rows[:4] + rows[5:])
    state_head(store, log.head())
    assert findings(store) == [(GAP, 5, 5)]


def test_another_key(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    mine, log.identity = log.identity, Identity(Ed25519PrivateKey.generate())
    send(store, log.add(device.rows(201, 300)))
    answer = state_head(store, log.head())
    assert (answer.state, answer.findings, answer.size) == (NAMED, ["other_key"], 10)
    assert findings(store) == [(OTHER_KEY, 1, 15)]
    log.identity = mine
    assert state_head(store, log.head(before=10)).state == TAKEN


def test_a_head_that_was_changed_on_its_way(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    value = cbor2.loads(log.head())
    value["time_ms"] += 1
    assert state_head(store, cbor2.dumps(value)).findings == ["forged"]
    assert findings(store) == [(FORGED, 1, 10)]
    assert store.logs(SITE)[0].head == 0


def test_a_row_in_another_s_name_does_not_hide_the_true_one(store: SqliteStore, device: Device) -> None:
    """Whoever has the site's token may say anything; what the edge signed still fits."""
    log = Log()
    rows = log.add(device.rows(1, 200))
    bogus = [[row[0], *device.row(1_000 + row[0], 1_000 + row[0])[1:]] for row in rows]
    send(store, rows[:5])
    send(store, bogus[2:5])
    send(store, rows)
    state_head(store, log.head())
    assert findings(store) == [(AGAIN, 3, 5)]
    more = log.add(device.rows(201, 300))
    send(store, [[row[0], *device.row(1_100 + row[0], 1_100 + row[0])[1:]] for row in more[:2]])
    send(store, more)  # here the other one came first
    state_head(store, log.head())
    assert findings(store) == [(AGAIN, 3, 5), (AGAIN, 11, 12)]


def test_a_log_of_more_positions_than_anybody_can_go_over(store: SqliteStore, device: Device) -> None:
    log = Log()
    send(store, log.add(device.rows(1, 200)))
    state_head(store, log.head())
    size = 1 << 60
    log.leaves = [bytes(32)]
    raw = cbor2.loads(log.head(size=size, root=bytes(32)))
    answer = state_head(store, cbor2.dumps(raw | {"frontier": bytes(32), "before": 10}))
    assert answer.findings == ["forked"]
    found = compared(store)
    assert [one.reason for one in found.findings] == [FORKED, ABSENT, UNLIKE]


def test_findings_are_bounded(store: SqliteStore, device: Device) -> None:
    log = Log()
    for size in range(1, 1_100):
        raw = cbor2.loads(log.head(size=size, root=bytes(32)))
        said = heads.Statement(
            heads.Head(*(raw[name] for name in heads.Head._fields)), raw["key"], bytes(64), False, None, 0, []  # type: ignore[arg-type]
        )
        store.take_head(store.site_key(SITE), said, T0)
    assert store._read.execute("SELECT count(*) FROM log_finding").get == 1_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v": 2}, "v"), ({"site": "east"}, "site"), ({"edge": ""}, "edge"), ({"edge": "a\n"}, "edge"),
        ({"number": 0}, "number"), ({"first_pos": 0}, "first_pos"), ({"size": -1}, "size"), ({"size": True}, "size"),
        ({"time_ms": 1 << 48}, "time_ms"), ({"root": bytes(31)}, "root"), ({"key": "x"}, "key"),
        ({"signature": bytes(63)}, "signature"), ({"frontier": bytes(31)}, "frontier"),
        ({"frontier": None}, "frontier"),
        ({"frontier": bytes(64)}, "frontier"), ({"before": -1}, "before"), ({"proof": [bytes(31)]}, "proof"),
        ({"proof": [bytes(32)] * 66}, "proof"), ({"proof": None}, "proof"), ({"more": 1}, "body"),
        ({"first_pos": (1 << 63) - 2}, "size"),
    ],
)  # fmt: skip
def test_every_field_is_checked(device: Device, change: dict[str, Any], field: str) -> None:
    log = Log()
    log.add(device.rows(1, 200))
    value = cbor2.loads(log.head())
    heads.decode(cbor2.dumps(value), "lakeside")
    with pytest.raises(RequestError) as refused:
        heads.decode(cbor2.dumps(value | change), "lakeside")
    assert refused.value.field == field
    for raw in (b"", b"\xff", cbor2.dumps(value)[:-1], cbor2.dumps(value) + b"\0", cbor2.dumps([1])):
        with pytest.raises(RequestError) as refused:
            heads.decode(raw, "lakeside")
        assert refused.value.field == "body"


def test_an_old_database(tmp_path: Path) -> None:
    """Version 2 as a server of that time left it: nothing is lost, what came before is remembered as such."""
    folder = tmp_path / "office"
    folder.mkdir()
    shutil.copy(OLD / "office-v2.db", folder / "office.db")
    store = SqliteStore(folder)
    assert store._write.pragma("user_version") == sqlite.VERSION
    before = store._read.execute("SELECT device, first, last FROM before_log").fetchall()
    assert before == [(101, 1, 60), (101, 71, 90)]
    device = Device(101)
    device.work(200)
    log = Log()
    log.pos = 9  # positions that went to the old server
    log.leaves = []
    send(store, log.add(device.rows(91, 190, 10)))
    assert state_head(store, log.head(first_pos=10)).state == TAKEN
    assert findings(store) == []
    store.close()


def test_over_http_and_on_the_page(tmp_path: Path, device: Device) -> None:
    log = Log()
    with running(configure(tmp_path, [device])) as server:
        where = "/api/v1/sites/lakeside/heads"

        def post(raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
            status, _, answer = server.ask("POST", where, raw, headers)
            return status, json.loads(answer)

        rows = log.add(device.rows(1, 200))
        server.send(body([row[:] for row in rows]))
        good = upload_headers("lakeside")
        raw = log.head()
        assert post(raw, upload_headers("lakeside", "wrong"))[0] == 401
        assert post(raw, good) == (200, {"v": 1, "state": "taken", "number": 1, "size": 10, "findings": []})
        assert post(bytes(20_000), good)[0] == 413
        assert post(b"\0", good)[1]["error"]["field"] == "body"
        assert post(raw, {**good, "Content-Type": "text/plain"})[0] == 415
        log.leaves[2] = bytes(32)
        assert post(log.head(), good)[1]["findings"] == ["forked"]
        for _ in range(500):
            (found,) = server.get("/api/v1/logs?site=lakeside")
            if found["checked"]:
                break
        assert found["key"] == fingerprint(log.identity.public)
        assert [one["reason"] for one in found["findings"]] == ["forked", "unlike"]
        zh = server.ask("GET", "/?lang=zh")[2].decode()
        en = server.ask("GET", "/?lang=en")[2].decode()
        assert "日志出现分叉 1..10" in zh
        assert "已签名至第 10 行" in zh
        assert "log was rewritten: 1..10" in en
        assert "signed to row 10" in en
        assert any(line["event"] == "an edge's log contradicts" for line in server.log())
    assert set(TOKENS) == {"lakeside", "east"}
    assert len(LOG_REASONS) == 9


def test_a_long_way_to_the_next_head_is_counted_once(
    store: SqliteStore, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage a head covers very many rows: each step must cost the same, however many there are."""
    monkeypatch.setattr(logs, "MAX_ABSENT", 10)
    log = Log()
    send(store, log.add([device.row(number, number) for number in range(1, 101)]))
    assert state_head(store, log.head()).state == TAKEN
    asked: list[str] = []
    store._write.exec_trace = lambda _, sql, __: asked.append(sql) or True
    assert compared(store, 5).findings == []
    assert len([sql for sql in asked if "LIMIT" in sql and "count(*)" in sql]) == 1
    assert len([sql for sql in asked if sql.startswith("SELECT pos, branch, leaf")]) == 20
