# ruff: noqa: E501, ISC004 - one change a line, as in a table
"""Every change that is tried, in every table of both sides, and what must be named for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from edge_agent import identity
from edge_agent.integrity.leaves import Head, Leaves, signed_bytes
from edge_agent.integrity.tree import Frontier
from gatelink import events
from tools.verify.faults import Report
from tools.verify.rows import Checker, LogRow, _said, _whole

DEVICE = 7
PAYLOAD = events.encode(events.VISIT, b"\x09\x09\x09\x09")
# A row of device 7 with several events, and its place; what follows is put into SQL by name.
ROW = f"(SELECT pos FROM log_row WHERE device = {DEVICE} AND count >= 8 ORDER BY pos LIMIT 1)"
FIRST = f"(SELECT first FROM log_row WHERE device = {DEVICE} AND count >= 8 ORDER BY pos LIMIT 1)"
EVENT = f"device = {DEVICE} AND seq = {FIRST} + 2"
HEAD_EVENT = f"device = {DEVICE} AND seq = {FIRST}"
PROOF = f"device = {DEVICE} AND seq = (SELECT first + count - 1 FROM log_row WHERE pos = {ROW})"


def swap(table: str, column: str, key: str, one: str, other: str) -> Callable[[apsw.Connection], None]:
    """Exchanges a column of two rows."""

    def do(db: apsw.Connection) -> None:
        a, b = (
            db.execute(f"SELECT {key}, {column} FROM {table} WHERE {where}").fetchone()
            for where in (one, other)
        )
        assert a is not None
        assert b is not None
        assert a[1] != b[1]
        if column == key:
            db.execute(f"UPDATE {table} SET {key} = 999999 WHERE {key} = ?", (a[0],))
            db.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = ?", (a[0], b[0]))
            db.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = 999999", (b[0],))
        else:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ? AND {one}", (b[1], a[0]))
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ? AND {other}", (a[1], b[0]))

    return do


def leaves_again(db: apsw.Connection) -> None:
    """An attacker who computes every leaf anew from what now stands there, but can't sign."""
    report = Report()
    checker = Checker(db, report, "s1", 1)
    hashes = Leaves("s1", "e1")
    for found in list(db.execute(f"SELECT {COLUMNS} FROM log_row ORDER BY pos")):
        row = LogRow(*found)
        stored = checker._stored(row)
        said = _said(row, stored)
        assert said is not None
        whole = _whole(row, said, [(one.uptime_cs, one.payload) for one in stored])
        if whole is not None and len(stored) == row.size:
            db.execute("UPDATE log_row SET leaf = ? WHERE pos = ?", (hashes.hash(whole.values), row.pos))


COLUMNS = (
    "pos, branch, device, boot, first, count, skipped, mac_before, mac8, uptime_cs, t_lo_ms, t_hi_ms,"
    " received_ms, leaf"
)


def then_leaves(sql: str) -> Callable[[apsw.Connection], None]:
    def do(db: apsw.Connection) -> None:
        db.execute(sql)
        leaves_again(db)

    return do


def sign_anew(db: apsw.Connection) -> None:
    """The last head once more, after a change, signed with a key of the attacker's own."""
    own = identity.load_or_make(Path(db.filename).parent / "attacker")
    db.execute(f"UPDATE event SET payload = ? WHERE {EVENT}", (PAYLOAD,))
    leaves_again(db)
    frontier = Frontier()
    for (leaf,) in db.execute("SELECT leaf FROM log_row ORDER BY pos"):
        frontier.append(leaf)
    for row in list(db.execute("SELECT id, number, first_pos, size, time_ms FROM log_head ORDER BY id")):
        part = Frontier()
        for (leaf,) in db.execute("SELECT leaf FROM log_row ORDER BY pos LIMIT ?", (row[3],)):
            part.append(leaf)
        head = Head("s1", "e1", row[1], row[2], row[3], part.root(), row[4])
        db.execute(
            "UPDATE log_head SET root = ?, public = ?, signature = ? WHERE id = ?",
            (part.root(), own.public, own.sign(signed_bytes(head)), row[0]),
        )


