"""Whether every column holds the kind of value that it must; SQLite itself does not mind."""

from __future__ import annotations

from typing import Any

import apsw

from tools.verify.faults import Report

_INT, _BLOB, _TEXT = "integer", "blob", "text"
# table: {column: kind}; a column that may be NULL has a "?" behind its name
OFFICE: dict[str, dict[str, str]] = {
    "device": dict.fromkeys(("site", "device", "checked_to"), _INT) | {"checked_mac": _BLOB, "edge": _TEXT},
    "event": dict.fromkeys(
        ("site", "device", "seq", "boot", "kind", "uptime_cs", "t_lo_ms", "t_hi_ms", "received_ms", "best_lo_ms?",
         "best_hi_ms?"), _INT,
    ) | {"payload": _BLOB},
    "proof": dict.fromkeys(("site", "device", "seq", "source"), _INT) | {"mac8": _BLOB},
    "span": dict.fromkeys(("site", "device", "first", "last"), _INT),
    "loss": dict.fromkeys(("site", "device", "first", "last"), _INT),
    "finding": dict.fromkeys(("site", "device", "first", "last", "reason"), _INT),
    "conflict": dict.fromkeys(("site", "device", "seq", "boot", "uptime_cs"), _INT) | {"payload": _BLOB},
    "restated": dict.fromkeys(
        ("site", "device", "boot", "first", "last", "uptime_cs", "t_lo_ms", "t_hi_ms", "said_ms", "stored_ms"), _INT
    ),
    "edge_log": dict.fromkeys(("key", "site", "branch", "head", "base_size"), _INT) | {"edge": _TEXT, "base": _BLOB},
    "log_row": dict.fromkeys(
        ("log", "pos", "branch", "device", "boot", "first", "count", "skipped", "uptime_cs?", "t_lo_ms?", "t_hi_ms?",
         "received_ms?"), _INT,
    ) | dict.fromkeys(("mac_before?", "mac8?", "leaf"), _BLOB),
    "log_key": {"log": _INT, "public": _BLOB},
    "log_head": dict.fromkeys(("id", "log", "branch", "number", "first_pos", "size", "time_ms"), _INT)
    | dict.fromkeys(("root", "public", "signature", "frontier?"), _BLOB),
    "log_finding": dict.fromkeys(("log", "reason", "first", "last"), _INT),
    "edge_history": {"site": _INT, "edge": _TEXT, "public_key?": _BLOB},
    "before_log": dict.fromkeys(("site", "device", "first", "last"), _INT),
}  # fmt: skip


def check(db: apsw.Connection, report: Report) -> bool:
    """Names each column that holds another kind of value, or a number that no row can hold; whether there is none."""
    good = True
    for table, columns in OFFICE.items():
        tests = [_test(name, kind) for name, kind in columns.items()]
        sums = ", ".join(f"total({test})" for test in tests)
        found: Any = db.execute(f"SELECT {sums} FROM {table}").fetchone()  # noqa: S608 - constants only
        for name, count in zip(columns, found, strict=True):
            if count:
                good = False
                report.fault("column_changed", detail=f"{table}.{name.rstrip('?')}: {count:,.0f}")
    return good


def _test(name: str, kind: str) -> str:
    column = name.rstrip("?")
    wrong = f"typeof({column}) <> '{kind}'"
    if kind == _INT:
        wrong = f"({wrong} OR {column} < 0)"
    return f"({column} IS NOT NULL AND {wrong})" if name.endswith("?") else wrong
