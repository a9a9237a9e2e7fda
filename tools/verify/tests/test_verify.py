"""Untouched, nothing is named; whatever is changed in whatever table is found, and named for what and where it is."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from pathlib import Path
from typing import Any

import cbor2
import pytest

from edge_agent import identity
from edge_agent.integrity.leaves import Leaves
from edge_agent.store import retention
from edge_agent.store import tree as trees
from tools.office import config as office_config
from tools.office.batch import decode
from tools.office.head import decode as head
from tools.office.store.sqlite import SqliteStore
from tools.office.tests.makers import Log
from tools.verify import edge, office
from tools.verify.faults import LANGUAGES, WORDS, Report
from tools.verify.office import Wanted
from tools.verify.tests.changes import (
    DEVICE,
    EDGE,
    EVENT,
    FIRST,
    HEAD_EVENT,
    OFFICE,
    PAYLOAD,
    ROW,
    then_leaves,
)
from tools.verify.tests.scene import Copy, Scene, change, fill, named, of


def test_untouched_is_fine(copy: Copy) -> None:
    found = copy.check_office()
    assert (found.faults, found.exit_code) == ([], 0), found.text("en")
    assert found.rows == 55 or found.rows > 40
    assert "its chain is proven to" in found.text("en")
    assert "全部相符" in found.text("zh")
    other = copy.check_edge()
    assert (other.faults, other.exit_code) == ([], 0), other.text("en")


@pytest.mark.parametrize(("name", "how", "codes"), OFFICE, ids=[case[0] for case in OFFICE])
def test_office_every_change_is_named(copy: Copy, name: str, how: Any, codes: set[str]) -> None:
    change(copy.office_db(), how)
    found = copy.check_office()
    assert codes <= named(found), found.text("en")
    assert found.exit_code == 1
    for language in LANGUAGES:
        assert "✗" in found.text(language)
    if (
        "chain_misfit" not in codes
        and name.startswith("event")
        and "row_changed" in codes
        and "swap" not in name
    ):
        assert of(found, "row_changed")[0].device == DEVICE


def test_the_place_is_named(copy: Copy) -> None:
    db = copy.office_db()
    pos, first, count = db.execute(f"SELECT pos, first, count FROM log_row WHERE pos = {ROW}").fetchone()
    change(db, f"UPDATE event SET payload = x'{PAYLOAD.hex()}' WHERE {EVENT}")
    found = copy.check_office()
    (fault,) = of(found, "row_changed")
    where = (fault.site, fault.edge, fault.device, fault.boot, fault.first, fault.last, fault.pos)
    assert where == ("s1", "e1", 7, 1, first, first + count - 1, pos)
    (fault,) = of(found, "chain_misfit")
    assert (fault.device, fault.last) == (7, first + count - 1)
    text = f"device 7, boot 1, seq {first}..{first + count - 1}, row {pos}: rows of the log were changed"
    assert f"site s1, edge e1, {text}" in found.text("en")
    change(copy.office_db(), f"DELETE FROM event WHERE device = 7 AND seq = {first + 4}")
    (fault,) = of(copy.check_office(), "event_dropped")
    assert (fault.device, fault.first, fault.last, fault.pos) == (7, first + 4, first + 4, pos)


def test_rows_between_two_heads_are_named_and_what_follows_is_proven(copy: Copy) -> None:
    db = copy.office_db()
    heads = db.execute("SELECT number, first_pos + size - 1 FROM log_head ORDER BY id").fetchall()
    change(db, then_leaves(f"UPDATE event SET t_lo_ms = 5 WHERE {HEAD_EVENT}"))
    found = copy.check_office()
    (fault,) = of(found, "row_unlike")
    pos = copy.office_db().execute(f"SELECT {ROW}").get
    assert fault.pos <= pos <= fault.last_pos
    before = max((last for _, last in heads if last < pos), default=0)
    behind = min(last for _, last in heads if last >= pos)
    assert (fault.pos, fault.last_pos) == (before + 1, behind)


@pytest.mark.parametrize(("name", "how", "codes"), EDGE, ids=[case[0] for case in EDGE])
def test_edge_every_change_is_named(copy: Copy, name: str, how: Any, codes: set[str]) -> None:
    change(copy.edge_db(), how)
    found = copy.check_edge()
    assert codes <= named(found), found.text("en")
    assert found.exit_code == 1


def test_edge_row_and_leaf_changed_together(copy: Copy) -> None:
    """Who writes the hash anew as well can't sign the root."""
    db = copy.edge_db()
    db.execute("UPDATE log SET received_ms = received_ms - 1 WHERE pos = 20")
    row = db.execute("SELECT * FROM log WHERE pos = 20").fetchone()
    leaf = Leaves("s1", "e1").hash(row[:9] + row[10:])
    first = trees.state(db).first_pos
    change(db, lambda of: of.execute("UPDATE tree_node SET hash = ? WHERE place = ?", (leaf, 20 - first)))
    assert {"row_unlike", "tree_changed"} <= named(copy.check_edge())