# name, what is done, codes of which each must be named (there may be more)
OFFICE: list[tuple[str, Any, set[str]]] = [
    # event
    ("event.payload", f"UPDATE event SET payload = x'{PAYLOAD.hex()}' WHERE {EVENT}", {"row_changed", "chain_misfit"}),
    ("event.uptime_cs", f"UPDATE event SET uptime_cs = uptime_cs + 1 WHERE {EVENT}", {"row_changed", "chain_misfit"}),
    ("event.uptime_cs first", f"UPDATE event SET uptime_cs = uptime_cs - 1 WHERE {HEAD_EVENT}", {"row_changed"}),
    ("event.boot", f"UPDATE event SET boot = 9 WHERE {EVENT}", {"event_dropped", "event_inserted"}),
    ("event.seq", f"UPDATE event SET seq = 900 WHERE {EVENT}", {"event_dropped", "event_inserted", "span_changed"}),
    ("event.device", f"UPDATE event SET device = 8, seq = 900 WHERE {EVENT}", {"event_dropped", "event_inserted"}),
    ("event.site", f"UPDATE event SET site = 2 WHERE {EVENT}", {"event_dropped"}),
    ("event.kind", f"UPDATE event SET kind = 0 WHERE {EVENT}", {"kind_changed"}),
    ("event.t_lo_ms", f"UPDATE event SET t_lo_ms = t_lo_ms - 60000 WHERE {EVENT}", {"event_times_changed"}),
    ("event.t_hi_ms", f"UPDATE event SET t_hi_ms = t_hi_ms + 1 WHERE {EVENT}", {"event_times_changed"}),
    ("event.received_ms", f"UPDATE event SET received_ms = 5 WHERE {EVENT}", {"event_times_changed"}),
    ("event.t_lo_ms first", f"UPDATE event SET t_lo_ms = t_lo_ms - 60000 WHERE {HEAD_EVENT}", {"row_changed"}),
    ("event.t_hi_ms first", f"UPDATE event SET t_hi_ms = t_hi_ms + 1 WHERE {HEAD_EVENT}", {"row_changed"}),
    ("event.received_ms first", f"UPDATE event SET received_ms = 5 WHERE {HEAD_EVENT}", {"row_changed"}),
    ("event.best_lo_ms", f"UPDATE event SET best_lo_ms = 77 WHERE {EVENT}", {"best_changed"}),
    ("event.best_hi_ms", f"UPDATE event SET best_hi_ms = best_hi_ms + 1 WHERE device = {DEVICE} AND seq = 3",
     {"best_changed"}),
    ("event.best gone", "UPDATE event SET best_lo_ms = NULL, best_hi_ms = NULL WHERE device = 7 AND seq = 3",
     {"best_changed"}),
    ("event delete", f"DELETE FROM event WHERE {EVENT}", {"event_dropped"}),
    ("event delete last", "DELETE FROM event WHERE device = 8 AND seq = (SELECT max(seq) FROM event WHERE device = 8)",
     {"event_dropped"}),
    ("event delete all of a device", "DELETE FROM event WHERE device = 8", {"event_dropped", "span_changed"}),
    ("event insert", f"INSERT INTO event SELECT site, device, 900, boot, kind, uptime_cs, t_lo_ms, t_hi_ms, received_ms,"
     f" payload, NULL, NULL FROM event WHERE {EVENT}", {"event_inserted"}),
    ("event insert beside", f"INSERT INTO event SELECT site, device, seq, 9, kind, uptime_cs, t_lo_ms, t_hi_ms,"
     f" received_ms, payload, NULL, NULL FROM event WHERE {EVENT}", {"event_inserted", "double"}),
    ("event swap", swap("event", "payload", "seq", EVENT, f"device = 7 AND seq = {FIRST} + 3"),
     {"row_changed", "chain_misfit"}),
    ("event swap across rows", swap("event", "payload", "seq", EVENT, "device = 7 AND seq = 80"), {"row_changed"}),
    ("event.payload as text", f"UPDATE event SET payload = 'text' WHERE {EVENT}", {"column_changed"}),
    ("event.seq negative", f"UPDATE event SET seq = -4 WHERE {EVENT}", {"column_changed"}),
    # proof
    ("proof delete", f"DELETE FROM proof WHERE {PROOF}", {"proof_dropped"}),
    ("proof.mac8", f"UPDATE proof SET mac8 = x'0102030405060708' WHERE {PROOF}", {"proof_dropped", "proof_inserted"}),
    ("proof.seq", f"UPDATE proof SET seq = seq - 1 WHERE {PROOF}", {"proof_dropped", "proof_inserted"}),
    ("proof.source", f"UPDATE proof SET source = 2 WHERE {PROOF}", {"proof_inserted"}),
    ("proof.device", f"UPDATE proof SET device = 8 WHERE {PROOF}", {"proof_dropped", "proof_inserted"}),
    ("proof insert", "INSERT INTO proof VALUES (1, 7, 40, x'0102030405060708', 1)", {"proof_inserted"}),
    ("proof swap", swap("proof", "mac8", "seq", "device = 7 AND seq = (SELECT min(seq) FROM proof WHERE device = 7)",
                        "device = 7 AND seq = (SELECT max(seq) FROM proof WHERE device = 7)"),
     {"proof_dropped", "proof_inserted"}),
    # loss
    ("loss delete", "DELETE FROM loss", {"loss_dropped", "span_changed"}),
    ("loss.last", "UPDATE loss SET last = last + 1", {"loss_dropped", "loss_inserted"}),
    ("loss.first", "UPDATE loss SET first = first - 1", {"loss_dropped", "loss_inserted"}),
    ("loss.device", "UPDATE loss SET device = 7", {"loss_dropped", "loss_inserted"}),
    ("loss insert", "INSERT INTO loss VALUES (1, 7, 900, 910, 5)", {"loss_inserted"}),
    ("loss to hide a deletion", lambda db: [db.execute(f"INSERT INTO loss SELECT 1, 7, seq, seq, 5 FROM event WHERE {EVENT}"),
     db.execute(f"DELETE FROM event WHERE {EVENT}")], {"event_dropped", "loss_inserted"}),
    # span
    ("span delete", "DELETE FROM span WHERE device = 7", {"span_changed"}),
    ("span.last", "UPDATE span SET last = last + 5 WHERE device = 7", {"span_changed"}),
    ("span.first", "UPDATE span SET first = first + 1 WHERE device = 7", {"span_changed"}),
    ("span insert", "INSERT INTO span VALUES (1, 7, 500, 510)", {"span_changed"}),
    # restated
    ("restated delete", "DELETE FROM restated", {"restated_dropped", "best_changed"}),
    ("restated.t_lo_ms", "UPDATE restated SET t_lo_ms = t_lo_ms + 1", {"restated_dropped", "restated_inserted"}),
    ("restated.t_hi_ms", "UPDATE restated SET t_hi_ms = t_hi_ms + 1", {"restated_dropped", "restated_inserted"}),
    ("restated.uptime_cs", "UPDATE restated SET uptime_cs = 1", {"restated_dropped", "restated_inserted"}),
    ("restated.last", "UPDATE restated SET last = last + 1", {"restated_dropped", "restated_inserted"}),
    ("restated.first", "UPDATE restated SET first = first + 1", {"restated_dropped", "restated_inserted"}),
    ("restated.boot", "UPDATE restated SET boot = 3", {"restated_dropped", "restated_inserted"}),
    ("restated.said_ms", "UPDATE restated SET said_ms = 3", {"restated_inserted"}),
    ("restated insert", "INSERT INTO restated VALUES (1, 8, 1, 1, 5, 10, 20, 30, 40, 50)", {"restated_inserted"}),
    # conflict
    ("conflict insert", f"INSERT INTO conflict VALUES (1, 7, 30, 1, 5, x'{PAYLOAD.hex()}', 'e1', 5)", {"conflict_inserted"}),
    # device, site
    ("device.checked_to", "UPDATE device SET checked_to = 70 WHERE device = 8", {"verdict_changed"}),
    ("device.checked_mac", "UPDATE device SET checked_mac = x'0000000000000001' WHERE device = 7", {"verdict_changed"}),
    ("device delete", "DELETE FROM device WHERE device = 7", {"device_dropped"}),
    ("site delete, where another stays", lambda db: [db.execute("INSERT INTO site VALUES (99, 'other')"),
     db.execute("DELETE FROM site WHERE id = 's1'")], {"site_dropped"}),
    ("site.id", "UPDATE site SET id = 's2'", {"head_forged", "row_changed"}),
    # log_row: every column
    ("log_row delete", f"DELETE FROM log_row WHERE pos = {ROW}", {"row_dropped", "row_unlike", "event_inserted"}),
    ("log_row.pos", f"UPDATE log_row SET pos = 9999 WHERE pos = {ROW}", {"row_dropped", "row_changed"}),
    ("log_row.branch", f"UPDATE log_row SET branch = 3, leaf = x'{bytes(32).hex()}' WHERE pos = {ROW}", {"row_unlike"}),
    ("log_row.device", f"UPDATE log_row SET device = 8 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.boot", f"UPDATE log_row SET boot = 2 WHERE pos = {ROW}", {"event_dropped"}),
    ("log_row.first", f"UPDATE log_row SET first = first + 1, count = count - 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.count", f"UPDATE log_row SET count = count - 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.skipped", f"UPDATE log_row SET skipped = 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.skipped gone", "UPDATE log_row SET skipped = 0 WHERE skipped = 3 AND device = 8", {"row_changed"}),
    ("log_row.mac_before", f"UPDATE log_row SET mac_before = x'0102030405060708' WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.mac8", f"UPDATE log_row SET mac8 = x'0102030405060708' WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.mac8 gone", f"UPDATE log_row SET mac8 = NULL WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.uptime_cs", f"UPDATE log_row SET uptime_cs = 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.t_lo_ms", f"UPDATE log_row SET t_lo_ms = 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.t_hi_ms", f"UPDATE log_row SET t_hi_ms = 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row.received_ms", f"UPDATE log_row SET received_ms = 1 WHERE pos = {ROW}", {"row_changed"}),
    ("log_row times kept, event's changed", lambda db: [
        db.execute(f"UPDATE log_row SET t_lo_ms = (SELECT t_lo_ms FROM event WHERE {HEAD_EVENT}) WHERE pos = {ROW}"),
        db.execute(f"UPDATE event SET t_lo_ms = t_lo_ms - 5 WHERE {HEAD_EVENT}")], {"event_times_changed"}),
    ("log_row.leaf", f"UPDATE log_row SET leaf = x'{bytes(32).hex()}' WHERE pos = {ROW}", {"row_changed", "row_unlike"}),
    ("log_row.log", f"UPDATE log_row SET log = 7 WHERE pos = {ROW}", {"row_dropped", "log_dropped"}),
    ("log_row insert", f"INSERT INTO log_row SELECT log, pos, 4, device, boot, 950, 0, 0, NULL, x'0102030405060708', 1, 1,"
     f" 1, 1, leaf FROM log_row WHERE pos = {ROW}", {"row_again", "row_changed"}),
    ("log_row of a proof", "UPDATE log_row SET first = first - 1 WHERE count = 0 AND mac8 IS NOT NULL AND device = 8",
     {"row_changed"}),
    ("log_row of a statement", "UPDATE log_row SET t_lo_ms = t_lo_ms + 1 WHERE count = 0 AND mac8 IS NULL", {"row_changed"}),
    ("log_row swap", swap("log_row", "pos", "pos", f"pos = {ROW}", f"pos = {ROW} + 1"), {"row_changed", "row_unlike"}),
    # and with the leaves computed anew
    ("event.payload, leaves anew", then_leaves(f"UPDATE event SET payload = x'{PAYLOAD.hex()}' WHERE {EVENT}"),
     {"row_unlike", "chain_misfit"}),
    ("event.t_lo_ms first, leaves anew", then_leaves(f"UPDATE event SET t_lo_ms = 5 WHERE {HEAD_EVENT}"),
     {"row_unlike", "event_times_changed"}),
    ("event.received_ms single, leaves anew", then_leaves(
        "UPDATE event SET received_ms = received_ms - 3600000 WHERE device = 7 AND seq = (SELECT first FROM log_row WHERE"
        " count = 1 AND device = 7 ORDER BY pos LIMIT 1)"), {"row_unlike"}),
    ("log_row.mac8, leaves anew", then_leaves(f"UPDATE log_row SET mac8 = x'0102030405060708' WHERE pos = {ROW}"),
     {"row_unlike", "chain_misfit", "proof_dropped"}),
    ("log_row.skipped, leaves anew", then_leaves(f"UPDATE log_row SET skipped = 1 WHERE pos = {ROW}"), {"row_unlike"}),
    ("row and events gone, gap closed", lambda db: [
        db.execute(f"DELETE FROM event WHERE device = 7 AND seq >= {FIRST} AND seq < {FIRST} + (SELECT count FROM log_row WHERE pos = {ROW})"),
        db.execute(f"DELETE FROM proof WHERE {PROOF}"),
        db.execute(f"DELETE FROM log_row WHERE pos = {ROW}")], {"row_dropped", "row_unlike", "span_changed"}),
    ("rows moved up over a deleted one", lambda db: [
        db.execute("DELETE FROM log_row WHERE pos = 20"),
        *[db.execute("UPDATE log_row SET pos = pos - 1 WHERE pos = ?", (pos,)) for pos in range(21, 60)]],
     {"row_unlike"}),
    ("all signed anew with another key", sign_anew, {"head_key"}),
    # log_head: every column that is signed, and that they are there
    *[(f"log_head.{column}", f"UPDATE log_head SET {column} = {value} WHERE id = 4", {"head_forged"}) for column, value in (
        ("number", "number + 100"), ("first_pos", "2"), ("size", "size + 1"), ("root", f"x'{bytes(32).hex()}'"),
        ("time_ms", "time_ms - 86400000"), ("public", f"x'{bytes(32).hex()}'"), ("signature", f"x'{bytes(64).hex()}'"))],
    ("log_head delete", "DELETE FROM log_head WHERE id = 4", {"head_dropped"}),
    ("log_head swap", swap("log_head", "id", "id", "id = 3", "id = 5"), {"head_shrunken"}),
    ("log_head.log", "UPDATE log_head SET log = 9 WHERE id = 4", {"head_dropped", "log_dropped"}),
    ("log_head insert", "INSERT INTO log_head SELECT NULL, log, branch, number + 50, first_pos, size - 1, root, time_ms,"
     " public, signature, received_ms, NULL FROM log_head WHERE id = 6", {"head_forged"}),
    # log_key, edge_log
    ("log_key delete", "DELETE FROM log_key", {"head_key"}),
    ("log_key.public", f"UPDATE log_key SET public = x'{bytes(32).hex()}'", {"head_key"}),
    ("log_key insert", f"INSERT INTO log_key VALUES (1, x'{bytes(32).hex()}', 5)", {"key_inserted"}),
    ("edge_log.edge", "UPDATE edge_log SET edge = 'e2'", {"head_forged", "row_changed"}),
    ("edge_log delete", "DELETE FROM edge_log", {"log_dropped", "event_inserted"}),
    ("edge_log.head", "UPDATE edge_log SET head = head - 1", {"verdict_changed"}),
    ("edge_log.base", f"UPDATE edge_log SET base = x'{bytes(32).hex()}', base_size = 1", {"verdict_changed"}),
]  # fmt: skip


