"""The SQLite store: the suite, and what is its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tools.office.batch import MAX_DEVICES, decode
from tools.office.errors import RequestError, StoreError
from tools.office.store.base import Code, Store
from tools.office.store.sqlite import VERSION, SqliteStore
from tools.office.tests.edges_suite import EdgesSuite
from tools.office.tests.makers import T0, Device, body
from tools.office.tests.store_suite import StoreSuite, check, exact, state, take

OLD = Path(__file__).with_name("databases")


class TestSqlite(StoreSuite, EdgesSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:  # type: ignore[override]  # pytest asks for a generator
        made = SqliteStore(tmp_path)
        yield made
        made.close()


def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    device = Device(101)
    device.work(50)
    store = SqliteStore(tmp_path)
    take(store, device.rows(1, 50))
    store.close()
    store = SqliteStore(tmp_path)
    exact(store, device)
    check(store, device)
    assert state(store, device).verified_to == 50
    store.close()


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreError, match=r"another office server \(process \d+\)"):
        SqliteStore(tmp_path)
    store.close()
    SqliteStore(tmp_path).close()


def test_a_younger_database_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "office.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        SqliteStore(tmp_path)


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be opened"):
        SqliteStore(tmp_path / "file" / "data")


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path) -> None:
    device = Device(101)
    device.work(6_000)
    store = SqliteStore(tmp_path)
    take(store, device.rows(1, 20))
    pages = store._write.pragma("page_count")
    store._write.pragma("max_page_count", pages + 5)
    with pytest.raises(StoreError, match="could not do it"):
        take(store, device.rows(21, 6_000))
    found = state(store, device)
    assert (found.stored, found.complete_to) == (20, 20)
    store._write.pragma("max_page_count", 1 << 30)
    take(store, device.rows(21, 6_000))
    exact(store, device)
    store.close()


def test_what_outsiders_read(tmp_path: Path) -> None:
    device = Device(101)
    device.work(30)
    store = SqliteStore(tmp_path)
    take(store, device.rows(1, 30))
    with sqlite3.connect(f"file:{tmp_path / 'office.db'}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT site, device, boot, seq, uptime_cs, payload FROM site_event ORDER BY seq").fetchall()
    assert rows == [("lakeside", 101, 1, one.seq, one.uptime_cs, one.payload) for one in device.journal]
    store.close()


def test_every_commit_is_on_the_disk(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    assert store._write.pragma("journal_mode") == "wal"
    assert store._write.pragma("synchronous") == 2
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)  # the WAL-reset bug is older
    store.close()


def test_every_schema_has_its_fixture() -> None:
    assert sorted(path.name for path in OLD.iterdir()) == [f"office-v{n}.db" for n in range(1, VERSION + 1)]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_old_databases_migrate_and_keep_everything(tmp_path: Path, version: int) -> None:
    """As a server of that time left it; the edge sends the rest, and some of it again."""
    shutil.copy(OLD / f"office-v{version}.db", tmp_path / "office.db")
    store = SqliteStore(tmp_path)
    assert store._write.pragma("user_version") == VERSION
    device = Device(101)
    device.work(100)
    held = [*range(1, 61), *([] if version == 3 else range(71, 91))]
    assert [(e.seq, e.boot, e.uptime_cs, e.payload) for e in store.history("lakeside", 101, 0, 1_000)] == [
        (one.seq, one.boot, one.uptime_cs, one.payload) for one in device.journal if one.seq in held
    ]
    site = store.site_key("lakeside")
    batch = decode(body(device.rows(51, 100)), "lakeside", site)
    taken = store.take(batch, T0, b"k" * 32 if version == 4 else None)  # to that one the edge was enrolled
    assert (taken.events, taken.added, taken.conflicts) == (50, 100 - len(held), 0)
    exact(store, device)
    check(store, device)
    found = state(store, device)
    assert (found.complete_to, found.verified_to, found.findings) == (100, 100, [])
    store.close()


def test_the_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    """Made by hand under a usual umask, and by an older server that ended badly: open to all."""
    folder = tmp_path / "new" / "data"
    mask = os.umask(0o022)
    try:
        store = SqliteStore(folder)
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())} == {
            "data": "0o700", "office.db": "0o600", "office.db-shm": "0o600", "office.db-wal": "0o600",
            "office.lock": "0o600",
        }  # fmt: skip
        for path in folder.glob("office.db*"):
            path.chmod(0o644)
        again = SqliteStore(folder, command=True)
        assert {oct(path.stat().st_mode & 0o777) for path in folder.glob("office.db*")} == {"0o600"}
    finally:
        os.umask(mask)
    again.close()
    store.close()


def test_version_3_knew_no_edges(tmp_path: Path) -> None:
    """As a server of that time left it: 60 events, a signed head; edges can be enrolled at it."""
    shutil.copy(OLD / "office-v3.db", tmp_path / "office.db")
    store = SqliteStore(tmp_path)
    assert store._write.pragma("user_version") == VERSION
    device = Device(101)
    device.work(100)
    assert [one.payload for one in store.history("lakeside", 101, 0, 1_000)] == [
        one.payload for one in device.journal[:60]
    ]
    assert [(one.edge, one.head) for one in store.logs()] == [("pi-1", 1)]
    assert (store.edges.edges(), store.edges.steps(10), store.edges.alarms(0, 10)) == ([], [], [])
    key = store.site_key("lakeside")
    store.edges.make_code(key, "pi-1", Code(bytes(32), b"", 2_000), 1_000)
    assert store.edges.redeem(key, "pi-1", bytes(32), b"k" * 32, 1_500, "here").outcome == "done"
    store.close()


def test_an_edge_that_invents_devices_comes_to_an_end(tmp_path: Path) -> None:
    """Pages go over all devices of all sites; what is refused leaves nothing, and what is known goes on."""
    store = SqliteStore(tmp_path)
    known = Device(101)
    known.work(20)
    invented = {number: [1, "x", None, None, None] for number in range(1_000, 1_000 + MAX_DEVICES - 1)}
    take(store, known.rows(1, 10), devices=invented)
    assert len(store.devices()) == MAX_DEVICES
    with pytest.raises(RequestError, match="devices: a site has at most 4,096 devices"):
        take(store, known.rows(11, 20), devices={7: [1, "x", None, None, None]})
    assert state(store, known).stored == 10
    take(store, known.rows(11, 20), devices={1_000: [1, "y", None, None, None]})
    exact(store, known)
    store.close()
