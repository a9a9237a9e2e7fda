"""One value somewhere in the office's database or the edge's store is changed at random: it is always found."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from tools.verify.tests.scene import Copy, Scene

COUNT = 1_500 if os.environ.get("GATEPOST_SOAK") else 60
# What no signature speaks of, as tools/README.md says, and how far the server's own check has come.
LEFT_OUT = {
    "office": {
        "device": {"edge", "role", "name", "firmware", "battery_mv", "last_contact_ms"},
        "loss": {"stored_ms"},
        "restated": {"stored_ms"},
        "log_key": {"since_ms"},
        "log_head": {"id", "branch", "received_ms", "frontier"},
        "log_row": {"branch"},
        "edge_log": {"branch", "head_branch", "size", "frontier", "attempt"},
        "site": {"key"},
    },
    "edge": {
        "device": None, "session": None, "quarantine": None, "receipt": None, "meta": None, "link_key": None,
        "loose": None, "mark": None, "refused": None, "firmware_update": None, "firmware_file": None,
        "lane": {"name", "cursor", "delivered", "ahead"},
        "head": {"delivered_ms"},
        "tree": {"id"},
    },
}  # fmt: skip
NEVER = (
    "batch", "finding", "conflict", "before_log", "log_finding", "edge", "enrolment_code", "edge_history",
    "security_alarm",
)  # fmt: skip


def changed(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, int):
        return value + rng.choice((1, -1, 7, 1_000, -60_000, 1 << 20)) if value else rng.randrange(1, 1 << 20)
    if isinstance(value, bytes) and value:
        at = rng.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
    if isinstance(value, str):
        return value + "x"
    return rng.randbytes(8)


def spoil(db: apsw.Connection, side: str, rng: random.Random) -> str:
    """Changes one value; which one."""
    left_out = LEFT_OUT[side]
    tables = [
        name
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        if not (side == "office" and name in NEVER) and left_out.get(name, ()) is not None
    ]
    while True:
        table = rng.choice(tables)
        columns = [str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")]
        column = rng.choice([one for one in columns if one not in left_out.get(table, ())])  # type: ignore[operator]
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        if side == "edge" and table == "log":
            top = db.execute("SELECT first_pos + size FROM tree").get
            rows = [row for row in rows if row[0] < top]
        if not rows:
            continue
        row = rng.choice(rows)
        at = columns.index(column)
        if row[at] is None:
            continue
        value = changed(row[at], rng)
        where = " AND ".join(f"{one} IS ?" for one in columns)
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value, *row))
        except (apsw.ConstraintError, OverflowError):
            continue  # stands there already, or is no number of SQLite
        if not db.changes():
            continue
        return f"{table}.{column}: {row[at]!r} -> {value!r}"


@pytest.mark.soak
@pytest.mark.parametrize("side", ["office", "edge"])
def test_every_random_change_is_found(scene: Scene, tmp_path: Path, side: str) -> None:
    seed = int(os.environ.get("GATEPOST_SEED", "4"))
    print("seed", seed)
    rng = random.Random(seed)
    found: dict[str, int] = {}
    for index in range(COUNT):
        copy = Copy(scene, tmp_path / str(index))
        db = copy.office_db() if side == "office" else copy.edge_db()
        what = spoil(db, side, rng)
        db.close()
        report = copy.check_office() if side == "office" else copy.check_edge()
        assert report.exit_code == 1, f"{what} is not found: {report.text('en')}"
        table = what.partition(".")[0]
        found[table] = found.get(table, 0) + 1
    print(COUNT, "changes found:", found)