EDGE_ROW = "(SELECT pos FROM log WHERE device = 7 AND last_seq - first_seq >= 8 ORDER BY pos LIMIT 1)"
EDGE: list[tuple[str, Any, set[str]]] = [
    *[(f"log.{column}", f"UPDATE log SET {column} = {value} WHERE pos = {EDGE_ROW}", {"row_changed"}) for column, value in (
        ("device", "8"), ("boot", "9"), ("first_seq", "first_seq + 1"), ("last_seq", "last_seq + 1"),
        ("uptime_cs", "uptime_cs + 1"), ("t_lo_ms", "t_lo_ms - 1"), ("t_hi_ms", "t_hi_ms + 1"),
        ("received_ms", "received_ms - 1"), ("skipped", "1"), ("mac_before", "x'0102030405060708'"),
        ("items", f"x'{PAYLOAD.hex()}'"), ("mac8", "x'0102030405060708'"))],
    ("log.mac8 gone", f"UPDATE log SET mac8 = NULL WHERE pos = {EDGE_ROW}", {"row_changed"}),
    ("log.items count", f"UPDATE log SET items = x'{PAYLOAD.hex()}' WHERE pos = {EDGE_ROW}", {"row_changed", "items_changed"}),
    ("log.items junk", f"UPDATE log SET items = x'ff' WHERE pos = {EDGE_ROW}", {"row_changed", "items_changed"}),
    ("log.priority", f"UPDATE log SET priority = 0 WHERE pos = {EDGE_ROW}", {"priority_changed"}),
    ("log delete", f"DELETE FROM log WHERE pos = {EDGE_ROW}", {"row_dropped"}),
    ("log delete the oldest", "DELETE FROM log WHERE pos <= 10", {"count_changed"}),
    ("meta.pruned_events", "INSERT OR REPLACE INTO meta VALUES ('pruned_events', 5)", {"count_changed"}),
    ("lane.appended", "UPDATE lane SET appended = appended + 1 WHERE name = 'alarm'", {"count_changed"}),
    ("log.pos", f"UPDATE log SET pos = 9999 WHERE pos = {EDGE_ROW}", {"row_dropped"}),
    ("log swap", swap("log", "pos", "pos", "pos = 20", "pos = 21"), {"row_changed"}),
    ("tree_node.hash", f"UPDATE tree_node SET hash = x'{bytes(32).hex()}' WHERE place = 30", {"leaf_changed"}),
    ("tree_node delete", "DELETE FROM tree_node WHERE place = 30", {"node_changed"}),
    ("tree_node swap", swap("tree_node", "hash", "place", "place = 10", "place = 11"), {"leaf_changed"}),
    ("tree.frontier", f"UPDATE tree SET frontier = x'{bytes(32).hex()}', size = 32", {"tree_changed", "head_shrunken"}),
    ("tree.frontier length", "UPDATE tree SET frontier = x'00'", {"tree_changed"}),
    ("tree.size", "UPDATE tree SET size = size + 1", {"tree_changed"}),
    ("tree delete", "DELETE FROM tree", {"tree_changed"}),
    *[(f"head.{column}", f"UPDATE head SET {column} = {value} WHERE number = 4", {"head_forged"}) for column, value in (
        ("size", "size + 1"), ("root", f"x'{bytes(32).hex()}'"), ("time_ms", "time_ms - 1"), ("first_pos", "2"),
        ("public", f"x'{bytes(32).hex()}'"), ("signature", f"x'{bytes(64).hex()}'"))],
    ("head.number", "UPDATE head SET number = 400 WHERE number = 4", {"head_forged", "head_dropped"}),
    ("head delete", "DELETE FROM head WHERE number = 4", {"head_dropped"}),
    ("lane.cursor", "UPDATE lane SET cursor = 100000 WHERE name = 'normal'", {"cursor_changed"}),
]  # fmt: skip