def test_edge_after_retention(copy: Copy) -> None:
    db = copy.edge_db()
    through = trees.prunable_through(db)
    change(db, lambda of: retention.prune(of, through - 10, 10_000))
    found = copy.check_edge()
    assert found.faults == []
    assert f"{through - 10} of them are pruned: their hashes alone are left" in found.text("en")
    change(copy.edge_db(), "UPDATE tree_node SET hash = zeroblob(32) WHERE place = 3")
    assert "row_unlike" in named(copy.check_edge())


def test_edge_inner_nodes(copy: Copy) -> None:
    """A tree large enough to have some that are kept."""
    db = copy.edge_db()
    state = trees.state(db)
    row = list(db.execute("SELECT * FROM log WHERE pos = ?", (state.last_pos,)).fetchone())
    hashes = Leaves("s1", "e1")
    db.execute("DELETE FROM log WHERE pos > ?", (state.last_pos,))
    nodes: list[tuple[int, int, bytes]] = []
    grown = trees.State(state.first_pos, state.frontier.copy())
    db.execute("BEGIN")
    for pos in range(state.last_pos + 1, state.last_pos + 600):
        row[0] = pos
        db.execute("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
        grown.frontier.append(hashes.hash(row[:9] + row[10:]), nodes, trees.STORED_LEVELS)
    assert trees.extend(db, state, grown, nodes)
    db.execute("UPDATE lane SET cursor = ?, appended = 0", (grown.last_pos,))
    db.execute(
        "UPDATE lane SET appended = (SELECT sum(last_seq - first_seq + 1) FROM log) WHERE name = 'normal'"
    )
    db.execute("COMMIT")
    db.close()
    assert copy.check_edge().faults == []
    change(copy.edge_db(), f"UPDATE tree_node SET hash = zeroblob(32) WHERE place = {trees.place(8, 1)}")
    assert "node_changed" in named(copy.check_edge())


def test_the_end_cut_off_at_the_office_is_seen_from_the_edge(copy: Copy) -> None:
    """Rows, events and heads of the end taken out together: the office alone can't know; the edge does."""
    db = copy.office_db()
    keep = db.execute("SELECT first_pos + size - 1 FROM log_head WHERE id = 6").get
    db.execute(
        "DELETE FROM proof WHERE mac8 NOT IN (SELECT mac8 FROM log_row WHERE pos <= ?1 AND mac8 IS NOT NULL"
        " UNION SELECT mac_before FROM log_row WHERE pos <= ?1 AND mac_before IS NOT NULL)",
        (keep,),
    )
    for device in (1, 7, 8):
        last = db.execute(
            "SELECT max(first + count - 1) FROM log_row WHERE device = ? AND pos <= ?", (device, keep)
        ).get
        db.execute("DELETE FROM loss WHERE device = ? AND last > ?", (device, last))
        for table in ("event", "proof"):
            db.execute(f"DELETE FROM {table} WHERE device = ? AND seq > ?", (device, last))
        db.execute("UPDATE span SET last = ? WHERE device = ?", (last, device))
        claim = db.execute(
            "SELECT seq, mac8 FROM proof WHERE device = ? ORDER BY seq DESC LIMIT 1", (device,)
        ).fetchone()
        db.execute(
            "UPDATE device SET checked_to = ?, checked_mac = ? WHERE device = ?",
            (*(claim or (0, bytes(8))), device),
        )
    db.execute("DELETE FROM log_head WHERE id > 6")
    db.execute("UPDATE edge_log SET head = 0, base_size = 0, base = x''")
    change(db, f"DELETE FROM log_row WHERE pos > {keep}")
    assert copy.check_office().faults == []
    report = Report()
    office.compare(copy.office, "s1", "e1", edge.check(copy.edge, report), report)
    assert [(fault.code, fault.head) for fault in report.faults] == [("head_unknown", 7)]


def test_backdated_by_somebody_with_the_edge_s_key(scene: Scene, copy: Copy) -> None:
    """Rows that the edge itself makes up are signed like all others: the devices' own chain does not fit them."""

    db = copy.office_db()
    hashes = [leaf for (leaf,) in db.execute("SELECT leaf FROM log_row ORDER BY pos")]
    last, size = db.execute("SELECT number, size FROM log_head ORDER BY id DESC LIMIT 1").fetchone()
    seq, uptime = db.execute("SELECT max(seq), max(uptime_cs) FROM event WHERE device = 7").fetchone()
    db.close()
    log = Log("s1", "e1")
    log.identity = identity.load(copy.edge.data_dir)
    log.leaves, log.pos, log.number, log.delivered = hashes, len(hashes), last, size
    row = [0, 7, 1, seq + 1, seq + 1, uptime + 1, 5, 9, 9, 0, None, PAYLOAD, b"made up!"]
    store = SqliteStore(copy.office.data_dir)
    key = store.site_key("s1")
    value = {"v": 1, "site": "s1", "edge": "e1", "lane": "normal", "rows": log.add([row]), "devices": {}}
    store.take(decode(cbor2.dumps(value), "s1", key), 5)
    assert store.take_head(key, head(log.head(), "s1"), 5).state == "taken"
    while store.check_heads(5, 2_000):
        pass
    assert store.logs("s1")[0].findings == []
    store.close()
    found = copy.check_office()
    (fault,) = found.faults
    assert (fault.code, fault.device, fault.first, fault.last) == ("chain_misfit", 7, seq + 1, seq + 1)


def test_only_what_was_asked_for(scene: Scene, copy: Copy) -> None:
    db = copy.office_db()
    first = db.execute(f"SELECT {FIRST}").get
    change(db, "DELETE FROM event WHERE device = 8 AND seq = 40")
    assert copy.check_office(Wanted(device=7)).exit_code == 0
    assert copy.check_office(Wanted(device=8)).exit_code == 1
    assert copy.check_office(Wanted(event=(7, 1, first))).exit_code == 0
    assert copy.check_office(Wanted(event=(8, 1, 40))).exit_code == 1
    assert copy.check_office(Wanted(site="elsewhere")).exit_code == 2
    assert copy.check_office(Wanted(device=99)).exit_code == 2
    assert "no such device or event" in copy.check_office(Wanted(event=(7, 1, 999))).text("en")
    change(copy.office_db(), f"UPDATE event SET t_lo_ms = 9 WHERE {EVENT}")
    day = dt.date(2026, 9, 21)
    found = copy.check_office(Wanted(day=day, device=7))
    assert (found.exit_code, named(found)) == (1, {"event_times_changed"})
    assert copy.check_office(Wanted(day=dt.date(2020, 1, 1), device=7)).exit_code in (0, 1)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("DELETE FROM event WHERE device = 8", "event_dropped"),
        ("UPDATE event SET t_lo_ms = 5, t_hi_ms = 6 WHERE device = 8", "row_changed"),
        ("UPDATE event SET best_lo_ms = 5, best_hi_ms = 6 WHERE device = 8", "best_changed"),
        (f"UPDATE event SET t_lo_ms = 5, t_hi_ms = 6 WHERE {EVENT}", "event_times_changed"),
        ("DELETE FROM restated", "restated_dropped"),
    ],
)
def test_what_was_moved_out_of_a_day_is_told_of_it(copy: Copy, how: str, code: str) -> None:
    """Where an event was taken away, or its time was changed, what is left does not say which day it was."""
    day = dt.date(2026, 9, 21)
    assert copy.check_office(Wanted(day=day)).exit_code == 0
    change(copy.office_db(), how)
    assert code in named(copy.check_office(Wanted(day=day)))


def test_during_ingest_no_false_word(tmp_path: Path) -> None:
    """Verified again and again while events come in: never a false word."""
    done = threading.Event()
    found: list[Report] = []
    config_path = tmp_path / "site" / "office" / "office.toml"

    def watch() -> None:
        while not done.is_set():
            if (tmp_path / "site" / "office" / "data" / "office.db").exists():
                found.append(office.check(office_config.load(config_path, serve=False), Wanted()))
            done.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        asyncio.run(fill(tmp_path / "site", turns=12))
    finally:
        done.set()
        thread.join(30)
    checked = [report for report in found if report.unable is None]
    print(len(checked), "times while it ran")
    assert len(checked) >= 10
    assert [report.text("en") for report in checked if report.faults] == []
    assert max(report.events for report in checked) > min(report.events for report in checked)


def test_every_fault_has_its_words_and_every_change_is_counted() -> None:
    print(len(OFFICE), "changes at the office,", len(EDGE), "at the edge")
    tried = {code for *_, codes in (*OFFICE, *EDGE) for code in codes}
    elsewhere = {
        "event_changed",
        "row_gap",
        "head_forked",
        "head_restarted",
        "head_unknown",
        "conflict",
        "finding_dropped",
        "proof_file",
    }
    assert set(WORDS) == tried | elsewhere
